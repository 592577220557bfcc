#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "loader/worker/filter.h"

bool __wrap_dns_parse(const uint8_t *data, size_t size, struct dns_message *out);
bool __real_dns_parse(const uint8_t *data, size_t size, struct dns_message *out);
const char *__wrap_enum_names_name(const struct enum_names *names, int64_t number);
const char *__real_enum_names_name(const struct enum_names *names, int64_t number);

static unsigned parsed, named;

bool __wrap_dns_parse(const uint8_t *data, size_t size, struct dns_message *out)
{
	parsed++;
	return __real_dns_parse(data, size, out);
}

const char *__wrap_enum_names_name(const struct enum_names *names, int64_t number)
{
	named++;
	return __real_enum_names_name(names, number);
}

struct record {
	uint8_t header[16];
	uint64_t u64;
	int32_t i32;
	uint16_t port, zero;
	uint8_t ip6[16];
	uint8_t ip4[4];
	uint32_t state;
	char name[16];
	uint16_t ports[4];
	uint8_t yes;
	uint8_t mac[6];
	uint8_t dns[19];
};

#define FIELD(n, member, k, f)                                                                                         \
	{                                                                                                              \
		.name = (char *)(n), .offset = offsetof(struct record, member),                                        \
		.size = sizeof(((struct record *)0)->member), .kind = (k), .format = (f), .enum_index = -1,            \
		.length_field = -1                                                                                     \
	}

static const struct manifest_field fields[] = {
    FIELD("u64", u64, FIELD_UINT, FORMAT_PLAIN),
    FIELD("i32", i32, FIELD_INT, FORMAT_PLAIN),
    FIELD("port", port, FIELD_UINT, FORMAT_PORT),
    FIELD("ip6", ip6, FIELD_BYTES, FORMAT_IP),
    FIELD("ip4", ip4, FIELD_BYTES, FORMAT_IP),
    FIELD("name", name, FIELD_CHARS, FORMAT_PLAIN),
    FIELD("yes", yes, FIELD_BOOL, FORMAT_PLAIN),
    FIELD("mac", mac, FIELD_BYTES, FORMAT_MAC),
    FIELD("dns", dns, FIELD_BYTES, FORMAT_DNS),
    FIELD("hex", u64, FIELD_UINT, FORMAT_HEX),
    FIELD("opened", u64, FIELD_UINT, FORMAT_TIME),
    {.name = (char *)"state",
     .offset = offsetof(struct record, state),
     .size = 4,
     .kind = FIELD_ENUM,
     .enum_index = 0,
     .length_field = -1},
    {.name = (char *)"zero",
     .offset = offsetof(struct record, zero),
     .size = 2,
     .kind = FIELD_UINT,
     .omit_zero = true,
     .enum_index = -1,
     .length_field = -1},
    {.name = (char *)"ports",
     .offset = offsetof(struct record, ports),
     .size = 2,
     .count = 4,
     .stride = 2,
     .kind = FIELD_UINT,
     .enum_index = -1,
     .length_field = -1},
};

static const struct record record = {
    .u64 = 0xfffffffffffffff0,
    .i32 = -7,
    .port = 443,
    .ip6 = {[10] = 0xff, 0xff, 10, 1, 2, 3},
    .ip4 = {192, 0, 2, 1},
    .state = 1,
    .name = "nginx",
    .ports = {80, 443, 8080, 0},
    .yes = 1,
    .mac = {2, 0x42},
    .dns = {[5] = 1, [12] = 1, 'a', 0, 0, 1, 0, 1},
};

static struct table *make_table(void)
{
	static struct manifest_enumerator values[] = {{(char *)"CLOSED", 0}, {(char *)"OPEN", 1}};
	static const struct manifest_enum states = {(char *)"state", values, 2};
	const struct table_part part = {.fields = fields, .count = ARRAY_LEN(fields), .size = sizeof(struct record)};
	const struct table_source source = {.event = "tcp.close",
					    .bundle = "obs/x",
					    .host = "web-1",
					    .enums = &states,
					    .enum_count = 1,
					    .parts = &part,
					    .part_count = 1};
	struct table *t = NULL;
	struct err e = ERR_INIT;

	if (table_compile(&source, &t, &e))
		fail_msg("%s: %s", e.frame[1], e.frame[0]);
	return t;
}

static bool matches(const struct table *t, const char *conditions)
{
	OWN(request) struct request *r = NULL;
	OWN(filter) struct filter *f = NULL;
	struct err e = ERR_INIT;
	char line[8192];
	bool never;

	snprintf(line, sizeof(line), "{\"where\":[%s]}", conditions);
	if (request_parse(line, strlen(line), &r, &e))
		fail_msg("%s: %s", conditions, e.frame[0]);
	assert_int_equal(filter_compile(r, t, &f, &never, &e), 0);
	return !never && (!f || filter_matches(f, 17, (const uint8_t *)&record, sizeof(record)));
}

