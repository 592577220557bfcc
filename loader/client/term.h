/* What standard output or error can show: colour, width, characters outside ASCII; and amounts for people. */
#ifndef OBS_CLIENT_TERM_H
#define OBS_CLIENT_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct term {
	bool tty;
	bool colour;    /* a terminal, TERM is not "dumb", NO_COLOR (no-color.org) is unset or empty */
	bool utf8;      /* the locale's characters */
	unsigned width; /* columns, 0: not limited (a file or pipe) */
};

enum style {
	STYLE_PLAIN,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_RED,
	STYLE_GREEN,
	STYLE_YELLOW,
	STYLE_BLUE,
	STYLE_MAGENTA,
	STYLE_CYAN,
	STYLE_ALARM, /* bold on red */
	STYLE_COUNT,
};

/* main has called setlocale(LC_CTYPE, ""). */
struct term term_of(int fd);

/* Nothing without colour. STYLE_PLAIN ends what an earlier style began. */
void term_style(FILE *f, const struct term *term, enum style style);

/* Columns that the first `bytes` of text take; text is what text_terminal writes: well-formed, no control characters. */
size_t term_columns(const char *text, size_t bytes);

/* "1.2 ms", "340 us", "3 min 2 s"; space is put between number and unit. At least 32 bytes of room. */
void term_duration(uint64_t ns, const char *space, char *dst, size_t size);

/* "812 B", "3.4 KiB". */
void term_bytes(uint64_t bytes, const char *space, char *dst, size_t size);

/* "12,345". */
void term_count(uint64_t n, char *dst, size_t size);

#endif
