#include "bundles/base/text.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

size_t text_utf8_len(const uint8_t *s, size_t size)
{
	size_t len;
	uint8_t low = 0x80, high = 0xbf;

	if (size == 0)
		return 0;
	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (len > size)
		return 0;
	/* The second byte's range depends on the first: no overlong forms, no surrogates, nothing past U+10FFFF. */
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return len;
}

static uint32_t code_point(const uint8_t *s, size_t len)
{
	static const uint8_t lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = s[0] & lead_mask[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

void text_json(FILE *f, const char *s)
{
	size_t left = strlen(s);

	fputc('"', f);
	while (left) {
		const uint8_t *p = (const uint8_t *)s;
		size_t len = text_utf8_len(p, left);
		if (len == 0) {
			fputs("\xef\xbf\xbd", f);
			len = 1;
		} else {
			uint32_t c = code_point(p, len);
			if (c == '"' || c == '\\')
				fprintf(f, "\\%c", (int)c);
			else if (is_control(c))
				fprintf(f, "\\u%04x", (unsigned)c);
			else
				fwrite(s, 1, len, f);
		}
		s += len;
		left -= len;
	}
	fputc('"', f);
}

/* Unicode's Bidi_Control, and the separators of lines and paragraphs: they show text as another than it is. */
static bool is_reordering(uint32_t c)
{
	return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void text_terminal_bytes(FILE *f, const char *s, size_t size, bool lines)
{
	while (size) {
		const uint8_t *p = (const uint8_t *)s;
		size_t len = text_utf8_len(p, size);
		uint32_t c = len ? code_point(p, len) : 0;
		if (len == 0) {
			fprintf(f, "\\x%02x", p[0]);
			len = 1;
		} else if (lines && (c == '\n' || c == '\t')) {
			fputc((int)c, f);
		} else if (is_control(c)) {
			fprintf(f, "\\x%02x", (unsigned)c);
		} else if (is_reordering(c)) {
			fprintf(f, "\\u{%04x}", (unsigned)c);
		} else {
			fwrite(s, 1, len, f);
		}
		s += len;
		size -= len;
	}
}

void text_terminal(FILE *f, const char *s, bool lines)
{
	text_terminal_bytes(f, s, strlen(s), lines);
}

enum { STREAM_LEAST_BYTES = 256 };

static int stream_reserve(struct text_stream *s, size_t more)
{
	size_t room = s->room ? s->room : STREAM_LEAST_BYTES;

	while (room - s->size <= more)
		room *= 2;
	char *grown = room > s->room ? realloc(s->data, room) : s->data;
	if (!grown)
		return -1;
	s->data = grown;
	s->room = room;
	return 0;
}

static ssize_t stream_write(void *cookie, const char *bytes, size_t size)
{
	struct text_stream *s = cookie;

	s->failed = s->failed || stream_reserve(s, size);
	if (s->failed)
		return 0;
	memcpy(s->data + s->size, bytes, size);
	s->size += size;
	return (ssize_t)size;
}

int text_stream_open(struct text_stream *s)
{
	*s = (struct text_stream){0};
	if (stream_reserve(s, 0))
		return -1;
	s->f = fopencookie(s, "w", (cookie_io_functions_t){.write = stream_write});
	return s->f ? 0 : -1;
}

int text_stream_end(struct text_stream *s, char **out, size_t *out_size)
{
	if (fclose(TAKE_PTR(s->f)) || s->failed) {
		errno = ENOMEM;
		return -1;
	}
	s->data[s->size] = '\0';
	*out = TAKE_PTR(s->data);
	*out_size = s->size;
	return 0;
}

void text_stream_clear(struct text_stream *s)
{
	if (s->f)
		fclose(s->f);
	free(s->data);
	*s = (struct text_stream){0};
}

void text_time(int64_t seconds, char dst[static TEXT_TIME_BYTES])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(dst, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(dst, TEXT_TIME_BYTES, "second %" PRId64, seconds);
}