static void conditions_hold_as_described(void **state)
{
	static const struct {
		const char *field, *op, *value;
		bool holds;
	} cases[] = {
	    {"port", "=", "443", true},
	    {"port", "=", "442", false},
	    {"port", "!=", "443", false},
	    {"port", "!=", "80", true},
	    {"port", "<", "443", false},
	    {"port", "<", "444", true},
	    {"port", "<=", "443", true},
	    {"port", ">", "443", false},
	    {"port", ">", "442", true},
	    {"port", ">=", "444", false},
	    {"port", ">=", "-1", true},
	    {"port", "<", "-1", false},
	    {"port", "=", "443.0", true},
	    {"port", ">", "442.5", true},
	    {"port", "in", "[1,443]", true},
	    {"port", "in", "[1,2]", false},
	    {"port", "=", "\"443\"", false},
	    {"port", "!=", "\"443\"", true},
	    {"port", "=", "true", false},
	    {"u64", ">", "9223372036854775807", true},
	    {"u64", "<", "0", false},
	    {"i32", "=", "-7", true},
	    {"i32", "<", "0", true},
	    {"i32", "<=", "-8", false},
	    {"i32", ">=", "-7", true},
	    {"i32", ">", "-8", true},
	    {"i32", "!=", "-7", false},
	    {"ip6", "=", "\"10.1.2.3\"", true},
	    {"ip6", "=", "\"::ffff:10.1.2.3\"", true},
	    {"ip6", "=", "\"10.1.2.4\"", false},
	    {"ip6", "in", "\"10.0.0.0/8\"", true},
	    {"ip6", "in", "\"10.1.2.2/31\"", true},
	    {"ip6", "in", "\"10.1.2.0/31\"", false},
	    {"ip6", "in", "[\"11.0.0.0/8\",\"10.1.0.0/16\"]", true},
	    {"ip6", "!=", "\"10.0.0.0/8\"", false},
	    {"ip6", "~", "\"10.1.*\"", true},
	    {"ip6", "=", "\"ten\"", false},
	    {"ip4", "in", "\"192.0.2.0/24\"", true},
	    {"ip4", "in", "\"::/0\"", true},
	    {"ip4", "in", "\"2001:db8::/32\"", false},
	    {"name", "=", "\"nginx\"", true},
	    {"name", "=", "\"ngin\"", false},
	    {"name", "~", "\"ng*\"", true},
	    {"name", "in", "[\"curl\",\"nginx\"]", true},
	    {"name", "=", "5", false},
	    {"yes", "=", "true", true},
	    {"yes", "=", "false", false},
	    {"yes", "!=", "false", true},
	    {"mac", "=", "\"02:42:00:00:00:00\"", true},
	    {"state", "=", "\"OPEN\"", true},
	    {"state", "~", "\"O*\"", true},
	    {"state", "=", "1", true},
	    {"state", "!=", "\"CLOSED\"", true},
	    {"state", "in", "[\"CLOSED\",\"OPEN\"]", true},
	    {"hex", "=", "\"0xfffffffffffffff0\"", true},
	    {"opened", "=", "\"1970\"", false},
	    {"zero", "=", "0", false},
	    {"zero", "!=", "1", true},
	    {"ports", "=", "8080", true},
	    {"ports", "=", "22", false},
	    {"ports", "!=", "80", false},
	    {"ports", "!=", "22", true},
	    {"ports", ">", "8000", true},
	    {"dns.question.name", "=", "\"a\"", true},
	    {"dns.question.name", "~", "\"*.com\"", false},
	    {"dns.question.type", "=", "\"A\"", true},
	    {"dns.response_code", "=", "\"NOERROR\"", false},
	    {"dns", "=", "\"a\"", false},
	    {"nothing", "=", "1", false},
	    {"nothing", "!=", "1", true},
	    {"event", "=", "\"tcp.close\"", true},
	    {"event", "!=", "\"tcp.close\"", false},
	    {"bundle", "~", "\"obs/*\"", true},
	    {"host", "=", "\"web-1\"", true},
	    {"host", "!=", "\"web-1\"", false},
	    {"host", "~", "\"db-*\"", false},
	    {"host", "in", "[\"db-1\",\"web-1\"]", true},
	    {"seq", "=", "17", true},
	    {"seq", ">", "17", false},
	    {"seq", ">=", "16.5", true},
	    {"seq", "!=", "17", false},
	    {"seq", "in", "[16,17]", true},
	    {"seq", "=", "\"17\"", false},
	};
	OWN(table) struct table *t = make_table();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char condition[256];
		snprintf(condition, sizeof(condition), "{\"field\":\"%s\",\"op\":\"%s\",\"value\":%s}", cases[i].field,
			 cases[i].op, cases[i].value);
		if (matches(t, condition) != cases[i].holds)
			fail_msg("%s should%s match", condition, cases[i].holds ? "" : " not");
	}
}

static void all_conditions_must_hold(void **state)
{
	OWN(table) struct table *t = make_table();

	(void)state;
	assert_true(
	    matches(t, "{\"field\":\"port\",\"op\":\"=\",\"value\":443},{\"field\":\"i32\",\"op\":\"<\",\"value\":0}"));
	assert_false(
	    matches(t, "{\"field\":\"port\",\"op\":\"=\",\"value\":443},{\"field\":\"i32\",\"op\":\">\",\"value\":0}"));
}

/* What a record costs does not grow with what asking costs the client nothing. */
static void record_is_parsed_once_for_all_values(void **state)
{
	OWN(table) struct table *t = make_table();
	char conditions[4096], *p;

	(void)state;
	p = stpcpy(conditions, "{\"field\":\"dns.question.type\",\"op\":\"!=\",\"value\":\"AAAA\"},"
			       "{\"field\":\"state\",\"op\":\"!=\",\"value\":\"CLOSED\"},"
			       "{\"field\":\"state\",\"op\":\"in\",\"value\":[\"none\",\"OPEN\"]},"
			       "{\"field\":\"dns.question.name\",\"op\":\"in\",\"value\":[\"b\"");
	for (int i = 0; i < 200; i++)
		p = stpcpy(p, ",\"c\"");
	stpcpy(p, ",\"a\"]}");
	parsed = named = 0;
	assert_true(matches(t, conditions));
	assert_int_equal(parsed, 1);
	assert_int_equal(named, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(conditions_hold_as_described),
	    cmocka_unit_test(all_conditions_must_hold),
	    cmocka_unit_test(record_is_parsed_once_for_all_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
