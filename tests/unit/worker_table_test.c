#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <obs/event.h>

#include "bundles/base/file.h"
#include "bundles/fields.h"
#include "loader/worker/kallsyms.h"
#include "loader/worker/table.h"

static char line[EVENT_LINE_MAX_BYTES + JSON_SLACK];

static struct manifest *golden(void)
{
	OWN_FREE uint8_t *json = NULL;
	struct manifest *m = NULL;
	struct err e = ERR_INIT;
	size_t size;

	if (file_read("tests/golden/manifest.json", 1 << 20, ERR_LIMIT, &json, &size, &e) ||
	    manifest_parse(json, size, &m, &e))
		fail_msg("%s", e.frame[0]);
	return m;
}

static struct table *compile(const struct manifest_field *fields, size_t count, uint32_t size, struct err *e)
{
	const struct table_part part = {.fields = fields, .count = count, .size = size};
	const struct table_source source = {
	    .event = "a.b", .bundle = "obs/x", .host = "h\"1", .parts = &part, .part_count = 1};
	struct table *t = NULL;

	if (table_compile(&source, &t, e))
		return NULL;
	return t;
}

/* The line as text, without what goes before "seq" and without its newline; also checked to be JSON. */
static const char *format(const struct table *t, const uint8_t *record, size_t size)
{
	struct value_env env = {0};
	json_error_t where;
	char *end = table_format(t, &env, 1, record, size, line);

	assert_true((size_t)(end - line) <= table_line_max(t));
	assert_int_equal(end[-1], '\n');
	json_t *json = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &where);
	if (!json)
		fail_msg("%s in %.*s", where.text, (int)(end - line), line);
	json_decref(json);
	end[-1] = '\0';
	return strstr(line, "\"seq\":1") + 7;
}

#define UINT(n, o, zero)                                                                                               \
	{                                                                                                              \
		.name = (char *)(n), .offset = (o), .size = 1, .kind = FIELD_UINT, .omit_zero = (zero),                \
		.enum_index = -1, .length_field = -1                                                                   \
	}

static void check_line(const struct manifest_field *fields, size_t count, const uint8_t *tail, const char *expected)
{
	uint8_t record[16 + 8] = {0};
	struct err e = ERR_INIT;
	OWN(table) struct table *t = compile(fields, count, sizeof(record), &e);

	if (!t)
		fail_msg("%s", e.frame[0]);
	memcpy(record + 16, tail, 8);
	assert_string_equal(format(t, record, sizeof(record)), expected);
}

static void envelope_comes_first(void **state)
{
	const struct manifest_field fields[] = {UINT("x", 16, false)};
	uint8_t record[24] = {0};
	struct err e = ERR_INIT;
	OWN(table) struct table *t = compile(fields, 1, sizeof(record), &e);

	(void)state;
	format(t, record, sizeof(record));
	assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:00.000000000Z\",\"event\":\"a.b\",\"bundle\":\"obs/x\","
				  "\"host\":\"h\\\"1\",\"seq\":1,\"x\":0}");
}

static void fields_with_a_common_prefix_share_an_object(void **state)
{
	const struct manifest_field fields[] = {
	    UINT("a.b", 16, false), UINT("x", 17, false),     UINT("a.c.d", 18, false),
	    UINT("y.z", 19, false), UINT("a.c.e", 20, false), UINT("a.f", 21, false),
	};

	(void)state;
	check_line(fields, ARRAY_LEN(fields), (const uint8_t *)"\1\2\3\4\5\6\7\10",
		   ",\"a\":{\"b\":1,\"c\":{\"d\":3,\"e\":5},\"f\":6},\"x\":2,\"y\":{\"z\":4}}");
}

/* Every combination of optional fields and values that are zero gives valid JSON, equal to the naive way. */
static void omitted_fields_leave_no_comma_and_no_empty_object(void **state)
{
	static const char *const names[] = {"a.b", "a.c.d", "a.c.e", "f.g.h", "f.g.i", "j", "f.k", "l.m"};

	(void)state;
	for (unsigned optional = 0; optional < 256; optional++) {
		struct manifest_field fields[8];
		struct err e = ERR_INIT;
		for (unsigned i = 0; i < 8; i++)
			fields[i] = (struct manifest_field)UINT(names[i], 16 + i, (optional >> i & 1) != 0);
		OWN(table) struct table *t = compile(fields, 8, 24, &e);
		for (unsigned values = 0; values < 256; values++) {
			uint8_t record[24] = {0};
			for (unsigned i = 0; i < 8; i++)
				record[16 + i] = values >> i & 1;
			format(t, record, sizeof(record));
			json_t *json = json_loads(line, 0, NULL);
			assert_true(json_object_size(json) >= 5);
			for (unsigned i = 0; i < 8; i++) {
				char name[8];
				json_t *at = json;
				strcpy(name, names[i]);
				for (char *part = strtok(name, "."); part; part = strtok(NULL, "."))
					at = json_object_get(at, part);
				bool there = !(optional >> i & 1) || (values >> i & 1);
				assert_int_equal(at != NULL, there);
				if (there)
					assert_int_equal(json_integer_value(at), values >> i & 1);
			}
			assert_null(strstr(line, "{}"));
			json_decref(json);
		}
	}
}

