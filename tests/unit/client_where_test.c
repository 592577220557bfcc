#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "loader/client/ask.h"
#include "loader/client/where.h"

static void assert_where(const char *text, const char *expected)
{
	struct err e = ERR_INIT;
	json_auto_t *condition = NULL;

	assert_int_equal(where_parse(text, &condition, &e), 0);
	OWN_FREE char *json = json_dumps(condition, JSON_COMPACT);
	assert_string_equal(json, expected);
}

static void where_parse_takes_every_operator(void **state)
{
	(void)state;
	assert_where("tcp.sent_bytes > 1000", "{\"field\":\"tcp.sent_bytes\",\"op\":\">\",\"value\":1000}");
	assert_where("tcp.sent_bytes>=1000", "{\"field\":\"tcp.sent_bytes\",\"op\":\">=\",\"value\":1000}");
	assert_where("a<-5", "{\"field\":\"a\",\"op\":\"<\",\"value\":-5}");
	assert_where("a <= 1", "{\"field\":\"a\",\"op\":\"<=\",\"value\":1}");
	assert_where("a = true", "{\"field\":\"a\",\"op\":\"=\",\"value\":true}");
	assert_where("a == false", "{\"field\":\"a\",\"op\":\"=\",\"value\":false}");
	assert_where(" a  !=  b c ", "{\"field\":\"a\",\"op\":\"!=\",\"value\":\"b c \"}");
}

static void where_parse_keeps_text_that_only_looks_like_a_number(void **state)
{
	(void)state;
	assert_where("network.peer.address = 10.0.0.7",
		     "{\"field\":\"network.peer.address\",\"op\":\"=\",\"value\":\"10.0.0.7\"}");
	assert_where("a = 007", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"007\"}");
	assert_where("a = \"42\"", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"42\"}");
	assert_where("a = [1]", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"[1]\"}");
	assert_where("a = null", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"null\"}");
	assert_where("a = x\",\"op\":\"y", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"x\\\",\\\"op\\\":\\\"y\"}");
}

static void where_parse_in_takes_a_list_or_a_network(void **state)
{
	(void)state;
	assert_where("process.pid in 1, 2,3", "{\"field\":\"process.pid\",\"op\":\"in\",\"value\":[1,2,3]}");
	assert_where("a in x", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"x\"]}");
	assert_where("network.peer.address in 10.0.0.0/8",
		     "{\"field\":\"network.peer.address\",\"op\":\"in\",\"value\":\"10.0.0.0/8\"}");
}

static void where_parse_in_slash_alone_makes_no_network(void **state)
{
	(void)state;
	assert_where("a in /usr/bin/curl", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"/usr/bin/curl\"]}");
	assert_where("a in obs/network", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"obs/network\"]}");
	assert_where("a in 2001:db8::/32", "{\"field\":\"a\",\"op\":\"in\",\"value\":\"2001:db8::/32\"}");
	assert_where("a in \"10.0.0.0/8\"", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"10.0.0.0/8\"]}");
	assert_where("a in 10.0.0.0/8,192.168.0.0/16",
		     "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"10.0.0.0/8\",\"192.168.0.0/16\"]}");
}

static void where_parse_in_keeps_commas_in_quotes(void **state)
{
	(void)state;
	assert_where("a in \"a,b\",c", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"a,b\",\"c\"]}");
	assert_where("a in c , \" a, b \" , \"1\" ,2 ",
		     "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"c\",\" a, b \",\"1\",2]}");
	assert_where("a in \"\",\"", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"\",\"\\\"\"]}");
	assert_where("a in \"say \"x\"\",y", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"say \\\"x\\\"\",\"y\"]}");
	assert_where("a in x,", "{\"field\":\"a\",\"op\":\"in\",\"value\":[\"x\",\"\"]}");
}

