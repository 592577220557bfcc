#include "loader/worker/json.h"

#include <stdbool.h>
#include <time.h>

#include "bundles/base/text.h"
#include "loader/worker/now.h"

static const char pairs[201] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748"
    "49505152535455565758596061626364656667686970717273747576777879808182838485868788899091929394959697"
    "9899";

static const char hex_digits[] = "0123456789abcdef";

/* Exactly `digits` digits, with leading zeros. */
static void fixed_digits(char *p, uint64_t v, unsigned digits)
{
	while (digits >= 2) {
		digits -= 2;
		memcpy(p + digits, pairs + 2 * (v % 100), 2);
		v /= 100;
	}
	if (digits)
		p[0] = (char)('0' + v % 10);
}

static unsigned count_digits(uint64_t v)
{
	static const uint64_t powers[] = {
	    0,
	    10,
	    100,
	    1000,
	    10000,
	    100000,
	    1000000,
	    10000000,
	    100000000,
	    1000000000,
	    10000000000,
	    100000000000,
	    1000000000000,
	    10000000000000,
	    100000000000000,
	    1000000000000000,
	    10000000000000000,
	    100000000000000000,
	    1000000000000000000,
	    10000000000000000000U,
	};
	/* 1233 / 4096 is just above log10(2): right, or one too many digits less. */
	unsigned guess = (unsigned)(64 - __builtin_clzll(v | 1)) * 1233 >> 12;

	return guess + (v >= powers[guess]);
}

char *json_put_u64(char *p, uint64_t v)
{
	if (v < 10) {
		*p = (char)('0' + v);
		return p + 1;
	}
	unsigned digits = count_digits(v);
	fixed_digits(p, v, digits);
	return p + digits;
}

char *json_put_i64(char *p, int64_t v)
{
	if (v >= 0)
		return json_put_u64(p, (uint64_t)v);
	*p++ = '-';
	return json_put_u64(p, 0 - (uint64_t)v);
}

/* Non-zero if any of the eight bytes is not plain ASCII that a JSON string holds as it is. May err towards non-zero. */
static uint64_t not_plain(uint64_t x)
{
	const uint64_t ones = 0x0101010101010101U, high = 0x8080808080808080U;
	uint64_t quote = x ^ (ones * '"'), backslash = x ^ (ones * '\\'), del = x ^ (ones * 0x7f);

	return (x | (x - ones * 0x20) | (quote - ones) | (backslash - ones) | (del - ones)) & high;
}

static char *escape(char *p, unsigned c)
{
	p = stpcpy(p, "\\u00");
	*p++ = hex_digits[c >> 4];
	*p++ = hex_digits[c & 15];
	return p;
}

/* One character, or one byte that is none; returns how many bytes of s it took. */
static size_t string_char(char **out, const uint8_t *s, size_t size)
{
	char *p = *out;
	uint8_t c = s[0];

	if (c >= 0x20 && c < 0x7f) {
		if (c == '"' || c == '\\')
			*p++ = '\\';
		*p++ = (char)c;
		*out = p;
		return 1;
	}
	if (c < 0x80) {
		*out = escape(p, c);
		return 1;
	}
	size_t len = text_utf8_len(s, size);
	if (len == 0) {
		*out = stpcpy(p, "\xef\xbf\xbd");
		return 1;
	}
	if (len == 2 && c == 0xc2 && s[1] < 0xa0) {
		*out = escape(p, s[1]);
		return 2;
	}
	memcpy(p, s, len);
	*out = p + len;
	return len;
}

char *json_put_string(char *p, const uint8_t *s, size_t size)
{
	size_t i = 0;

	*p++ = '"';
	while (i < size) {
		uint64_t x;

		while (size - i >= sizeof(x)) {
			memcpy(&x, s + i, sizeof(x));
			if (not_plain(x))
				break;
			memcpy(p, &x, sizeof(x));
			p += sizeof(x);
			i += sizeof(x);
		}
		/* Up to eight bytes one by one, then try whole words again. */
		for (size_t stop = i + 8; i < size && i < stop;)
			i += string_char(&p, s + i, size - i);
	}
	*p++ = '"';
	return p;
}

static char *octet(char *p, unsigned v)
{
	if (v >= 100) {
		*p++ = (char)('0' + v / 100);
		memcpy(p, pairs + 2 * (v % 100), 2);
		return p + 2;
	}
	if (v >= 10) {
		memcpy(p, pairs + 2 * v, 2);
		return p + 2;
	}
	*p = (char)('0' + v);
	return p + 1;
}