static void colliding_names_are_refused(void **state)
{
	static const char *const pairs[][2] = {
	    {"a", "a"},     {"a", "a.b"},   {"a.b", "a"},    {"a.b.c", "a.b"},
	    {"x", "time"},  {"x", "seq.y"}, {"x", "bundle"}, {"x", "host"},
	    {"x", "event"}, {"x", "a..b"},  {"x", ""},       {"x", "a.b.c.d.e.f.g.h.i.j.k.l.m.n"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		const struct manifest_field fields[] = {UINT(pairs[i][0], 16, false), UINT(pairs[i][1], 17, false)};
		struct err e = ERR_INIT;
		char text[1024];
		if (compile(fields, 2, 24, &e))
			fail_msg("accepted %s and %s", pairs[i][0], pairs[i][1]);
		assert_int_equal(e.code, ERR_MANIFEST_VALUE);
		assert_non_null(strstr(err_text(&e, text, sizeof(text)), "field "));
	}
}

static void field_outside_the_record_is_refused(void **state)
{
	const struct manifest_field outside[] = {UINT("x", 24, false)};
	const struct manifest_field wide[] = {{.name = (char *)"x",
					       .offset = 16,
					       .size = 8,
					       .count = UINT32_MAX,
					       .stride = UINT32_MAX,
					       .kind = FIELD_UINT,
					       .enum_index = -1,
					       .length_field = -1}};
	const struct manifest_field length[] = {
	    {.name = (char *)"x", .offset = 16, .size = 4, .kind = FIELD_CHARS, .enum_index = -1, .length_field = 7}};
	struct err e = ERR_INIT;

	(void)state;
	assert_null(compile(outside, 1, 24, &e));
	assert_null(compile(wide, 1, 24, &e));
	assert_null(compile(length, 1, 24, &e));
	assert_int_equal(e.code, ERR_MANIFEST_VALUE);
}

static void line_that_could_be_too_long_is_refused(void **state)
{
	struct manifest_field fields[9];
	static char names[9][4];
	struct err e = ERR_INIT;

	(void)state;
	for (int i = 0; i < 9; i++) {
		snprintf(names[i], sizeof(names[i]), "f%d", i);
		fields[i] = (struct manifest_field){.name = names[i],
						    .size = 8000,
						    .offset = 16,
						    .kind = FIELD_CHARS,
						    .enum_index = -1,
						    .length_field = -1};
	}
	assert_null(compile(fields, 9, 8016, &e));
	assert_int_equal(e.code, ERR_MANIFEST_VALUE);
}

/* ---- what the gate lets through costs no event ---- */

static bool gate_takes(const struct manifest_field *fields, size_t count, uint32_t size)
{
	static const struct manifest m = {.name = (char *)"obs/x"};
	const struct fields_part part = {fields, count, size, true};
	struct fields_problem problem;

	return !fields_problem("a.b", &part, 1, &m, &problem);
}

static void check_same(const struct manifest_field *fields, size_t count, uint32_t size, bool good)
{
	struct err e = ERR_INIT;
	OWN(table) struct table *t = compile(fields, count, size, &e);

	assert_int_equal(t != NULL, good);
	assert_int_equal(gate_takes(fields, count, size), good);
}

static void gate_refuses_what_the_table_refuses(void **state)
{
	struct manifest_field log2 = {.name = (char *)"h",
				      .offset = 16,
				      .size = 8,
				      .count = 64,
				      .stride = 8,
				      .kind = FIELD_UINT,
				      .format = FORMAT_LOG2,
				      .enum_index = -1,
				      .length_field = -1};
	struct manifest_field linear = log2;
	const struct manifest_field deep[] = {UINT("a.b.c.d.e.f.g.h.i.j.k.l", 16, false)};
	const struct manifest_field deeper[] = {UINT("a.b.c.d.e.f.g.h.i.j.k.l.m", 16, false)};
	struct manifest_field dns[] = {UINT("x", 16, false), UINT("dns.answers", 17, false)};

	(void)state;
	check_same(&log2, 1, 600, true);
	log2.count = 65;
	check_same(&log2, 1, 600, false);
	linear.format = FORMAT_LINEAR;
	linear.step = INT64_MAX / 64;
	check_same(&linear, 1, 600, true);
	linear.base = INT64_MAX / 32;
	check_same(&linear, 1, 600, false);
	check_same(deep, 1, 24, true);
	check_same(deeper, 1, 24, false);
	dns[0].kind = FIELD_BYTES;
	check_same(dns, 2, 24, true);
	dns[0].format = FORMAT_DNS;
	check_same(dns, 2, 24, false);
	dns[1] = dns[0];
	dns[1].name = (char *)"y";
	check_same(dns, 2, 24, false);
}

/* Of each form as many as the gate lets through, in fields of one word and of twelve. */
static void gate_never_expects_a_shorter_line(void **state)
{
	static char names[MANIFEST_MAX_FIELDS][2][48];
	static const struct {
		enum field_kind kind;
		enum field_format format;
		uint32_t size, count;
	} forms[] = {
	    {FIELD_UINT, FORMAT_PLAIN, 1, 8000}, {FIELD_UINT, FORMAT_PLAIN, 8, 0},
	    {FIELD_INT, FORMAT_PLAIN, 8, 1000},  {FIELD_BOOL, FORMAT_PLAIN, 1, 1000},
	    {FIELD_ENUM, FORMAT_PLAIN, 4, 1000}, {FIELD_CHARS, FORMAT_PLAIN, 1500, 0},
	    {FIELD_CHARS, FORMAT_PLAIN, 8, 200}, {FIELD_BYTES, FORMAT_PLAIN, 0, 0},
	    {FIELD_BYTES, FORMAT_HEX, 900, 3},   {FIELD_BYTES, FORMAT_IP, 16, 900},
	    {FIELD_BYTES, FORMAT_MAC, 6, 900},   {FIELD_UINT, FORMAT_TIME, 8, 900},
	    {FIELD_UINT, FORMAT_KSTACK, 8, 50},  {FIELD_UINT, FORMAT_LOG2, 4, 64},
	    {FIELD_UINT, FORMAT_LINEAR, 4, 500}, {FIELD_BYTES, FORMAT_DNS, 64, 0},
	    {FIELD_UINT, FORMAT_HEX, 8, 900},
	};
	struct manifest_field fields[MANIFEST_MAX_FIELDS];

	(void)state;
	for (size_t i = 0; i < MANIFEST_MAX_FIELDS; i++) {
		snprintf(names[i][0], sizeof(names[i][0]), "f%zu", i);
		snprintf(names[i][1], sizeof(names[i][1]), "a%zu.b.c.d.e.f.g.h.i.j.k.l", i);
	}
	for (size_t i = 0; i < 2 * ARRAY_LEN(forms); i++) {
		size_t count = 0;
		while (count < MANIFEST_MAX_FIELDS) {
			fields[count] = (struct manifest_field){.name = names[count][i % 2],
								.offset = 16,
								.kind = forms[i / 2].kind,
								.format = forms[i / 2].format,
								.size = forms[i / 2].size,
								.count = forms[i / 2].count,
								.stride = forms[i / 2].count ? forms[i / 2].size : 0,
								.step = forms[i / 2].format == FORMAT_LINEAR,
								.enum_index = -1,
								.length_field = -1};
			if (!gate_takes(fields, count + 1, 32768))
				break;
			count++;
		}
		struct err e = ERR_INIT;
		OWN(table) struct table *t = compile(fields, count, 32768, &e);
		assert_true(count > 0);
		if (!t)
			fail_msg("form %zu, %zu fields: %s", i, count, e.frame[0]);
	}
}

/* Every form of the golden manifest. */
static void golden_event_is_shown_in_every_form(void **state)
{
	struct manifest *m = golden();
	const struct table_part part = {
	    .fields = m->events[0].fields, .count = m->events[0].field_count, .size = m->events[0].size};
	const struct table_source source = {.event = m->events[0].name,
					    .bundle = m->name,
					    .host = "h",
					    .enums = m->enums,
					    .enum_count = m->enum_count,
					    .parts = &part,
					    .part_count = 1};
	OWN(table) struct table *t = NULL;
	struct err e = ERR_INIT;
	static const uint8_t dns[] = {0, 1, 0x81, 0x83, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 28, 0, 1};
	uint8_t record[292 + sizeof(dns) + 4] = {0};
	const uint32_t pid = 42, state_value = 2, delta = (uint32_t)-5, bits = 1U << 31 | 7 << 3, sack[] = {1, 2, 3, 4};
	const uint64_t big = UINT64_MAX, second = 1000000000, address = 0xffffffff81000010;
	const uint32_t two = 2, dns_size = sizeof(dns);

	(void)state;
	assert_int_equal(table_compile(&source, &t, &e), 0);
	memcpy(record + 16, &pid, 4);
	memcpy(record + 20, "a\x1b[31m\xff", 7);
	record[36 + 15] = 1;
	memcpy(record + 52, "\x0a\0\0\x07", 4);
	memcpy(record + 56, "\xbb\x01", 2);
	memcpy(record + 58, "\2\x42\0\0\0\xff", 6);
	memcpy(record + 80, &big, 8);
	memcpy(record + 76, &delta, 4);
	memcpy(record + 88, &state_value, 4);
	memcpy(record + 92, &bits, 4);
	memcpy(record + 96, "\1\2\3\4\5\6\7\xff", 8);
	record[104] = 0x1f;
	record[105] = 2;
	memcpy(record + 112, &second, 8);
	for (size_t i = 0; i < 4; i++)
		memcpy(record + 120 + 8 * i, &sack[i], 4);
	memcpy(record + 152, &two, 4);
	memcpy(record + 160, &address, 8);
	memcpy(record + 288, &dns_size, 4);
	memcpy(record + 292, dns, sizeof(dns));
	assert_string_equal(
	    format(t, record, sizeof(record)),
	    ",\"process\":{\"pid\":42,\"executable\":{\"name\":\"a\\u001b[31m\xef\xbf\xbd\"}},"
	    "\"network\":{\"local\":{\"address\":\"::1\"},\"peer\":{\"address\":\"10.0.0.7\",\"port\":443}},"
	    "\"link\":{\"mac\":\"02:42:00:00:00:ff\"},\"tcp\":{\"duration_ns\":0,\"srtt_us\":0,\"delta\":-5,"
	    "\"sent_bytes\":18446744073709551615,\"state\":\"SYN_SENT\",\"window\":{\"scale\":7,\"open\":true},"
	    "\"cookie\":\"01020304050607ff\",\"flags\":\"0x1f\",\"reset\":true,"
	    "\"opened\":\"1970-01-01T00:00:01.000000000Z\",\"sack\":[1,2],\"sack_count\":2},"
	    "\"stack\":[\"0xffffffff81000010\"],\"dns_size\":19,"
	    "\"dns\":{\"question\":{\"name\":\"a\",\"type\":\"AAAA\"},\"answers\":[],\"response_code\":\"NXDOMAIN\"}}");
	manifest_free(&m);
}

static void garbled_dns_is_left_out_and_makes_no_sense(void **state)
{
	const struct manifest_field fields[] = {UINT("x", 16, false),
						{.name = (char *)"dns",
						 .offset = 17,
						 .kind = FIELD_BYTES,
						 .format = FORMAT_DNS,
						 .enum_index = -1,
						 .length_field = -1}};
	uint8_t record[40] = {0};
	struct err e = ERR_INIT;
	OWN(table) struct table *t = compile(fields, 2, 17, &e);
	OWN(table) struct table *other = compile(fields, 1, 17, &e);

	(void)state;
	assert_string_equal(format(t, record, 17), ",\"x\":0}");
	assert_string_equal(format(t, record, sizeof(record)), ",\"x\":0}");
	assert_true(table_makes_sense(t, record, 17)); /* without a message */
	assert_false(table_makes_sense(t, record, sizeof(record)));
	assert_true(table_makes_sense(other, record, sizeof(record)));
}

static void enum_without_name_is_a_number_and_sign_follows_the_names(void **state)
{
	struct manifest_enumerator plain[] = {{(char *)"A", 0}, {(char *)"B", 4294967295}};
	struct manifest_enumerator below[] = {{(char *)"M", -1}, {(char *)"Z", 0}};
	const struct manifest_enum enums[] = {{(char *)"p", plain, 2}, {(char *)"b", below, 2}};
	const struct manifest_field fields[] = {
	    {.name = (char *)"p", .offset = 16, .size = 4, .kind = FIELD_ENUM, .enum_index = 0, .length_field = -1},
	    {.name = (char *)"b", .offset = 20, .size = 4, .kind = FIELD_ENUM, .enum_index = 1, .length_field = -1}};
	const struct table_part part = {.fields = fields, .count = 2, .size = 24};
	const struct table_source source = {.event = "e",
					    .bundle = "a/b",
					    .host = "h",
					    .enums = enums,
					    .enum_count = 2,
					    .parts = &part,
					    .part_count = 1};
	OWN(table) struct table *t = NULL;
	struct err e = ERR_INIT;
	uint8_t record[24];

	(void)state;
	assert_int_equal(table_compile(&source, &t, &e), 0);
	memset(record, 0xff, sizeof(record));
	memset(record, 0, 16);
	assert_string_equal(format(t, record, 24), ",\"p\":\"B\",\"b\":\"M\"}");
	record[16] = record[20] = 0xfe;
	assert_string_equal(format(t, record, 24), ",\"p\":4294967294,\"b\":-2}");
}

static void histogram_leaves_out_empty_ends(void **state)
{
	const struct manifest_field fields[] = {{.name = (char *)"log",
						 .offset = 16,
						 .size = 4,
						 .count = 64,
						 .stride = 4,
						 .kind = FIELD_UINT,
						 .format = FORMAT_LOG2,
						 .enum_index = -1,
						 .length_field = -1},
						{.name = (char *)"lin",
						 .offset = 272,
						 .size = 1,
						 .count = 4,
						 .stride = 1,
						 .kind = FIELD_UINT,
						 .format = FORMAT_LINEAR,
						 .base = -10,
						 .step = 5,
						 .enum_index = -1,
						 .length_field = -1}};
	uint8_t record[276] = {0};
	struct err e = ERR_INIT;
	OWN(table) struct table *t = compile(fields, 2, sizeof(record), &e);

	(void)state;
	assert_string_equal(format(t, record, sizeof(record)),
			    ",\"log\":{\"buckets\":[],\"count\":0},\"lin\":{\"buckets\":[],\"count\":0}}");
	record[16 + 4 * 61] = 1;
	record[16 + 4 * 63] = 2;
	record[272] = 9;
	record[273] = 1;
	assert_string_equal(format(t, record, sizeof(record)),
			    ",\"log\":{\"buckets\":[{\"le\":4611686018427387903,\"count\":1},"
			    "{\"le\":9223372036854775807,\"count\":0},{\"le\":18446744073709551615,\"count\":2}],"
			    "\"count\":3},\"lin\":{\"buckets\":[{\"le\":-6,\"count\":9},{\"le\":-1,\"count\":1}],"
			    "\"count\":10}}");
}

static void kernel_addresses_have_names(void **state)
{
	static const char text[] = "ffffffff81000000 T _stext\nffffffff81000100 t helper\t[mod]\n"
				   "ffffffff81000180 d data\nbroken\n";
	struct kallsyms *k = NULL;
	struct err e = ERR_INIT;
	uint64_t offset;
	int fd;

	(void)state;
	assert_int_equal(file_sealed("kallsyms", text, sizeof(text) - 1, &fd, &e), 0);
	assert_int_equal(kallsyms_read(fd, &k, &e), 0);
	assert_null(kallsyms_find(k, 0x1000, &offset));
	assert_string_equal(kallsyms_find(k, 0xffffffff81000010, &offset), "_stext");
	assert_int_equal(offset, 0x10);
	assert_string_equal(kallsyms_find(k, 0xffffffff81000190, &offset), "helper");
	assert_int_equal(offset, 0x90);
	kallsyms_free(&k);
	close(fd);
	static const char hidden[] = "0000000000000000 T _stext\n";
	assert_int_equal(file_sealed("kallsyms", hidden, sizeof(hidden) - 1, &fd, &e), 0);
	assert_int_equal(kallsyms_read(fd, &k, &e), -1);
	assert_int_equal(e.code, ERR_UNSUPPORTED);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(envelope_comes_first),
	    cmocka_unit_test(fields_with_a_common_prefix_share_an_object),
	    cmocka_unit_test(omitted_fields_leave_no_comma_and_no_empty_object),
	    cmocka_unit_test(colliding_names_are_refused),
	    cmocka_unit_test(field_outside_the_record_is_refused),
	    cmocka_unit_test(line_that_could_be_too_long_is_refused),
	    cmocka_unit_test(gate_refuses_what_the_table_refuses),
	    cmocka_unit_test(gate_never_expects_a_shorter_line),
	    cmocka_unit_test(golden_event_is_shown_in_every_form),
	    cmocka_unit_test(garbled_dns_is_left_out_and_makes_no_sense),
	    cmocka_unit_test(enum_without_name_is_a_number_and_sign_follows_the_names),
	    cmocka_unit_test(histogram_leaves_out_empty_ends),
	    cmocka_unit_test(kernel_addresses_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
