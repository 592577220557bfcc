#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bundles/base/own.h"
#include "loader/client/pretty.h"

/* One line through a fresh state; the caller frees the result. */
static char *shown(const struct term *term, const char *line)
{
	struct pretty p;
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	assert_non_null(f);
	pretty_init(&p, term);
	pretty_event(&p, f, line, strlen(line));
	fclose(f);
	return out;
}

static const struct term plain = {.utf8 = true};

static void pretty_tcp_close_is_one_aligned_line(void **state)
{
	OWN_FREE char *out = shown(
	    &plain,
	    "{\"time\":\"2026-11-22T10:00:00.123456789Z\",\"event\":\"tcp.close\",\"bundle\":\"obs/network\","
	    "\"host\":\"web-1\",\"seq\":17,\"process\":{\"pid\":4242,\"executable\":{\"name\":\"curl\"}},"
	    "\"network\":{\"transport\":\"tcp\",\"type\":\"ipv4\",\"local\":{\"address\":\"10.0.0.1\",\"port\":4242},"
	    "\"peer\":{\"address\":\"10.0.0.7\",\"port\":443}},\"tcp\":{\"sent_bytes\":812,\"received_bytes\":3482,"
	    "\"srtt_us\":1200,\"duration_ns\":1500000000,\"state\":\"close\"}}\n");

	(void)state;
	assert_string_equal(
	    out, "10:00:00.123  tcp.close           curl[4242]          10.0.0.1:4242 \xe2\x86\x92 10.0.0.7:443   "
		 "sent_bytes=812B received_bytes=3.4KiB srtt=1.2ms duration=1.5s state=close\n");
}

static void pretty_ipv6_endpoint_is_bracketed(void **state)
{
	const struct term ascii = {0};
	OWN_FREE char *out = shown(
	    &ascii, "{\"time\":\"2026-11-22T10:00:00Z\",\"event\":\"udp.flow\",\"network\":{\"local\":{\"address\":"
		    "\"2001:db8::1\",\"port\":53},\"peer\":{\"address\":\"2001:db8::2\"}}}");

	(void)state;
	assert_non_null(strstr(out, "  [2001:db8::1]:53 -> 2001:db8::2"));
	assert_true(strncmp(out, "10:00:00.000  ", 14) == 0);
}

static void pretty_process_name_with_escape_sequence_is_harmless(void **state)
{
	OWN_FREE char *out =
	    shown(&plain, "{\"time\":\"2026-11-22T10:00:00Z\",\"event\":\"tcp.connect\",\"process\":{\"pid\":7,"
			  "\"executable\":{\"name\":\"\\u001b]0;owned\\u0007\\u009b2J\"}}}");

	(void)state;
	assert_null(strchr(out, '\033'));
	assert_null(strchr(out, '\007'));
	assert_null(strstr(out, "\xc2\x9b"));
	assert_non_null(strstr(out, "\\x1b]0;owned\\x07\\x9b2J[7]"));
}

static void pretty_dns_name_with_escape_sequence_is_harmless(void **state)
{
	OWN_FREE char *out =
	    shown(&plain, "{\"time\":\"2026-11-22T10:00:00Z\",\"event\":\"dns.lookup\",\"dns\":{\"question\":{\"name\":"
			  "\"a\\u001b[31m.example\\u202e\"},\"answers\":[\"192.0.2.7\",\"\\r\\nforged line\"]}}");

	(void)state;
	assert_null(strchr(out, '\033'));
	assert_null(strchr(out, '\r'));
	assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
	assert_non_null(strstr(out, " question.name=a\\x1b[31m.example\\u{202e}"));
	assert_non_null(strstr(out, " answers=192.0.2.7,\"\\x0d\\x0aforged line\"\n"));
}

static void pretty_text_with_nul_is_shown_to_its_end(void **state)
{
	OWN_FREE char *out = shown(
	    &plain, "{\"event\":\"demo.x\",\"process\":{\"pid\":7,\"executable\":{\"name\":\"a\\u0000b\"}},"
		    "\"demo\":{\"text\":\"x\\u0000y\\u0000\",\"other\":\"\\u0000 z\",\"large\":18446744073709551615}}");

	(void)state;
	assert_non_null(strstr(out, "  a\\x00b[7] "));
	assert_non_null(strstr(out, " text=x\\x00y\\x00 other=\"\\x00 z\" large=18446744073709551615\n"));
}

static void pretty_key_with_escape_sequence_is_harmless(void **state)
{
	OWN_FREE char *out = shown(&plain, "{\"event\":\"x\\u001b[1m\",\"k\\u001b[2J\":{\"a\\u001b\":1},"
					   "\"list\":[{\"\\u001b\":true}]}");

	(void)state;
	assert_null(strchr(out, '\033'));
	assert_non_null(strstr(out, "list={\\x1b:yes}"));
}

static void pretty_line_that_is_no_json_is_escaped(void **state)
{
	OWN_FREE char *out = shown(&plain, "garbage \033[2J\n");

	(void)state;
	assert_string_equal(out, "garbage \\x1b[2J\n");
}

static void pretty_number_past_63_bits_is_exact(void **state)
{
	OWN_FREE char *out = shown(&plain, "{\"event\":\"demo.x\",\"demo\":{\"cookie\":18446744073709551615,"
					   "\"text\":\"\\\"18446744073709551615\",\"list\":[18446744073709551614,1]}}");

	(void)state;
	assert_non_null(strstr(out, " cookie=18446744073709551615"));
	assert_non_null(strstr(out, " list=18446744073709551614,1"));
}

