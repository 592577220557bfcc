#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "loader/worker/request.h"
#include "tests/unit/no_memory.h"

static struct request *parse(const char *line)
{
	struct request *r = NULL;
	struct err e = ERR_INIT;

	if (request_parse(line, strlen(line), &r, &e))
		fail_msg("%s: %s", line, e.frame[0]);
	return r;
}

static void empty_object_asks_for_everything(void **state)
{
	OWN(request) struct request *r = parse("{}");

	(void)state;
	assert_true(request_wants_event(r, "tcp.close"));
	assert_true(request_wants_bundle(r, "obs/network"));
	assert_int_equal(r->sample, 1);
	assert_int_equal(r->last, 0);
	assert_int_equal(r->condition_count, 0);
}

static void full_request_is_taken_apart(void **state)
{
	OWN(request)
	struct request *r =
	    parse("{\"events\":[\"tcp.*\",\"dns.lookup\"],\"bundles\":[\"obs/"
		  "*\"],\"where\":[{\"field\":\"network.peer.port\","
		  "\"op\":\"=\",\"value\":443},{\"field\":\"a\",\"op\":\"in\",\"value\":\"10.0.0.0/8\"},"
		  "{\"field\":\"b\",\"op\":\"in\",\"value\":[1,\"x\",true,2.5]}],\"sample\":10,\"last\":100}\r");

	(void)state;
	assert_true(request_wants_event(r, "tcp.close"));
	assert_true(request_wants_event(r, "dns.lookup"));
	assert_false(request_wants_event(r, "dns.lookups"));
	assert_false(request_wants_bundle(r, "other/x"));
	assert_int_equal(r->sample, 10);
	assert_int_equal(r->last, 100);
	assert_int_equal(r->condition_count, 3);
	assert_string_equal(r->conditions[0].field, "network.peer.port");
	assert_int_equal(r->conditions[0].op, OP_EQ);
	assert_int_equal(r->conditions[0].values[0].integer, 443);
	assert_true(r->conditions[1].values[0].is_network);
	assert_int_equal(r->conditions[1].values[0].prefix_len, 104);
	assert_int_equal(r->conditions[2].value_count, 4);
	assert_int_equal(r->conditions[2].values[3].kind, OPERAND_REAL);
}

static void address_texts_are_recognised(void **state)
{
	static const struct {
		const char *text;
		int prefix_len; /* -1: no address */
	} cases[] = {
	    {"10.0.0.7", 128},       {"10.0.0.0/0", 96},  {"::1", 128},   {"2001:db8::/32", 32}, {"10.0.0.0/33", -1},
	    {"::/129", -1},          {"10.0.0.0/", -1},   {"10.0.0", -1}, {"10.0.0.0/8x", -1},   {"/8", -1},
	    {"::ffff:1.2.3.4", 128}, {"10.0.0.0/-1", -1}, {"", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char line[256];
		snprintf(line, sizeof(line), "{\"where\":[{\"field\":\"a\",\"op\":\"=\",\"value\":\"%s\"}]}",
			 cases[i].text);
		OWN(request) struct request *r = parse(line);
		const struct operand *o = &r->conditions[0].values[0];
		assert_int_equal(o->is_network, cases[i].prefix_len >= 0);
		if (o->is_network)
			assert_int_equal(o->prefix_len, cases[i].prefix_len);
	}
}

static void wrong_request_is_refused_with_the_place(void **state)
{
	static const struct {
		const char *line, *place;
	} cases[] = {
	    {"", "column"},
	    {"{", "column"},
	    {"nonsense", "column"},
	    {"[]", "must be an object"},
	    {"1", "column"},
	    {"{} {}", "column"},
	    {"{\"sample\":1,\"sample\":2}", "duplicate"},
	    {"{\"event\":[\"a\"]}", "unknown key \"event\""},
	    {"{\"events\":\"tcp.*\"}", "\"events\" must be an array"},
	    {"{\"events\":[]}", "1 to 64"},
	    {"{\"events\":[1]}", "must be text"},
	    {"{\"events\":[\"\"]}", "1 to 1024 bytes"},
	    {"{\"bundles\":{}}", "\"bundles\" must be an array"},
	    {"{\"sample\":0}", "\"sample\" must be a whole number"},
	    {"{\"sample\":\"10\"}", "\"sample\" must be a whole number"},
	    {"{\"sample\":1.5}", "\"sample\" must be a whole number"},
	    {"{\"last\":-1}", "\"last\" must be a whole number"},
	    {"{\"last\":100001}", "\"last\" must be a whole number"},
	    {"{\"where\":{}}", "\"where\" must be an array"},
	    {"{\"where\":[1]}", "must be an object"},
	    {"{\"where\":[{}]}", "needs field, op and value"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"=\"}]}", "needs field, op and value"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"==\",\"value\":1}]}", "\"op\" must be one of"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"=\",\"value\":null}]}", "\"value\" must be"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"=\",\"value\":[1]}]}", "only with \"in\""},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"in\",\"value\":[]}]}", "1 to 256"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"in\",\"value\":\"x\"}]}", "needs an array, or a network"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"~\",\"value\":1}]}", "needs text"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"<\",\"value\":\"1\"}]}", "need a number"},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"=\",\"value\":1,\"x\":1}]}", "unknown key \"x\""},
	    {"{\"where\":[{\"field\":\"a\",\"op\":\"=\",\"value\":99999999999999999999}]}", "column"},
	    {"{\"events\":[\"\xff\"]}", "column"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct request *r = NULL;
		struct err e = ERR_INIT;
		char text[2048];
		if (request_parse(cases[i].line, strlen(cases[i].line), &r, &e) == 0)
			fail_msg("accepted: %s", cases[i].line);
		assert_null(r);
		assert_int_equal(e.code, ERR_REQUEST_INVALID);
		if (!strstr(err_text(&e, text, sizeof(text)), cases[i].place))
			fail_msg("%s: no \"%s\" in \"%s\"", cases[i].line, cases[i].place, text);
	}
}

