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

/* Accepted for ever: it has every key and every kind that schema 1 knows. */
static const char golden_path[] = "tests/golden/manifest.json";

static char *golden;
static size_t golden_size;

/* ---- memory that fails: the n-th allocation of ours or of jansson's ---- */

static unsigned fail_at, allocations;

static bool fails(void)
{
	return fail_at && ++allocations == fail_at;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

void *__real_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, count, size);
}

static void *json_allocate(size_t size)
{
	return fails() ? NULL : malloc(size);
}

/* ---- helpers ---- */

static int load_golden(void **state)
{
	struct err e = ERR_INIT;
	uint8_t *data = NULL;

	(void)state;
	json_set_alloc_funcs(json_allocate, free);
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

/* ---- variants of the golden manifest, each with one thing that is wrong ---- */

#define FIRST_FIELD "{\"name\": \"process.pid\", \"offset\": 16, \"size\": 4, \"kind\": \"uint\"}"
#define DEEP        "[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]"

static const struct variant {
	const char *name;
	enum err_code code;
	const char *place; /* that the message must name */
	const char *from, *to;
} variants[] = {
    /* form */
    {"comma_is_missing", ERR_MANIFEST_SYNTAX, "line 4", "\"obs/demo\",", "\"obs/demo\""},
    {"text_follows", ERR_MANIFEST_SYNTAX, "end of file", "\n}\n", "\n}\n{}\n"},
    {"key_twice", ERR_MANIFEST_SYNTAX, "duplicate", "\"serial\":", "\"name\": \"obs/demo\", \"serial\":"},
    {"nul_in_text", ERR_MANIFEST_SYNTAX, "line 6", "Shows", "\\u0000"},
    {"not_utf8", ERR_MANIFEST_SYNTAX, "line 6", "Shows", "\xc0\x80"},
    {"number_past_64_bits", ERR_MANIFEST_SYNTAX, "line 5", "9007199254740991", "99999999999999999999"},
    {"nested_deeply", ERR_MANIFEST_SYNTAX, "deeper", "\"obs/demo\"", DEEP},
    {"key_is_missing", ERR_MANIFEST_SYNTAX, "name: ", "\"name\": \"obs/demo\",", ""},
    {"nested_key_is_missing", ERR_MANIFEST_SYNTAX,
     "objects[0].programs[0].section: ", "\"section\": \"tp_btf/tcp_destroy_sock\",", ""},
    {"number_is_text", ERR_MANIFEST_SYNTAX, "serial: ", "9007199254740991", "\"1\""},
    {"number_has_a_fraction", ERR_MANIFEST_SYNTAX, "serial: ", "9007199254740991", "1.0"},
    {"text_is_a_number", ERR_MANIFEST_SYNTAX, "version: ", "\"1.2.3\"", "1"},
    {"text_is_null", ERR_MANIFEST_SYNTAX, "version: ", "\"1.2.3\"", "null"},
    {"array_is_an_object", ERR_MANIFEST_SYNTAX, "toolchain: ",
     "[{\"name\": \"clang\", \"version\": \"14.0.6\"}, {\"name\": \"libbpf\", \"version\": \"1.1.2\"}]", "{}"},
    {"element_is_no_object", ERR_MANIFEST_SYNTAX, "toolchain[0]: ", "{\"name\": \"clang\", \"version\": \"14.0.6\"}",
     "[]"},
    {"flag_is_a_number", ERR_MANIFEST_SYNTAX, "requirements.btf: ", "\"btf\": true", "\"btf\": 1"},
    {"bounds_of_a_bool", ERR_MANIFEST_SYNTAX, "parameters[3].min: ", "\"default\": false",
     "\"min\": 0, \"default\": false"},
    {"bound_is_missing", ERR_MANIFEST_SYNTAX, "parameters[0].max: ", "\"max\": 3600000,", ""},
    {"default_is_missing", ERR_MANIFEST_SYNTAX, "parameters[0].default: ", "\"default\": 10000,", ""},
    {"default_of_a_bool_is_a_number", ERR_MANIFEST_SYNTAX, "parameters[3].default: ", "\"default\": false",
     "\"default\": 0"},
    {"default_of_a_list_is_no_list", ERR_MANIFEST_SYNTAX, "parameters[6].default: ", "[53, 443]", "53"},
    {"large_number_without_need_is_text", ERR_MANIFEST_SYNTAX, "parameters[1].max: ", "\"18446744073709551615\"",
     "\"65535\""},
    {"large_number_past_64_bits", ERR_MANIFEST_SYNTAX, "parameters[1].max: ", "\"18446744073709551615\"",
     "\"18446744073709551616\""},
    {"large_number_with_leading_zero", ERR_MANIFEST_SYNTAX, "parameters[1].max: ", "\"18446744073709551615\"",
     "\"018446744073709551615\""},
    {"large_number_with_space", ERR_MANIFEST_SYNTAX, "parameters[1].max: ", "\"18446744073709551615\"",
     "\" 18446744073709551615\""},
    {"enumerators_are_a_list", ERR_MANIFEST_SYNTAX, "enums[0].values: ", "\"values\": {",
     "\"values\": [], \"more\": {"},
    /* keys */
    {"unknown_key", ERR_MANIFEST_UNKNOWN_KEY, "comment: ", "\"version\"", "\"comment\": \"\", \"version\""},
    {"unknown_nested_key", ERR_MANIFEST_UNKNOWN_KEY, "objects[0].programs[1].team: ",
     "\"group\": \"close\",\n          \"order\"", "\"team\": \"close\",\n          \"order\""},
    {"unknown_key_of_a_field", ERR_MANIFEST_UNKNOWN_KEY, "events[0].fields[0].title: ", "{\"name\": \"process.pid\"",
     "{\"title\": \"x\", \"name\": \"process.pid\""},
    /* schema */
    {"schema_is_newer", ERR_MANIFEST_SCHEMA, "schema: ", "\"schema\": 1", "\"schema\": 2, \"future\": 1"},
    /* head */
    {"name_without_namespace", ERR_MANIFEST_VALUE, "name: ", "\"obs/demo\"", "\"demo\""},
    {"name_goes_up", ERR_MANIFEST_VALUE, "name: ", "\"obs/demo\"", "\"obs/..\""},
    {"name_in_upper_case", ERR_MANIFEST_VALUE, "name: ", "\"obs/demo\"", "\"obs/Demo\""},
    {"serial_zero", ERR_MANIFEST_VALUE, "serial: ", "9007199254740991", "0"},
    {"serial_negative", ERR_MANIFEST_VALUE, "serial: ", "9007199254740991", "-1"},
    {"serial_past_2_53", ERR_MANIFEST_VALUE, "serial: ", "9007199254740991", "9007199254740992"},
    {"serial_past_2_53_as_text", ERR_MANIFEST_VALUE, "serial: ", "9007199254740991", "\"9007199254740992\""},
    {"control_character", ERR_MANIFEST_VALUE, "description: ", "Shows", "\\u001b[2J"},
    {"control_character_of_c1", ERR_MANIFEST_VALUE, "description: ", "Shows", "\\u009b2J"},
    {"version_is_empty", ERR_MANIFEST_VALUE, "version: ", "\"1.2.3\"", "\"\""},
    {"created_on_no_day", ERR_MANIFEST_VALUE, "created: ", "2026-11-22T", "2026-02-30T"},
    {"created_elsewhere", ERR_MANIFEST_VALUE, "created: ", "10:00:00Z", "10:00:00+01:00"},
    {"kernel_without_minor", ERR_MANIFEST_VALUE, "requirements.kernel: ", "\"kernel\": \"5.10\"",
     "\"kernel\": \"510\""},
    {"kernel_with_patch", ERR_MANIFEST_VALUE, "requirements.kernel: ", "\"kernel\": \"5.10\"",
     "\"kernel\": \"5.10.1\""},
    {"config_is_no_option", ERR_MANIFEST_VALUE, "requirements.config[0]: ", "CONFIG_BPF_SYSCALL", "BPF_SYSCALL=y"},
    /* objects */
    {"object_name_has_a_slash", ERR_MANIFEST_VALUE, "objects[0]: ", "\"name\": \"demo\"", "\"name\": \"../demo\""},
    {"architecture_is_unknown", ERR_MANIFEST_VALUE, "objects[0]: ", "\"aarch64\"", "\"riscv64\""},
    {"objects_unsorted", ERR_MANIFEST_VALUE, "objects[1]: ", "\"aarch64\"", "\"x86_64\""},
    {"object_of_one_architecture", ERR_MANIFEST_VALUE, "objects[0]: ", "\"name\": \"demo\"", "\"name\": \"other\""},
    {"object_empty", ERR_MANIFEST_VALUE, "objects[0].size: ", "\"size\": 4160", "\"size\": 0"},
    {"object_too_large", ERR_MANIFEST_VALUE, "objects[0].size: ", "\"size\": 4160", "\"size\": 16777217"},
    {"digest_in_upper_case", ERR_MANIFEST_VALUE, "objects[0].sha256: ", "ac257dd7", "AC257DD7"},
    {"digest_too_short", ERR_MANIFEST_VALUE, "objects[0].sha256: ", "ac257dd7", ""},
    {"capabilities_unsorted", ERR_MANIFEST_VALUE, "objects[0].capabilities[1]: ", "attach:kprobe/tcp_close",
     "attach:zzz"},
    {"capability_twice", ERR_MANIFEST_VALUE, "objects[0].capabilities[1]: ", "attach:kprobe/tcp_close",
     "attach:tp_btf/tcp_destroy_sock"},
    {"program_twice", ERR_MANIFEST_VALUE, "objects[0].programs[1].name: ", "\"on_close\"", "\"on_destroy\""},
    {"program_name_with_dash", ERR_MANIFEST_VALUE, "objects[0].programs[0].name: ", "\"on_destroy\"", "\"on-destroy\""},
    {"attach_is_no_word", ERR_MANIFEST_VALUE, "objects[0].programs[0].attach: ", "\"attach\": \"tp_btf\"",
     "\"attach\": \"tp_btf/x\""},
    {"order_without_group", ERR_MANIFEST_VALUE, "objects[0].programs[2].order: ", "\"options\"",
     "\"order\": 1, \"options\""},
    {"order_past_32_bits", ERR_MANIFEST_VALUE, "objects[0].programs[1].order: ", "\"order\": 1",
     "\"order\": 4294967296"},
    {"map_twice", ERR_MANIFEST_VALUE, "objects[0].maps[1].name: ", "\"name\": \"rtt\"", "\"name\": \"events\""},
    {"map_type_is_no_word", ERR_MANIFEST_VALUE, "objects[0].maps[0].type: ", "\"type\": \"ringbuf\"",
     "\"type\": \"Ring Buffer\""},
    /* enums */
    {"enum_name_empty", ERR_MANIFEST_VALUE, "enums[0].name: ", "\"name\": \"tcp_state\"", "\"name\": \"\""},
    {"enumerator_empty", ERR_MANIFEST_VALUE, "enums[0].values", "\"ESTABLISHED\": 1", "\"\": 1"},
    {"enumerator_of_control_characters", ERR_MANIFEST_VALUE, "enums[0].values", "\"ESTABLISHED\": 1", "\"\\n\": 1"},
    {"enumerator_past_64_bits", ERR_MANIFEST_SYNTAX, "enums[0].values.LEAST: ", "-9223372036854775808",
     "-9223372036854775809"},
    /* events and fields */
    {"event_name_in_upper_case", ERR_MANIFEST_VALUE, "events[0].name: ", "\"tcp.close\"", "\"tcp.Close\""},
    {"event_name_of_the_daemon", ERR_MANIFEST_VALUE, "events[0].name: ", "\"tcp.close\"", "\"obs.lost\""},
    {"event_of_no_object", ERR_MANIFEST_VALUE, "events[0].object: ", "\"tcp.close\",\n      \"object\": \"demo\"",
     "\"tcp.close\",\n      \"object\": \"demi\""},
    {"event_smaller_than_its_header", ERR_MANIFEST_VALUE, "events[0].size: ", "\"size\": 296", "\"size\": 15"},
    {"event_too_large", ERR_MANIFEST_VALUE, "events[0].size: ", "\"size\": 296", "\"size\": 32769"},
    {"field_past_its_record", ERR_MANIFEST_VALUE, "events[0].fields[0] ", FIRST_FIELD,
     "{\"name\": \"process.pid\", \"offset\": 293, \"size\": 4, \"kind\": \"uint\"}"},
    {"array_past_its_record", ERR_MANIFEST_VALUE, "events[0].fields[19] ", "\"count\": 16, \"stride\": 8",
     "\"count\": 18, \"stride\": 8"},
    {"array_that_wraps_32_bits", ERR_MANIFEST_VALUE, "events[0].fields[19] ", "\"count\": 16, \"stride\": 8",
     "\"count\": 32768, \"stride\": 32768"},
    {"stride_below_size", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"count\": 4, \"stride\": 8",
     "\"count\": 4, \"stride\": 2"},
    {"stride_without_count", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"count\": 4, \"stride\": 8",
     "\"stride\": 8"},
    {"number_of_three_bytes", ERR_MANIFEST_VALUE, "events[0].fields[0] ", FIRST_FIELD,
     "{\"name\": \"process.pid\", \"offset\": 16, \"size\": 3, \"kind\": \"uint\"}"},
    {"text_of_no_bytes", ERR_MANIFEST_VALUE, "events[0].fields[1] ", "\"size\": 16, \"kind\": \"chars\"",
     "\"size\": 0, \"kind\": \"chars\""},
    {"field_kind_unknown", ERR_MANIFEST_VALUE, "events[0].fields[1].kind: ", "\"chars\"", "\"string\""},
    {"field_format_unknown", ERR_MANIFEST_VALUE, "events[0].fields[2].format: ", "\"format\": \"ip\"",
     "\"format\": \"ipv6\""},
    {"bits_past_their_bytes", ERR_MANIFEST_VALUE, "events[0].fields[12] ", "\"bit_offset\": 31", "\"bit_offset\": 32"},
    {"bit_offset_without_bits", ERR_MANIFEST_VALUE, "events[0].fields[11] ", "\"bit_offset\": 3, \"bit_size\": 5",
     "\"bit_offset\": 3"},
    {"ip_of_five_bytes", ERR_MANIFEST_VALUE, "events[0].fields[3] ", "\"offset\": 52, \"size\": 4",
     "\"offset\": 52, \"size\": 5"},
    {"mac_of_a_number", ERR_MANIFEST_VALUE, "events[0].fields[4] ", "\"format\": \"port\"", "\"format\": \"mac\""},
    {"time_of_four_bytes", ERR_MANIFEST_VALUE, "events[0].fields[7] ", "\"format\": \"us\"", "\"format\": \"time\""},
    {"kstack_of_no_array", ERR_MANIFEST_VALUE, "events[0].fields[16] ", "\"format\": \"time\"",
     "\"format\": \"kstack\""},
    {"dns_of_a_number", ERR_MANIFEST_VALUE, "events[0].fields[16] ", "\"format\": \"time\"", "\"format\": \"dns\""},
    {"log2_of_no_array", ERR_MANIFEST_VALUE, "events[0].fields[16] ", "\"format\": \"time\"", "\"format\": \"log2\""},
    {"base_without_linear", ERR_MANIFEST_VALUE, "outputs[1].value[1] ", "\"format\": \"linear\"",
     "\"format\": \"log2\""},
    {"linear_without_step", ERR_MANIFEST_VALUE, "outputs[1].value[1] ", "\"step\": 100", "\"step\": 0"},
    {"enum_unknown", ERR_MANIFEST_VALUE, "events[0].fields[10].enum: ", "\"enum\": \"tcp_state\"",
     "\"enum\": \"state\""},
    {"enum_of_a_number", ERR_MANIFEST_VALUE, "events[0].fields[10] ", "\"kind\": \"enum\", \"enum\"",
     "\"kind\": \"uint\", \"enum\""},
    {"length_of_itself", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"length\": 18", "\"length\": 17"},
    {"length_past_the_table", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"length\": 18", "\"length\": 22"},
    {"length_below_the_table", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"length\": 18", "\"length\": -2"},
    {"length_is_text", ERR_MANIFEST_VALUE, "events[0].fields[17] ", "\"length\": 18", "\"length\": 1"},
    {"length_past_32_bits", ERR_MANIFEST_VALUE, "events[0].fields[17].length: ", "\"length\": 18",
     "\"length\": 4294967314"},
    {"length_of_a_number", ERR_MANIFEST_VALUE, "events[0].fields[16] ", "\"format\": \"time\"", "\"length\": 0"},
    {"field_name_twice", ERR_MANIFEST_VALUE, "events[0].fields[20].name: ", "\"dns_size\"", "\"process.pid\""},
    {"field_name_is_value_and_object", ERR_MANIFEST_VALUE, "events[0].fields[20].name: ", "\"dns_size\"",
     "\"process\""},
    {"field_name_of_every_event", ERR_MANIFEST_VALUE, "events[0].fields[20] ", "\"dns_size\"", "\"bundle\""},
    {"field_name_below_a_name_of_every_event", ERR_MANIFEST_VALUE, "events[0].fields[20] ", "\"dns_size\"",
     "\"host.name\""},
    {"field_name_with_empty_part", ERR_MANIFEST_VALUE, "events[0].fields[20] ", "\"dns_size\"", "\"dns..size\""},
    {"field_name_with_quote", ERR_MANIFEST_VALUE, "events[0].fields[20] ", "\"dns_size\"", "\"dns\\\"size\""},
    /* outputs */
    {"output_of_no_object", ERR_MANIFEST_VALUE, "outputs[0].object: ", "\"kind\": \"ring\", \"object\": \"demo\"",
     "\"kind\": \"ring\", \"object\": \"demi\""},
    {"output_of_no_map", ERR_MANIFEST_VALUE, "outputs[0].map: ", "\"map\": \"events\"", "\"map\": \"event\""},
    {"output_of_another_map_type", ERR_MANIFEST_VALUE, "outputs[0].map: ", "\"map\": \"events\"", "\"map\": \"rtt\""},
    {"output_twice", ERR_MANIFEST_VALUE,
     "outputs[2].map: ", "\"kind\": \"lost\", \"object\": \"demo\", \"map\": \"obs_lost\"",
     "\"kind\": \"ring\", \"object\": \"demo\", \"map\": \"events\""},
    {"ring_with_interval", ERR_MANIFEST_VALUE, "outputs[0]: ", "\"map\": \"events\"",
     "\"map\": \"events\", \"interval_ms\": 1000"},
    {"sample_without_event", ERR_MANIFEST_VALUE, "outputs[1].event: ", "\"event\": \"tcp.rtt\",", ""},
    {"sample_too_often", ERR_MANIFEST_VALUE, "outputs[1].interval_ms: ", "\"interval_ms\": 10000",
     "\"interval_ms\": 99"},
    {"sample_too_rarely", ERR_MANIFEST_VALUE, "outputs[1].interval_ms: ", "\"interval_ms\": 10000",
     "\"interval_ms\": 3600001"},
    {"interval_param_unknown", ERR_MANIFEST_VALUE,
     "outputs[1].interval_param: ", "\"interval_param\": \"rtt_interval_ms\"", "\"interval_param\": \"interval\""},
    {"interval_param_of_eight_bytes", ERR_MANIFEST_VALUE,
     "outputs[1].interval_param: ", "\"interval_param\": \"rtt_interval_ms\"", "\"interval_param\": \"limit\""},
    {"interval_param_without_least", ERR_MANIFEST_VALUE, "outputs[1].interval_param: ", "\"min\": 100", "\"min\": 99"},
    {"key_field_past_its_key", ERR_MANIFEST_VALUE, "outputs[1].key[0] ", "\"network.peer.address\", \"offset\": 0",
     "\"network.peer.address\", \"offset\": 1"},
    {"value_field_past_its_value", ERR_MANIFEST_VALUE, "outputs[1].value[2] ", "\"offset\": 256", "\"offset\": 257"},
    {"value_field_open_ended", ERR_MANIFEST_VALUE, "outputs[1].value[2] ",
     "\"offset\": 256, \"size\": 8, \"kind\": \"uint\"", "\"offset\": 256, \"size\": 0, \"kind\": \"bytes\""},
    {"value_field_named_as_a_key", ERR_MANIFEST_VALUE, "outputs[1].value[2].name: ", "\"tcp.rtt.sum\"",
     "\"network.peer.address\""},
    {"lost_with_other_counters", ERR_MANIFEST_VALUE, "outputs[2].map: ",
     "\"percpu_array\", \"key_size\": 4, \"value_size\": 8", "\"percpu_array\", \"key_size\": 4, \"value_size\": 4"},
    /* parameters */
    {"parameter_twice", ERR_MANIFEST_VALUE, "parameters[1].name: ", "\"name\": \"limit\"",
     "\"name\": \"rtt_interval_ms\""},
    {"parameter_name_with_dot", ERR_MANIFEST_VALUE, "parameters[1] ", "\"name\": \"limit\"", "\"name\": \"a.b\""},
    {"bounds_are_no_range", ERR_MANIFEST_VALUE, "parameters[0] ", "\"min\": 100", "\"min\": 3600001"},
    {"bounds_past_their_size", ERR_MANIFEST_VALUE, "parameters[2] ", "\"max\": 19", "\"max\": 128"},
    {"unsigned_bounds_past_their_size", ERR_MANIFEST_VALUE, "parameters[6] ", "\"max\": 65535", "\"max\": 65536"},
    {"default_below_its_bounds", ERR_MANIFEST_VALUE, "parameters[0].default: ", "\"default\": 10000",
     "\"default\": 99"},
    {"default_past_its_size", ERR_MANIFEST_VALUE, "parameters[0].default: ", "\"default\": 10000",
     "\"default\": 4294977296"},
    {"signed_default_past_its_size", ERR_MANIFEST_VALUE, "parameters[2].default: ", "\"default\": -5",
     "\"default\": 251"},
    {"default_is_no_enumerator", ERR_MANIFEST_VALUE, "parameters[4].default: ", "\"default\": \"SYN_SENT\"",
     "\"default\": \"LISTEN\""},
    {"default_enumerator_past_its_size", ERR_MANIFEST_VALUE, "parameters[4].default: ", "\"default\": \"SYN_SENT\"",
     "\"default\": \"HUGE\""},
    {"default_text_fills_its_bytes", ERR_MANIFEST_VALUE, "parameters[5].default: ", "\"default\": \"nginx\"",
     "\"default\": \"0123456789abcdef\""},
    {"default_list_too_long", ERR_MANIFEST_VALUE, "parameters[6].default: ", "[53, 443]",
     "[1, 2, 3, 4, 5, 6, 7, 8, 9]"},
    {"default_list_with_a_hole", ERR_MANIFEST_VALUE, "parameters[6].default[1]: ", "[53, 443]", "[0, 443]"},
    {"default_network_without_prefix", ERR_MANIFEST_VALUE, "parameters[8].default[0]: ", "\"10.0.0.0/8\"",
     "\"10.0.0.0\""},
    {"default_network_with_long_prefix", ERR_MANIFEST_VALUE, "parameters[8].default[0]: ", "\"10.0.0.0/8\"",
     "\"10.0.0.0/33\""},
    {"default_network_in_other_form", ERR_MANIFEST_VALUE, "parameters[8].default[1]: ", "\"2001:db8::/32\"",
     "\"2001:0db8::/32\""},
    {"parameter_too_large", ERR_MANIFEST_VALUE, "parameters[7].default: ", "\"count\": 16,\n      \"unit\": \"pid\"",
     "\"count\": 1025,\n      \"unit\": \"pid\""},
    {"list_of_bools", ERR_MANIFEST_VALUE, "parameters[3] ", "\"size\": 1,\n      \"default\": false",
     "\"size\": 1,\n      \"count\": 2,\n      \"default\": [false]"},
    {"enum_parameter_without_enum", ERR_MANIFEST_VALUE,
     "parameters[4].default: ", "\"enum\": \"tcp_state\",\n      \"min\"", "\"min\""},
    {"parameter_without_variable", ERR_MANIFEST_VALUE, "parameters[0] ",
     "\"variables\": [{\"object\": \"demo\", \"map\": \".data.params\", \"offset\": 0}]", "\"variables\": []"},
    {"variable_of_no_object", ERR_MANIFEST_VALUE,
     "parameters[0].variables[0].object: ", "{\"object\": \"demo\", \"map\": \".data.params\", \"offset\": 0}",
     "{\"object\": \"demi\", \"map\": \".data.params\", \"offset\": 0}"},
    {"variable_of_no_section", ERR_MANIFEST_VALUE,
     "parameters[0].variables[0].map: ", "{\"object\": \"demo\", \"map\": \".data.params\", \"offset\": 0}",
     "{\"object\": \"demo\", \"map\": \"rtt\", \"offset\": 0}"},
    {"variable_past_its_section", ERR_MANIFEST_VALUE,
     "parameters[0].variables[0].offset: ", "{\"object\": \"demo\", \"map\": \".data.params\", \"offset\": 0}",
     "{\"object\": \"demo\", \"map\": \".data.params\", \"offset\": 637}"},
};

static void variant_refused(void **state)
{
	const struct variant *v = *state;
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
		for (size_t i = 0; i < ARRAY_LEN(variants); i++)
			seen |= variants[i].code == code;
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

/* With a sanitizer, every failure is also free of leaks. */
static void manifest_parse_without_memory_is_an_error(void **state)
{
	struct manifest *m = NULL;
	unsigned refused = 0;

	(void)state;
	for (unsigned n = 1;; n += n < 200 ? 1 : 5) {
		struct err e = ERR_INIT;
		fail_at = n;
		allocations = 0;
		int status = manifest_parse((const uint8_t *)golden, golden_size, &m, &e);
		bool reached = allocations >= n;
		fail_at = 0;
		if (!reached) {
			assert_int_equal(status, 0);
			break;
		}
		assert_int_equal(status, -1);
		assert_null(m);
		assert_string_equal(err_name(e.code), err_name(ERR_NOMEM));
		refused++;
	}
	assert_true(refused > 200);
	manifest_free(&m);
}

static void manifest_format_without_memory_is_an_error(void **state)
{
	OWN(manifest) struct manifest *m = parse_golden();
	unsigned refused = 0;

	(void)state;
	for (unsigned n = 1;; n += n < 200 ? 1 : 5) {
		struct err e = ERR_INIT;
		char *text = NULL;
		size_t size = 0;
		fail_at = n;
		allocations = 0;
		int status = manifest_format(m, &text, &size, &e);
		bool reached = allocations >= n;
		fail_at = 0;
		if (!reached) {
			assert_int_equal(status, 0);
			free(text);
			break;
		}
		assert_int_equal(status, -1);
		assert_int_equal(e.code, ERR_NOMEM);
		assert_null(text);
		refused++;
	}
	assert_true(refused > 200);
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
	fail_at = 1;
	allocations = 0;
	slot = manifest_grow(&numbers, &count, sizeof(*numbers), &e);
	fail_at = 0;
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
	static char names[ARRAY_LEN(variants)][96];
	struct CMUnitTest tests[ARRAY_LEN(fixed) + ARRAY_LEN(variants)];

	memcpy(tests, fixed, sizeof(fixed));
	for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
		snprintf(names[i], sizeof(names[i]), "manifest_parse_%s_refused", variants[i].name);
		tests[ARRAY_LEN(fixed) + i] = (struct CMUnitTest){
		    .name = names[i],
		    .test_func = variant_refused,
		    .initial_state = (void *)(uintptr_t)&variants[i],
		};
	}
	return cmocka_run_group_tests_name("bundles_manifest", tests, load_golden, free_golden);
}
