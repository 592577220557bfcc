#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "bundles/base/file.h"
#include "bundles/manifest.h"
#include "tests/reject/manifest.h"
#include "tests/unit/no_memory.h"

/* Accepted for ever: it has every key and every kind that schema 1 knows. */
static const char golden_path[] = "tests/golden/manifest.json";

static char *golden;
static size_t golden_size;

/* ---- helpers ---- */

static int load_golden(void **state)
{
	struct err e = ERR_INIT;
	uint8_t *data = NULL;

	(void)state;
	if (file_read(golden_path, BUNDLE_MANIFEST_MAX_BYTES, ERR_LIMIT, &data, &golden_size, &e)) {
		err_print(stderr, "run it from the top of the tree", &e, false);
		return -1;
	}
	golden = (char *)data;
	return 0;
}

static int free_golden(void **state)
{
	(void)state;
	free(golden);
	return 0;
}

static struct manifest *parse_golden(void)
{
	struct manifest *m = NULL;
	struct err e = ERR_INIT;

	if (manifest_parse((const uint8_t *)golden, golden_size, &m, &e))
		fail_msg("%s", e.frame[0]);
	return m;
}

/* The golden manifest with the first `from` replaced by `to`. */
static char *edited(const char *from, const char *to)
{
	char *at = strstr(golden, from);
	char *text = NULL;

	if (!at)
		fail_msg("no \"%s\" in %s", from, golden_path);
	assert_true(asprintf(&text, "%.*s%s%s", (int)(at - golden), golden, to, at + strlen(from)) > 0);
	return text;
}

/* ---- what is good ---- */

static void manifest_parse_golden_gives_its_values(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();

	(void)state;
	assert_string_equal(m->name, "obs/demo");
	assert_true(m->serial == (1ULL << 53) - 1);
	assert_int_equal(m->kernel_major, 5);
	assert_int_equal(m->kernel_minor, 10);
	assert_true(m->needs_btf);
	assert_string_equal(m->kernel_config[1], "CONFIG_DEBUG_INFO_BTF");
	assert_int_equal(m->toolchain_count, 2);

	const struct manifest_object *o = manifest_object_find(m, "x86_64", "demo");
	assert_non_null(o);
	assert_ptr_equal(o, &m->objects[1]);
	assert_null(manifest_object_find(m, "x86_64", "other"));
	assert_int_equal(o->size, 4096);
	assert_int_equal(o->capabilities.count, 7);
	assert_string_equal(o->capabilities.word[6], "program:tracing");
	assert_true(o->programs[0].required);
	assert_false(o->programs[1].required);
	assert_string_equal(o->programs[0].options, "");
	assert_int_equal(o->programs[1].order, 1);
	assert_int_equal(o->maps[1].value_size, 264);

	const struct manifest_enum *states = &m->enums[0];
	assert_int_equal(states->value_count, 5);
	assert_string_equal(states->values[4].name, "LEAST");
	assert_true(states->values[4].value == INT64_MIN);
	assert_true(states->values[3].value == 1LL << 53);

	const struct manifest_field *f = m->events[0].fields;
	assert_int_equal(f[0].length_field, -1);
	assert_int_equal(f[0].enum_index, -1);
	assert_int_equal(f[0].format, FORMAT_PLAIN);
	assert_true(f[1].omit_zero);
	assert_int_equal(f[1].kind, FIELD_CHARS);
	assert_int_equal(f[10].enum_index, 0);
	assert_int_equal(f[11].bit_offset, 3);
	assert_int_equal(f[11].bit_size, 5);
	assert_int_equal(f[17].length_field, 18);
	assert_int_equal(f[17].stride, 8);
	assert_int_equal(f[21].size, 0);
	assert_true(m->outputs[1].value_fields[1].base == -10);
	assert_true(m->outputs[1].value_fields[1].step == 100);
	assert_true(m->outputs[1].only_changed && m->outputs[1].clear);
}

