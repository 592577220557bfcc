/* Writes JSON text (RFC 8259) as fast as events come: no allocation, no locale, no state but a clock.
 *
 * Every function writes at p and returns the place after what it wrote. The caller has made sure of room: the most that
 * each may write is named, plus JSON_SLACK bytes, which any of them may scribble over past the place returned.
 */
#ifndef OBS_WORKER_JSON_H
#define OBS_WORKER_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	JSON_SLACK = 64,
	JSON_INT_MAX = 20, /* digits of a 64-bit number with its sign */
	JSON_IP_MAX = 39,
	JSON_MAC_MAX = 17,
	JSON_TIME_MAX = 30,   /* "2026-11-22T10:00:00.123456789Z" without quotes */
	JSON_TEXT_GROWTH = 6, /* most bytes that one byte of text becomes */
};

char *json_put_u64(char *p, uint64_t v);
char *json_put_i64(char *p, int64_t v);

/* A string with its quotes, at most JSON_TEXT_GROWTH * size + 2. Control characters (C0, DEL, C1) become \u00XX, each
 * byte that is not part of well-formed UTF-8 becomes U+FFFD: the same rules as text_json(). */
char *json_put_string(char *p, const uint8_t *s, size_t size);

/* These without quotes. Addresses are in network order; a v4-mapped IPv6 address is written as IPv4, others as
 * RFC 5952 wants. */
char *json_put_ip4(char *p, const uint8_t address[static 4]);
char *json_put_ip6(char *p, const uint8_t address[static 16]);
char *json_put_mac(char *p, const uint8_t address[static 6]);
char *json_put_hex(char *p, const uint8_t *s, size_t size); /* 2 * size */
char *json_put_hex_number(char *p, uint64_t v);             /* "0x1f" */

/* Kernel time to calendar time. Zeroed at start, then json_clock_refresh from time to time. */
struct json_clock {
	uint64_t offset_ns; /* CLOCK_REALTIME minus CLOCK_MONOTONIC, which bpf_ktime_get_ns() reads */
	uint64_t second;    /* whose text is in `text`; 0: none */
	char text[32];
};

void json_clock_refresh(struct json_clock *clock);

/* RFC 3339 in UTC with nanoseconds, without quotes. Times past 2554 wrap, as 64 bits of nanoseconds do. */
char *json_put_time(struct json_clock *clock, char *p, uint64_t ktime_ns);

/* Literal text; `text` must have JSON_SLACK readable bytes past its end. */
static inline char *json_put_literal(char *p, const char *text, size_t size)
{
	if (__builtin_expect(size <= 32, 1))
		memcpy(p, text, 32);
	else
		memcpy(p, text, size);
	return p + size;
}

#endif