char *json_put_ip4(char *p, const uint8_t address[static 4])
{
	p = octet(p, address[0]);
	*p++ = '.';
	p = octet(p, address[1]);
	*p++ = '.';
	p = octet(p, address[2]);
	*p++ = '.';
	return octet(p, address[3]);
}

/* RFC 5952: the longest run of at least two zero groups, the first of equals, becomes "::". */
static void longest_zeros(const uint16_t group[static 8], int *start, int *length)
{
	int run = 0;

	*start = -1;
	*length = 1;
	for (int i = 0; i < 8; i++) {
		run = group[i] ? 0 : run + 1;
		if (run > *length) {
			*length = run;
			*start = i - run + 1;
		}
	}
}

char *json_put_ip6(char *p, const uint8_t address[static 16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint16_t group[8];
	int start, length;

	if (memcmp(address, mapped, sizeof(mapped)) == 0)
		return json_put_ip4(p, address + 12);
	for (int i = 0; i < 8; i++)
		group[i] = (uint16_t)(address[2 * i] << 8 | address[2 * i + 1]);
	longest_zeros(group, &start, &length);
	for (int i = 0; i < 8; i++) {
		if (i == start) {
			*p++ = ':';
			*p++ = ':';
			i += length - 1;
			continue;
		}
		if (i && p[-1] != ':')
			*p++ = ':';
		unsigned g = group[i];
		for (int shift = 12; shift >= 0; shift -= 4)
			if (g >> shift || shift == 0)
				*p++ = hex_digits[g >> shift & 15];
	}
	return p;
}

char *json_put_mac(char *p, const uint8_t address[static 6])
{
	for (int i = 0; i < 6; i++) {
		*p++ = hex_digits[address[i] >> 4];
		*p++ = hex_digits[address[i] & 15];
		*p++ = ':';
	}
	return p - 1;
}

char *json_put_hex(char *p, const uint8_t *s, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		*p++ = hex_digits[s[i] >> 4];
		*p++ = hex_digits[s[i] & 15];
	}
	return p;
}

char *json_put_hex_number(char *p, uint64_t v)
{
	int shift = v ? (63 - __builtin_clzll(v)) & ~3 : 0;

	*p++ = '0';
	*p++ = 'x';
	for (; shift >= 0; shift -= 4)
		*p++ = hex_digits[v >> shift & 15];
	return p;
}

void json_clock_refresh(struct json_clock *clock)
{
	struct timespec real;
	uint64_t best = UINT64_MAX;

	/* The narrowest of a few pairs of readings bounds the error by the time between them. */
	for (int i = 0; i < 3; i++) {
		uint64_t before = now_ns();
		clock_gettime(CLOCK_REALTIME, &real);
		uint64_t after = now_ns();
		if (after - before < best) {
			best = after - before;
			clock->offset_ns =
			    (uint64_t)real.tv_sec * 1000000000 + (uint64_t)real.tv_nsec - (before + best / 2);
		}
	}
}

/* "2026-11-22T10:00:00." of a second since 1970. Not gmtime_r, which may open the zone file: the sandbox kills for it.
 * Days to date as in Howard Hinnant's "chrono-compatible low-level date algorithms". */
static void second_text(char *text, uint64_t second)
{
	uint64_t days = second / 86400 + 719468;
	unsigned rest = (unsigned)(second % 86400);
	unsigned era = (unsigned)(days / 146097), doe = (unsigned)(days % 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153;
	unsigned month = mp < 10 ? mp + 3 : mp - 9;

	stpcpy(text, "0000-00-00T00:00:00.");
	fixed_digits(text, yoe + era * 400 + (month <= 2), 4);
	fixed_digits(text + 5, month, 2);
	fixed_digits(text + 8, doy - (153 * mp + 2) / 5 + 1, 2);
	fixed_digits(text + 11, rest / 3600, 2);
	fixed_digits(text + 14, rest / 60 % 60, 2);
	fixed_digits(text + 17, rest % 60, 2);
}

char *json_put_time(struct json_clock *clock, char *p, uint64_t ktime_ns)
{
	uint64_t now = ktime_ns + clock->offset_ns;
	uint64_t second = now / 1000000000;

	if (second != clock->second || !clock->text[0]) {
		second_text(clock->text, second);
		clock->second = second;
	}
	memcpy(p, clock->text, 20);
	fixed_digits(p + 20, now % 1000000000, 9);
	p[29] = 'Z';
	return p + 30;
}
