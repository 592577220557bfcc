#include "tests/fuzz/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bundles/base/text.h"

static uint32_t decode(const uint8_t *s, size_t len)
{
	uint32_t c = len == 1 ? s[0] : s[0] & (0x7f >> len);

	for (size_t i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* Unicode's Bidi_Control, and the separators of lines and paragraphs. */
static int reorders(uint32_t c)
{
	return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void terminal_check(const char *text, size_t size)
{
	for (size_t at = 0; at < size;) {
		const uint8_t *s = (const uint8_t *)text + at;
		size_t len = text_utf8_len(s, size - at);
		uint32_t c = len ? decode(s, len) : 0;
		if (len == 0 || (c < 0x20 && c != '\n') || (c >= 0x7f && c < 0xa0) || reorders(c)) {
			fprintf(stderr, "byte %zu of %zu is not for a terminal:\n%.*s\n", at, size, (int)size, text);
			abort();
		}
		at += len;
	}
}

const char *terminal_take(size_t *size)
{
	static int fd = -1;
	static char *text;

	if (fd < 0) {
		fd = memfd_create("stdout", MFD_CLOEXEC);
		if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0)
			abort();
	}
	free(text);
	off_t end = fflush(stdout) ? -1 : lseek(fd, 0, SEEK_END);
	text = end < 0 ? NULL : malloc((size_t)end + 1);
	if (!text || pread(fd, text, (size_t)end, 0) != end || ftruncate(fd, 0) || lseek(fd, 0, SEEK_SET))
		abort();
	text[end] = '\0';
	*size = (size_t)end;
	return text;
}