static void assert_usage(const char *text, const char *named)
{
	struct err e = ERR_INIT;
	json_t *condition = NULL;
	char message[1024];

	assert_int_equal(where_parse(text, &condition, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_null(condition);
	assert_non_null(strstr(err_text(&e, message, sizeof(message)), named));
}

static void where_parse_whole_number_past_63_bits_is_usage_error(void **state)
{
	(void)state;
	assert_where("a = 9223372036854775807", "{\"field\":\"a\",\"op\":\"=\",\"value\":9223372036854775807}");
	assert_where("a = -9223372036854775808", "{\"field\":\"a\",\"op\":\"=\",\"value\":-9223372036854775808}");
	assert_usage("a = 9223372036854775808", "9223372036854775808 is no whole number from -2^63 to 2^63 - 1");
	assert_usage("a != -9223372036854775809", "-9223372036854775809 is no whole number");
	assert_usage("a in 1,18446744073709551615", "18446744073709551615 is no whole number");
	assert_where("a = \"9223372036854775808\"", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"9223372036854775808\"}");
	assert_where("a = 9223372036854775808abc",
		     "{\"field\":\"a\",\"op\":\"=\",\"value\":\"9223372036854775808abc\"}");
	assert_where("a = 00000000000000000001", "{\"field\":\"a\",\"op\":\"=\",\"value\":\"00000000000000000001\"}");
	assert_where("a > 1e19", "{\"field\":\"a\",\"op\":\">\",\"value\":1e19}");
}

static void where_parse_malformed_is_usage_error(void **state)
{
	static const char *const bad[] = {"",           "tcp",       "= 5", "a b 5", "a in",     "a in  ",
					  "a inside 5", "a in \xff", "a =", "a = ",  "a = \xff", "a\"b = 1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct err e = ERR_INIT;
		json_t *condition = NULL;

		assert_int_equal(where_parse(bad[i], &condition, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
		assert_null(condition);
	}
}

static void where_request_without_options_is_everything(void **state)
{
	struct err e = ERR_INIT;
	struct options o = OPTIONS_INIT;
	OWN_FREE char *text = NULL;

	(void)state;
	assert_int_equal(where_request(&o, 0, NULL, &text, &e), 0);
	assert_string_equal(text, "{}\n");
}

static void where_request_holds_every_option_on_one_line(void **state)
{
	struct err e = ERR_INIT;
	struct options o = OPTIONS_INIT;
	char first[] = "tcp.*", second[] = "dns\n";
	char *patterns[] = {first, second};
	OWN_FREE char *text = NULL;

	(void)state;
	o.where[o.where_count++] = "process.pid = 5";
	o.bundle = "obs/*";
	o.last = 10;
	o.sample = 3;
	assert_int_equal(where_request(&o, 2, patterns, &text, &e), 0);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	json_auto_t *request = json_loads(text, 0, NULL);
	assert_string_equal(json_string_value(json_array_get(json_object_get(request, "events"), 1)), "dns\n");
	assert_string_equal(json_string_value(json_array_get(json_object_get(request, "events"), 2)), "obs.lost");
	assert_int_equal(json_array_size(json_object_get(request, "where")), 1);
	assert_string_equal(json_string_value(json_array_get(json_object_get(request, "bundles"), 0)), "obs/*");
	assert_int_equal(json_integer_value(json_object_get(request, "last")), 10);
	assert_int_equal(json_integer_value(json_object_get(request, "sample")), 3);
}

static void where_request_with_pattern_that_is_no_utf8_is_usage_error(void **state)
{
	struct err e = ERR_INIT;
	struct options o = OPTIONS_INIT;
	char bad[] = "\xff";
	char *patterns[] = {bad};
	OWN_FREE char *text = NULL;

	(void)state;
	assert_int_equal(where_request(&o, 1, patterns, &text, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static void where_request_past_what_the_daemon_takes_is_usage_error(void **state)
{
	struct options o = OPTIONS_INIT;
	char pattern[] = "*";
	char *patterns[WHERE_MAX_PATTERNS + 1];
	OWN_FREE char *most = NULL;
	OWN_FREE char *last = NULL;
	OWN_FREE char *more = NULL;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(patterns); i++)
		patterns[i] = pattern;
	o.last = 100000;
	assert_int_equal(where_request(&o, 63, patterns, &most, &e), 0);
	json_auto_t *request = json_loads(most, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(request, "events")), 64);
	assert_int_equal(where_request(&o, 64, patterns, &more, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	o.last = 100001;
	assert_int_equal(where_request(&o, 0, NULL, &last, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(where_parse_takes_every_operator),
	    cmocka_unit_test(where_parse_keeps_text_that_only_looks_like_a_number),
	    cmocka_unit_test(where_parse_in_takes_a_list_or_a_network),
	    cmocka_unit_test(where_parse_in_slash_alone_makes_no_network),
	    cmocka_unit_test(where_parse_in_keeps_commas_in_quotes),
	    cmocka_unit_test(where_parse_whole_number_past_63_bits_is_usage_error),
	    cmocka_unit_test(where_parse_malformed_is_usage_error),
	    cmocka_unit_test(where_request_without_options_is_everything),
	    cmocka_unit_test(where_request_holds_every_option_on_one_line),
	    cmocka_unit_test(where_request_with_pattern_that_is_no_utf8_is_usage_error),
	    cmocka_unit_test(where_request_past_what_the_daemon_takes_is_usage_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