static void manifest_parse_golden_gives_parameters_as_bytes(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();
	const struct manifest_param *p;

	(void)state;
	p = manifest_param_find(m, "limit");
	assert_true(p->umax == UINT64_MAX);
	assert_memory_equal(p->initial, "\1\0\0\0\0\0\x20\0", 8);
	p = manifest_param_find(m, "nice");
	assert_int_equal(p->min, -20);
	assert_int_equal(p->initial[0], 0xfb);
	p = manifest_param_find(m, "state");
	assert_memory_equal(p->initial, "\2\0\0\0", 4);
	p = manifest_param_find(m, "comm");
	assert_memory_equal(p->initial, "nginx\0\0\0\0\0\0\0\0\0\0", 16);
	p = manifest_param_find(m, "ports");
	assert_memory_equal(p->initial, "\x35\0\xbb\1\0\0\0\0\0\0\0\0\0\0\0", 16);
	p = manifest_param_find(m, "networks");
	assert_memory_equal(p->initial, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\0\x68\1\0\0\0\0\0", 24);
	assert_memory_equal(p->initial + 24, "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\0\x20\1\0\0\0\0\0", 24);
	assert_memory_equal(p->initial + 48, (uint8_t[48]){0}, 48);
	assert_null(manifest_param_find(m, "port"));
}

static void manifest_format_of_golden_gives_the_same_bytes(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();
	OWN_FREE char *text = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(manifest_format(m, &text, &size, &e), 0);
	assert_int_equal(size, golden_size);
	assert_string_equal(text, golden);
}

static void manifest_format_golden_fits_its_columns(void **state)
{
	size_t column = 0;

	(void)state;
	for (size_t i = 0; i < golden_size; i++) {
		column = golden[i] == '\n' ? 0 : column + ((golden[i] & 0xc0) != 0x80);
		assert_in_range(column, 0, 120);
	}
	assert_int_equal(golden[golden_size - 1], '\n');
}

static char *copy(const char *text)
{
	char *result = strdup(text);

	assert_non_null(result);
	return result;
}

/* What the packager does: structs that were never JSON. */
static struct manifest *least(void)
{
	struct manifest *m = calloc(1, sizeof(*m));
	struct err e = ERR_INIT;

	assert_non_null(m);
	m->name = copy("a/b");
	m->version = copy("1");
	m->licence = copy("GPL");
	m->description = copy("");
	m->created = copy("1970-01-01T00:00:00Z");
	m->serial = 1;
	struct manifest_object *o = manifest_grow(&m->objects, &m->object_count, sizeof(*o), &e);
	assert_non_null(o);
	o->name = copy("a");
	o->arch = copy("x86_64");
	o->size = 1;
	return m;
}

static void manifest_format_of_least_leaves_defaults_out(void **state)
{
	OWN(manifest) struct manifest *m = least(), *again = NULL;
	OWN_FREE char *text = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(manifest_format(m, &text, &size, &e), 0);
	assert_string_equal(text,
			    "{\n"
			    "  \"schema\": 1,\n"
			    "  \"name\": \"a/b\",\n"
			    "  \"version\": \"1\",\n"
			    "  \"serial\": 1,\n"
			    "  \"licence\": \"GPL\",\n"
			    "  \"created\": \"1970-01-01T00:00:00Z\",\n"
			    "  \"objects\": [\n"
			    "    {\n"
			    "      \"name\": \"a\",\n"
			    "      \"arch\": \"x86_64\",\n"
			    "      \"size\": 1,\n"
			    "      \"sha256\": \"0000000000000000000000000000000000000000000000000000000000000000\"\n"
			    "    }\n"
			    "  ]\n"
			    "}\n");
	assert_int_equal(manifest_parse((const uint8_t *)text, size, &again, &e), 0);
	assert_string_equal(again->description, "");
	assert_int_equal(again->event_count, 0);
}

static void manifest_format_of_nothing_is_an_error(void **state)
{
	struct manifest none = {0};
	struct err e = ERR_INIT;
	char *text = NULL;
	size_t size = 0;

	(void)state;
	assert_int_equal(manifest_format(&none, &text, &size, &e), -1);
	assert_int_equal(e.code, ERR_MANIFEST_VALUE);
	assert_null(text);
}

/* A word's number that is no word must not index the names. */
static void manifest_format_of_bad_enums_is_an_error(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();
	struct err e = ERR_INIT;
	char *text = NULL;
	size_t size = 0;

	(void)state;
	m->events[0].fields[0].format = FORMAT_COUNT;
	assert_int_equal(manifest_format(m, &text, &size, &e), -1);
	assert_int_equal(e.code, ERR_MANIFEST_VALUE);
	m->events[0].fields[0].format = FORMAT_PLAIN;
	m->events[0].fields[10].enum_index = 1;
	assert_int_equal(manifest_format(m, &text, &size, &e), -1);
	m->events[0].fields[10].enum_index = 0;
	m->params[4].enum_index = 7;
	assert_int_equal(manifest_format(m, &text, &size, &e), -1);
	m->params[4].enum_index = 0;
	m->params[1].initial[7] = 0;
	assert_int_equal(manifest_format(m, &text, &size, &e), 0);
	free(text);
}

static void manifest_format_too_large_is_an_error(void **state)
{
	OWN(manifest) struct manifest *m = least();
	struct err e = ERR_INIT;
	char *text = NULL, word[1100];
	size_t size = 0;

	(void)state;
	for (int i = 0; i < 1100; i++) {
		struct capabilities *caps = &m->objects[0].capabilities;
		char **slot = manifest_grow(&caps->word, &caps->count, sizeof(*slot), &e);
		snprintf(word, sizeof(word), "attach:uprobe/%01000d", i);
		*slot = copy(word);
	}
	assert_int_equal(manifest_format(m, &text, &size, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
}

static void variant_refused(void **state)
{
	const struct manifest_variant *v = *state;
	OWN_FREE char *text = edited(v->from, v->to);
	struct manifest *m = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(manifest_parse((const uint8_t *)text, strlen(text), &m, &e), -1);
	assert_null(m);
	if (e.code != v->code || !strstr(e.frame[0], v->place))
		fail_msg("%s [%s], expected %s [%s]", e.frame[0], err_name(e.code), v->place, err_name(v->code));
}

/* manifest.missing is about archives. */
static void manifest_parse_every_code_has_a_variant(void **state)
{
	(void)state;
	for (enum err_code code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
		bool seen = strncmp(err_name(code), "manifest.", 9) != 0 || code == ERR_MANIFEST_MISSING;
		for (size_t i = 0; i < MANIFEST_VARIANT_COUNT; i++)
			seen |= manifest_variants[i].code == code;
		if (!seen)
			fail_msg("no variant gives %s", err_name(code));
	}
}

static void manifest_parse_of_other_json_refused(void **state)
{
	static const char *const texts[] = {
	    "", " ", "[]", "1", "null", "{}", "{\"schema\": \"1\"}", "{\"schema\": 1.0}"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct manifest *m = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(manifest_parse((const uint8_t *)texts[i], strlen(texts[i]), &m, &e), -1);
		assert_string_equal(err_name(e.code), "manifest.syntax");
	}
}

static void manifest_parse_too_large_refused(void **state)
{
	OWN_FREE uint8_t *spaces = malloc(BUNDLE_MANIFEST_MAX_BYTES + 1);
	struct manifest *m = NULL;
	struct err e = ERR_INIT;

	(void)state;
	memset(spaces, ' ', BUNDLE_MANIFEST_MAX_BYTES + 1);
	memcpy(spaces, golden, golden_size);
	assert_int_equal(manifest_parse(spaces, BUNDLE_MANIFEST_MAX_BYTES + 1, &m, &e), -1);
	assert_int_equal(e.code, ERR_MANIFEST_VALUE);
	assert_int_equal(manifest_parse(spaces, BUNDLE_MANIFEST_MAX_BYTES, &m, &e), 0);
	manifest_free(&m);
}

/* Every prefix is refused, and read no further than its end. */
static void manifest_parse_cut_anywhere_refused(void **state)
{
	(void)state;
	for (size_t size = 0; size < golden_size - 2; size += 13) {
		OWN_FREE uint8_t *part = malloc(size + 1);
		struct manifest *m = NULL;
		struct err e = ERR_INIT;
		memcpy(part, golden, size);
		assert_int_equal(manifest_parse(part, size, &m, &e), -1);
		assert_int_equal(e.code, ERR_MANIFEST_SYNTAX);
	}
}

static int parse_step(void *context, struct err *e)
{
	OWN(manifest) struct manifest *m = NULL;
	int status = manifest_parse((const uint8_t *)golden, golden_size, &m, e);

	(void)context;
	assert_true(!m == (status != 0));
	return status;
}

static void manifest_parse_without_memory_is_an_error(void **state)
{
	(void)state;
	assert_true(no_memory_anywhere(parse_step, NULL) > 200);
}

static int format_step(void *context, struct err *e)
{
	OWN_FREE char *text = NULL;
	size_t size = 0;
	int status = manifest_format(context, &text, &size, e);

	assert_true(!text == (status != 0));
	return status;
}

static void manifest_format_without_memory_is_an_error(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();

	(void)state;
	assert_true(no_memory_anywhere(format_step, m) > 200);
}

static void manifest_grow_without_memory_keeps_the_array(void **state)
{
	struct err e = ERR_INIT;
	uint32_t *numbers = NULL, *slot;
	size_t count = 0;

	(void)state;
	slot = manifest_grow(&numbers, &count, sizeof(*numbers), &e);
	assert_non_null(slot);
	assert_int_equal(*slot, 0);
	*slot = 7;
	no_memory_at(1, false);
	slot = manifest_grow(&numbers, &count, sizeof(*numbers), &e);
	no_memory_at(0, false);
	assert_null(slot);
	assert_int_equal(e.code, ERR_NOMEM);
	assert_int_equal(count, 1);
	assert_int_equal(numbers[0], 7);
	free(numbers);
}

static void manifest_name_valid_follows_the_grammar(void **state)
{
	static const char *const good[] = {"a/b", "obs/network", "0/1", "a.b-c_d/e.f",
					   "012345678901234567890123456789012345678901234567890123456789012/x"};
	static const char *const wrong[] = {
	    "",       "/",          "a",
	    "a/",     "/b",         "a/b/c",
	    "A/b",    "a/B",        ".a/b",
	    "-a/b",   "_a/b",       "a/.b",
	    "a..b/c", "a/b..",      "a b/c",
	    "a/b\n",  "\xc3\xa9/b", "0123456789012345678901234567890123456789012345678901234567890123/x",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(manifest_name_valid(good[i]));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_false(manifest_name_valid(wrong[i]));
}

static void manifest_free_of_nothing_does_nothing(void **state)
{
	struct manifest *none = NULL;

	(void)state;
	manifest_free(&none);
	assert_null(none);
}

int main(void)
{
	static const struct CMUnitTest fixed[] = {
	    cmocka_unit_test(manifest_parse_golden_gives_its_values),
	    cmocka_unit_test(manifest_parse_golden_gives_parameters_as_bytes),
	    cmocka_unit_test(manifest_format_of_golden_gives_the_same_bytes),
	    cmocka_unit_test(manifest_format_golden_fits_its_columns),
	    cmocka_unit_test(manifest_format_of_least_leaves_defaults_out),
	    cmocka_unit_test(manifest_format_of_nothing_is_an_error),
	    cmocka_unit_test(manifest_format_of_bad_enums_is_an_error),
	    cmocka_unit_test(manifest_format_too_large_is_an_error),
	    cmocka_unit_test(manifest_parse_every_code_has_a_variant),
	    cmocka_unit_test(manifest_parse_of_other_json_refused),
	    cmocka_unit_test(manifest_parse_too_large_refused),
	    cmocka_unit_test(manifest_parse_cut_anywhere_refused),
	    cmocka_unit_test(manifest_parse_without_memory_is_an_error),
	    cmocka_unit_test(manifest_format_without_memory_is_an_error),
	    cmocka_unit_test(manifest_grow_without_memory_keeps_the_array),
	    cmocka_unit_test(manifest_name_valid_follows_the_grammar),
	    cmocka_unit_test(manifest_free_of_nothing_does_nothing),
	};
	static char names[MANIFEST_VARIANT_COUNT][96];
	struct CMUnitTest tests[ARRAY_LEN(fixed) + MANIFEST_VARIANT_COUNT];

	memcpy(tests, fixed, sizeof(fixed));
	for (size_t i = 0; i < MANIFEST_VARIANT_COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "manifest_parse_%s_refused", manifest_variants[i].name);
		tests[ARRAY_LEN(fixed) + i] = (struct CMUnitTest){
		    .name = names[i],
		    .test_func = variant_refused,
		    .initial_state = (void *)(uintptr_t)&manifest_variants[i],
		};
	}
	return cmocka_run_group_tests_name("bundles_manifest", tests, load_golden, free_golden);
}
