#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bundles/base/text.h"
#include "loader/worker/json.h"

static void numbers_equal_printf(void **state)
{
	char got[64 + JSON_SLACK], want[64];
	uint64_t v = 1;

	(void)state;
	for (int i = 0; i < 64; i++, v <<= 1) {
		const uint64_t near[] = {v - 1, v, v + 1, v * 10, ~v};
		for (size_t k = 0; k < sizeof(near) / sizeof(near[0]); k++) {
			*json_put_u64(got, near[k]) = '\0';
			snprintf(want, sizeof(want), "%" PRIu64, near[k]);
			assert_string_equal(got, want);
			*json_put_i64(got, (int64_t)near[k]) = '\0';
			snprintf(want, sizeof(want), "%" PRId64, (int64_t)near[k]);
			assert_string_equal(got, want);
			*json_put_hex_number(got, near[k]) = '\0';
			snprintf(want, sizeof(want), "0x%" PRIx64, near[k]);
			assert_string_equal(got, want);
		}
	}
	for (v = 1; v; v = v > UINT64_MAX / 10 ? 0 : v * 10) {
		for (int d = -1; d <= 1; d++) {
			*json_put_u64(got, v + (uint64_t)d) = '\0';
			snprintf(want, sizeof(want), "%" PRIu64, v + (uint64_t)d);
			assert_string_equal(got, want);
		}
	}
	*json_put_i64(got, INT64_MIN) = '\0';
	assert_string_equal(got, "-9223372036854775808");
}

static void addresses_equal_inet_ntop(void **state)
{
	char got[64 + JSON_SLACK], want[INET6_ADDRSTRLEN];
	uint8_t a[16];

	(void)state;
	srandom(1);
	for (int i = 0; i < 20000; i++) {
		for (size_t k = 0; k < sizeof(a); k++)
			a[k] = random() % 3 ? 0 : (uint8_t)random();
		*json_put_ip4(got, a) = '\0';
		inet_ntop(AF_INET, a, want, sizeof(want));
		assert_string_equal(got, want);
		a[0] |= 0x20; /* inet_ntop shows the deprecated ::a.b.c.d form, RFC 5952 does not */
		*json_put_ip6(got, a) = '\0';
		inet_ntop(AF_INET6, a, want, sizeof(want));
		assert_string_equal(got, want);
	}
}

static void ipv4_in_ipv6_is_shown_as_ipv4(void **state)
{
	const uint8_t mapped[16] = {[10] = 0xff, 0xff, 192, 0, 2, 255}, any[16] = {0}, loopback[16] = {[15] = 1};
	char got[64 + JSON_SLACK];

	(void)state;
	*json_put_ip6(got, mapped) = '\0';
	assert_string_equal(got, "192.0.2.255");
	*json_put_ip6(got, any) = '\0';
	assert_string_equal(got, "::");
	*json_put_ip6(got, loopback) = '\0';
	assert_string_equal(got, "::1");
}

/* The project's own slow writer gives the same text for every byte sequence without NUL. */
static void text_is_escaped_as_by_the_shared_writer(void **state)
{
	uint8_t text[41];
	char got[sizeof(text) * JSON_TEXT_GROWTH + 2 + JSON_SLACK], *want;
	static const uint8_t interesting[] = {'"',  '\\', 0x1f, 0x7f, 0xc2, 0x80, 0x9f,
					      0xa0, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0xff};
	size_t want_size;

	(void)state;
	srandom(2);
	for (int i = 0; i < 50000; i++) {
		size_t size = (size_t)random() % sizeof(text);
		for (size_t k = 0; k < size; k++)
			text[k] = random() % 4 ? (uint8_t)('a' + random() % 26)
					       : interesting[(size_t)random() % sizeof(interesting)];
		text[size] = '\0';
		FILE *f = open_memstream(&want, &want_size);
		text_json(f, (const char *)text);
		fclose(f);
		*json_put_string(got, text, size) = '\0';
		assert_string_equal(got, want);
		free(want);
	}
}

static void nul_within_text_is_escaped(void **state)
{
	char got[64 + JSON_SLACK];

	(void)state;
	*json_put_string(got, (const uint8_t *)"a\0b", 3) = '\0';
	assert_string_equal(got, "\"a\\u0000b\"");
}

static void time_equals_strftime(void **state)
{
	struct json_clock clock = {0};
	char got[64 + JSON_SLACK], date[32], want[64];

	(void)state;
	srandom(3);
	for (int i = 0; i < 20000; i++) {
		uint64_t ns = ((uint64_t)random() << 33) ^ ((uint64_t)random() << 16) ^ (uint64_t)random();
		time_t second = (time_t)(ns / 1000000000);
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", gmtime(&second));
		snprintf(want, sizeof(want), "%s.%09" PRIu64 "Z", date, ns % 1000000000);
		*json_put_time(&clock, got, ns) = '\0';
		assert_string_equal(got, want);
	}
	clock.offset_ns = 951782400ULL * 1000000000; /* a leap day */
	*json_put_time(&clock, got, 1) = '\0';
	assert_string_equal(got, "2000-02-29T00:00:00.000000001Z");
}

static void clock_is_that_of_the_system(void **state)
{
	struct json_clock clock = {0};
	struct timespec mono, real;

	(void)state;
	json_clock_refresh(&clock);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	int64_t now = (int64_t)real.tv_sec * 1000000000 + real.tv_nsec;
	int64_t told = (int64_t)mono.tv_sec * 1000000000 + mono.tv_nsec + (int64_t)clock.offset_ns;
	assert_true(llabs(now - told) < 50000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_equal_printf),          cmocka_unit_test(addresses_equal_inet_ntop),
	    cmocka_unit_test(ipv4_in_ipv6_is_shown_as_ipv4), cmocka_unit_test(text_is_escaped_as_by_the_shared_writer),
	    cmocka_unit_test(nul_within_text_is_escaped),    cmocka_unit_test(time_equals_strftime),
	    cmocka_unit_test(clock_is_that_of_the_system),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