static void pretty_histogram_is_told_by_its_percentiles(void **state)
{
	OWN_FREE char *out =
	    shown(&plain, "{\"event\":\"tcp.rtt\",\"tcp\":{\"rtt_us\":{\"buckets\":[{\"le\":127,\"count\":"
			  "5},{\"le\":255,\"count\":4},{\"le\":2047,\"count\":1}],\"count\":10}}}");
	OWN_FREE char *empty =
	    shown(&plain, "{\"event\":\"tcp.rtt\",\"tcp\":{\"rtt_us\":{\"buckets\":[],\"count\":0}}}");

	(void)state;
	assert_non_null(strstr(out, " rtt=10,p50<=127us,p90<=255us,p99<=2.0ms,p100<=2.0ms\n"));
	assert_non_null(strstr(empty, " rtt=0\n"));
}

static void pretty_histogram_with_limits_below_zero_and_past_63_bits(void **state)
{
	OWN_FREE char *ends =
	    shown(&plain,
		  "{\"event\":\"demo.x\",\"demo\":{\"wait_ns\":{\"buckets\":[{\"le\":4611686018427387903,\"count\":1},"
		  "{\"le\":18446744073709551615,\"count\":1}],\"count\":2},\"wait_us\":{\"buckets\":[{\"le\":"
		  "18446744073709551615,\"count\":1}],\"count\":1}}}");
	OWN_FREE char *below = shown(
	    &plain, "{\"event\":\"demo.x\",\"demo\":{\"skew\":{\"buckets\":[{\"le\":-11,\"count\":2},"
		    "{\"le\":-1,\"count\":1},{\"le\":9,\"count\":1}],\"count\":4},\"skew_us\":{\"buckets\":[{\"le\":"
		    "-1500,\"count\":1}],\"count\":1}}}");

	OWN_FREE char *field = shown(&plain, "{\"event\":\"demo.x\",\"demo\":{\"skew_us\":-1500,\"step\":-7}}");

	(void)state;
	assert_non_null(strstr(field, " skew=-1.5ms step=-7\n"));
	assert_non_null(strstr(ends, " wait=2,p50<=53375d23h,p90<=213503d23h,p99<=213503d23h,p100<=213503d23h"));
	assert_non_null(strstr(ends, " wait=1,p50<=18446744073709551615us,"));
	assert_non_null(strstr(below, " skew=4,p50<=-11,p90<=9,p99<=9,p100<=9"));
	assert_non_null(strstr(below, " skew=1,p50<=-1.5ms,"));
}

static void pretty_deep_nesting_ends(void **state)
{
	char line[8192] = "{\"event\":\"x\"";
	const size_t depth = 300;

	(void)state;
	for (size_t i = 0; i < depth; i++)
		strcat(line, i ? "{\"a\":" : ",\"a\":");
	strcat(line, "1");
	for (size_t i = 0; i < depth; i++)
		strcat(line, "}");
	OWN_FREE char *out = shown(&plain, line);
	assert_non_null(strstr(out, " ..."));
	assert_true(strlen(out) < 2048);
}

static void pretty_lost_is_highlighted_on_a_terminal_only(void **state)
{
	static const char line[] =
	    "{\"time\":\"2026-11-22T10:00:00Z\",\"event\":\"obs.lost\",\"bundle\":\"obs/network\","
	    "\"source\":\"ring\",\"count\":12}";
	const struct term colour = {.tty = true, .colour = true, .utf8 = true, .width = 80};
	OWN_FREE char *a = shown(&plain, line);
	OWN_FREE char *b = shown(&colour, line);

	(void)state;
	assert_null(strchr(a, '\033'));
	assert_non_null(strstr(a, "obs.lost            obs/network          source"));
	assert_non_null(strstr(a, "count=12\n"));
	assert_non_null(strstr(b, "\033[1;41mobs.lost\033[0m"));
}

static void pretty_columns_grow_and_stay(void **state)
{
	static const char first[] = "{\"event\":\"a.b\",\"process\":{\"pid\":1},\"a\":{\"n\":1}}";
	static const char wide[] = "{\"event\":\"messaging.operation\",\"process\":{\"pid\":1},\"a\":{\"n\":1}}";
	struct pretty p;
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	(void)state;
	assert_non_null(f);
	pretty_init(&p, &plain);
	pretty_event(&p, f, first, strlen(first));
	pretty_event(&p, f, wide, strlen(wide));
	pretty_event(&p, f, first, strlen(first));
	fclose(f);
	const char *second = strchr(out, '\n') + 1, *third = strchr(second, '\n') + 1;
	assert_true(strstr(out, "[1]") - out < strstr(second, "[1]") - second);
	assert_int_equal(strstr(third, "[1]") - third, strstr(second, "[1]") - second);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pretty_tcp_close_is_one_aligned_line),
	    cmocka_unit_test(pretty_ipv6_endpoint_is_bracketed),
	    cmocka_unit_test(pretty_process_name_with_escape_sequence_is_harmless),
	    cmocka_unit_test(pretty_dns_name_with_escape_sequence_is_harmless),
	    cmocka_unit_test(pretty_text_with_nul_is_shown_to_its_end),
	    cmocka_unit_test(pretty_key_with_escape_sequence_is_harmless),
	    cmocka_unit_test(pretty_line_that_is_no_json_is_escaped),
	    cmocka_unit_test(pretty_number_past_63_bits_is_exact),
	    cmocka_unit_test(pretty_histogram_is_told_by_its_percentiles),
	    cmocka_unit_test(pretty_histogram_with_limits_below_zero_and_past_63_bits),
	    cmocka_unit_test(pretty_deep_nesting_ends),
	    cmocka_unit_test(pretty_lost_is_highlighted_on_a_terminal_only),
	    cmocka_unit_test(pretty_columns_grow_and_stay),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