static void too_many_patterns_and_conditions_are_refused(void **state)
{
	char line[8192], *p = line;
	struct request *r = NULL;
	struct err e = ERR_INIT;

	(void)state;
	p = stpcpy(p, "{\"events\":[\"a\"");
	for (int i = 0; i < REQUEST_MAX_PATTERNS; i++)
		p = stpcpy(p, ",\"a\"");
	stpcpy(p, "]}");
	assert_int_equal(request_parse(line, strlen(line), &r, &e), -1);
	p = stpcpy(line, "{\"where\":[");
	for (int i = 0; i <= REQUEST_MAX_CONDITIONS; i++)
		p += sprintf(p, "%s{\"field\":\"a\",\"op\":\"=\",\"value\":1}", i ? "," : "");
	stpcpy(p, "]}");
	assert_int_equal(request_parse(line, strlen(line), &r, &e), -1);
	assert_null(r);
}

/* {"where":[...]} of so many times the condition. */
static int parse_times(const char *condition, int times, struct err *e)
{
	OWN_FREE char *line = malloc(REQUEST_MAX_BYTES);
	OWN(request) struct request *r = NULL;
	char *p = stpcpy(line, "{\"where\":[");

	for (int i = 0; i < times; i++)
		p = stpcpy(stpcpy(p, i ? "," : ""), condition);
	stpcpy(p, "]}");
	return request_parse(line, strlen(line), &r, e);
}

static void conditions_that_cost_too_much_are_refused(void **state)
{
	struct err e = ERR_INIT;
	char values[1024], pattern[1024], *p;

	(void)state;
	p = stpcpy(values, "{\"field\":\"a\",\"op\":\"in\",\"value\":[1");
	for (int i = 1; i < REQUEST_MAX_VALUES / 2; i++)
		p = stpcpy(p, ",1");
	stpcpy(p, "]}");
	assert_int_equal(parse_times(values, 2, &e), 0);
	assert_int_equal(parse_times(values, 3, &e), -1);
	assert_int_equal(e.code, ERR_REQUEST_INVALID);
	e = (struct err)ERR_INIT;
	snprintf(pattern, sizeof(pattern), "{\"field\":\"a\",\"op\":\"~\",\"value\":\"%0*d\"}", REQUEST_MAX_GLOBS / 2,
		 0);
	assert_int_equal(parse_times(pattern, 2, &e), 0);
	assert_int_equal(parse_times(pattern, 3, &e), -1);
	assert_int_equal(e.code, ERR_REQUEST_INVALID);
}

static void deep_nesting_is_refused(void **state)
{
	char *line = malloc(REQUEST_MAX_BYTES);
	struct request *r = NULL;
	struct err e = ERR_INIT;

	(void)state;
	memset(line, '[', REQUEST_MAX_BYTES);
	assert_int_equal(request_parse(line, REQUEST_MAX_BYTES, &r, &e), -1);
	assert_int_equal(e.code, ERR_REQUEST_INVALID);
	free(line);
}

static void glob_matches_as_described(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool matches;
	} cases[] = {
	    {"*", "", true},
	    {"", "", true},
	    {"", "a", false},
	    {"tcp.*", "tcp.close", true},
	    {"tcp.*", "tcp", false},
	    {"*.close", "a.close", true},
	    {"?cp", "tcp", true},
	    {"?", "", false},
	    {"a*b*c", "aXbYc", true},
	    {"a*b*c", "aXbY", false},
	    {"**a", "a", true},
	    {"[a]", "a", false},
	    {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(request_glob(cases[i].pattern, cases[i].text, strlen(cases[i].text)),
				 cases[i].matches);
}

static int parse_step(void *context, struct err *e)
{
	OWN(request) struct request *r = NULL;
	int status = request_parse(context, strlen(context), &r, e);

	assert_true(!r == (status != 0));
	return status;
}

static void request_without_memory_is_an_error(void **state)
{
	char line[] =
	    "{\"events\":[\"tcp.*\"],\"bundles\":[\"obs/*\"],\"where\":[{\"field\":\"process.executable.name\","
	    "\"op\":\"in\",\"value\":[1,\"a name that is long enough to grow\",true,2.5]}],\"last\":100}";

	(void)state;
	assert_true(no_memory_anywhere(parse_step, line) > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_object_asks_for_everything),
	    cmocka_unit_test(full_request_is_taken_apart),
	    cmocka_unit_test(address_texts_are_recognised),
	    cmocka_unit_test(wrong_request_is_refused_with_the_place),
	    cmocka_unit_test(too_many_patterns_and_conditions_are_refused),
	    cmocka_unit_test(conditions_that_cost_too_much_are_refused),
	    cmocka_unit_test(deep_nesting_is_refused),
	    cmocka_unit_test(glob_matches_as_described),
	    cmocka_unit_test(request_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
