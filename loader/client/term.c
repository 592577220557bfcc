#include "loader/client/term.h"

#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "bundles/base/own.h"
#include "bundles/base/text.h"

enum { WIDTH_LEAST = 40, WIDTH_MOST = 1000 };

static const char *const sequences[STYLE_COUNT] = {
    [STYLE_PLAIN] = "\033[0m",  [STYLE_BOLD] = "\033[1m",     [STYLE_DIM] = "\033[2m",   [STYLE_RED] = "\033[31m",
    [STYLE_GREEN] = "\033[32m", [STYLE_YELLOW] = "\033[33m",  [STYLE_BLUE] = "\033[34m", [STYLE_MAGENTA] = "\033[35m",
    [STYLE_CYAN] = "\033[36m",  [STYLE_ALARM] = "\033[1;41m",
};

struct term term_of(int fd)
{
	struct term term = {.tty = isatty(fd) == 1};
	const char *name = getenv("TERM"), *no_colour = getenv("NO_COLOR");
	struct winsize size;

	term.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	if (!term.tty)
		return term;
	term.colour = name && name[0] && strcmp(name, "dumb") != 0 && !(no_colour && no_colour[0]);
	term.width = 80;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col)
		term.width = size.ws_col;
	if (term.width < WIDTH_LEAST)
		term.width = WIDTH_LEAST;
	if (term.width > WIDTH_MOST)
		term.width = WIDTH_MOST;
	return term;
}

void term_style(FILE *f, const struct term *term, enum style style)
{
	if (term->colour)
		fputs(sequences[style], f);
}

static wchar_t decode(const uint8_t *s, size_t len)
{
	static const uint8_t lead_mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	wchar_t c = s[0] & lead_mask[len];

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

size_t term_columns(const char *text, size_t bytes)
{
	size_t left = bytes, columns = 0;

	while (left) {
		size_t len = text_utf8_len((const uint8_t *)text, left);
		int width = len ? wcwidth(decode((const uint8_t *)text, len)) : 1;

		if (len == 0)
			len = 1;
		columns += width < 0 ? 1 : (size_t)width; /* the locale may not know the character */
		text += len;
		left -= len;
	}
	return columns;
}

void term_duration(uint64_t ns, const char *space, char *dst, size_t size)
{
	uint64_t s = ns / 1000000000;

	if (ns < 1000)
		snprintf(dst, size, "%" PRIu64 "%sns", ns, space);
	else if (ns < 1000000)
		snprintf(dst, size, "%.*f%sus", ns < 10000 ? 1 : 0, (double)ns / 1e3, space);
	else if (ns < 1000000000)
		snprintf(dst, size, "%.*f%sms", ns < 100000000 ? 1 : 0, (double)ns / 1e6, space);
	else if (s < 120)
		snprintf(dst, size, "%.1f%ss", (double)ns / 1e9, space);
	else if (s < 7200)
		snprintf(dst, size, "%" PRIu64 "%smin%s%" PRIu64 "%ss", s / 60, space, space, s % 60, space);
	else if (s < 172800)
		snprintf(dst, size, "%" PRIu64 "%sh%s%" PRIu64 "%smin", s / 3600, space, space, s / 60 % 60, space);
	else
		snprintf(dst, size, "%" PRIu64 "%sd%s%" PRIu64 "%sh", s / 86400, space, space, s / 3600 % 24, space);
}

void term_bytes(uint64_t bytes, const char *space, char *dst, size_t size)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double amount = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(dst, size, "%" PRIu64 "%sB", bytes, space);
		return;
	}
	/* 1023.95 would round to "1024.0" */
	while (amount >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
		amount /= 1024;
		unit++;
	}
	snprintf(dst, size, "%.1f%s%s", amount, space, units[unit]);
}

void term_count(uint64_t n, char *dst, size_t size)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
	size_t at = 0;

	for (int i = 0; i < len && at + 2 < size; i++) {
		if (i && (len - i) % 3 == 0)
			dst[at++] = ',';
		dst[at++] = digits[i];
	}
	dst[at] = '\0';
}
