/* Untrusted text made safe for JSON and for terminals. */
#ifndef OBS_BASE_TEXT_H
#define OBS_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bundles/base/own.h"

/* Length in bytes (1 to 4) of the well-formed UTF-8 sequence at s, 0 if there is none within size bytes. Overlong forms,
 * surrogates and code points past U+10FFFF are not well-formed (Unicode 15, table 3-7). */
size_t text_utf8_len(const uint8_t *s, size_t size);

/* Writes s as a JSON string with its quotes. Control characters (C0, DEL, C1) become \u00XX; each byte that is not part
 * of well-formed UTF-8 becomes U+FFFD. */
void text_json(FILE *f, const char *s);

/* Writes s for a terminal: control characters and bidirectional overrides become \xXX or \u{XXXX}, bytes that are not
 * UTF-8 become \xXX. With lines, newline and tab are kept. */
void text_terminal(FILE *f, const char *s, bool lines);

/* The same of size bytes, in which NUL is a control character like another. */
void text_terminal_bytes(FILE *f, const char *s, size_t size, bool lines);

/* A stream into memory that tells when something is missing: open_memstream of glibc 2.36 loses what it gets no memory for
 * without an error of the stream, or ends with NULL where fclose says that all is well. */
struct text_stream {
	FILE *f; /* to write to */
	char *data;
	size_t size, room;
	bool failed;
};

#define OWN_TEXT_STREAM __attribute__((cleanup(text_stream_clear)))

/* -1 with errno. */
MUST_CHECK int text_stream_open(struct text_stream *s);
/* Closes f. All that was written, with a NUL behind it; the caller frees *out. -1 with errno: not all of it is there. */
MUST_CHECK int text_stream_end(struct text_stream *s, char **out, size_t *out_size);
void text_stream_clear(struct text_stream *s);

enum { TEXT_TIME_BYTES = 40 };

/* RFC 3339 in UTC, "2026-11-22T10:00:00Z"; what no calendar has, as a number of seconds. */
void text_time(int64_t seconds, char dst[static TEXT_TIME_BYTES]);

#endif
