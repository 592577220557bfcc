#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdlib.h>

#include "bundles/base/own.h"
#include "bundles/base/text.h"
#include "tests/unit/no_memory.h"

static size_t length(const char *s)
{
	return text_utf8_len((const uint8_t *)s, strlen(s));
}

static void text_utf8_len_of_well_formed_sequences(void **state)
{
	(void)state;
	assert_int_equal(length("a"), 1);
	assert_int_equal(length("\x7f"), 1);
	assert_int_equal(length("\xc2\x80"), 2);
	assert_int_equal(length("\xe0\xa0\x80"), 3);
	assert_int_equal(length("\xed\x9f\xbf"), 3);
	assert_int_equal(length("\xee\x80\x80"), 3);
	assert_int_equal(length("\xf0\x90\x80\x80"), 4);
	assert_int_equal(length("\xf4\x8f\xbf\xbf"), 4);
	assert_int_equal(text_utf8_len((const uint8_t *)"\0", 1), 1);
}

static void text_utf8_len_of_anything_else_is_zero(void **state)
{
	static const char *const wrong[] = {
	    "\x80",             /* continuation alone */
	    "\xc0\x80",         /* overlong NUL */
	    "\xc1\xbf",         /* overlong */
	    "\xe0\x9f\xbf",     /* overlong */
	    "\xf0\x8f\xbf\xbf", /* overlong */
	    "\xed\xa0\x80",     /* surrogate */
	    "\xf4\x90\x80\x80", /* past U+10FFFF */
	    "\xf5\x80\x80\x80",
	    "\xff",
	    "\xc2",
	    "\xc2\x41",
	    "\xe1\x80",
	    "\xe1\x80\x41",
	    "\xf1\x80\x80",
	    "",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(length(wrong[i]), 0);
}

static char *as_json(const char *s)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	text_json(f, s);
	fclose(f);
	return text;
}

static char *as_terminal(const char *s, bool lines)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	text_terminal(f, s, lines);
	fclose(f);
	return text;
}

static void text_json_escapes_controls_and_replaces_noise(void **state)
{
	OWN_FREE char *text = as_json("a\"\\\n\x1b\x7f\xc2\x9b\xc3\xa9\xff\xed\xa0\x80z");

	(void)state;
	assert_string_equal(text, "\"a\\\"\\\\\\u000a\\u001b\\u007f\\u009b\xc3\xa9\xef\xbf\xbd"
				  "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
}

static void text_terminal_defuses_escapes(void **state)
{
	OWN_FREE char *text = as_terminal("a\x1b[2J\n\xc2\x9b\xff\xe2\x80\xae\xc3\xa9", false);

	(void)state;
	assert_string_equal(text, "a\\x1b[2J\\x0a\\x9b\\xff\\u{202e}\xc3\xa9");
}

static void text_terminal_defuses_what_reorders(void **state)
{
	OWN_FREE char *text =
	    as_terminal("\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\u061b\u2027\u206a", false);

	(void)state;
	assert_string_equal(text, "\\u{061c}\\u{200e}\\u{200f}\\u{2028}\\u{2029}\\u{202a}\\u{202e}\\u{2066}\\u{2069}"
				  "\u061b\u2027\u206a");
}

static void text_terminal_bytes_shows_nul(void **state)
{
	OWN_FREE char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	text_terminal_bytes(f, "a\0b\0\xc3\xa9", 6, false);
	fclose(f);
	assert_string_equal(text, "a\\x00b\\x00\xc3\xa9");
}

static void text_terminal_with_lines_keeps_them(void **state)
{
	OWN_FREE char *text = as_terminal("a\n\tb\r", true);

	(void)state;
	assert_string_equal(text, "a\n\tb\\x0d");
}

/* Nothing that a terminal acts on comes through, whatever goes in. */
static void text_terminal_of_any_two_bytes_is_harmless(void **state)
{
	char pair[3] = {0};

	(void)state;
	for (unsigned i = 1; i < 256; i++) {
		for (unsigned k = 1; k < 256; k += 3) {
			pair[0] = (char)i;
			pair[1] = (char)k;
			OWN_FREE char *text = as_terminal(pair, false);
			for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
				size_t n = text_utf8_len(p, strlen((const char *)p));
				assert_true(n > 0 && p[0] >= 0x20 && p[0] != 0x7f);
				assert_false(p[0] == 0xc2 && p[1] < 0xa0);
				p += n - 1;
			}
		}
	}
}

static void text_time_is_rfc_3339(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {
	    {0, "1970-01-01T00:00:00Z"},
	    {1800000000, "2027-01-15T08:00:00Z"},
	    {253402300799, "9999-12-31T23:59:59Z"},
	    {INT64_MAX, "second 9223372036854775807"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[TEXT_TIME_BYTES];
		text_time(cases[i].seconds, text);
		assert_string_equal(text, cases[i].text);
	}
}

/* More than one buffer of the stream, and several times the room. */
static int write_much(void *context, struct err *e)
{
	OWN_TEXT_STREAM struct text_stream s = {0};
	OWN_FREE char *text = NULL;
	const unsigned *lines = context;
	size_t size;

	if (text_stream_open(&s))
		return err_errno(e, ERR_NOMEM, "open");
	for (unsigned i = 0; i < *lines; i++)
		fprintf(s.f, "%08u\n", i);
	if (text_stream_end(&s, &text, &size))
		return err_errno(e, ERR_NOMEM, "end");
	assert_int_equal(size, *lines * 9);
	assert_int_equal(strlen(text), size);
	if (*lines)
		assert_int_equal(strtoul(text + size - 9, NULL, 10), *lines - 1);
	return 0;
}

static void text_stream_without_memory_tells(void **state)
{
	unsigned lines = 10000, none = 0;

	(void)state;
	assert_true(no_memory_anywhere(write_much, &lines) > 3);
	assert_int_equal(no_memory_anywhere(write_much, &none), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(text_utf8_len_of_well_formed_sequences),
	    cmocka_unit_test(text_utf8_len_of_anything_else_is_zero),
	    cmocka_unit_test(text_json_escapes_controls_and_replaces_noise),
	    cmocka_unit_test(text_terminal_defuses_escapes),
	    cmocka_unit_test(text_terminal_defuses_what_reorders),
	    cmocka_unit_test(text_terminal_bytes_shows_nul),
	    cmocka_unit_test(text_terminal_with_lines_keeps_them),
	    cmocka_unit_test(text_terminal_of_any_two_bytes_is_harmless),
	    cmocka_unit_test(text_time_is_rfc_3339),
	    cmocka_unit_test(text_stream_without_memory_tells),
	};

	return cmocka_run_group_tests_name("base_text", tests, NULL, NULL);
}
