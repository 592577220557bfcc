#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <string.h>

#include "loader/client/table.h"

static const struct table_column columns[] = {{"NAME"}, {"RUNS", .right = true}, {"NOTE"}, {"REASON", .wrap = true}};

/* Prints rows of four texts; the caller frees the result. */
static char *printed(const struct term *term, unsigned indent, const char *const *cell, size_t count)
{
	struct err e = ERR_INIT;
	OWN(table) struct table *t = NULL;
	char *out = NULL;
	size_t size;

	assert_int_equal(table_new(columns, ARRAY_LEN(columns), &t, &e), 0);
	for (size_t i = 0; i < count; i++)
		table_cell(t, i % 4 == 0 ? STYLE_RED : STYLE_PLAIN, "%s", cell[i]);
	assert_int_equal(table_rows(t), count / 4);
	FILE *f = open_memstream(&out, &size);
	assert_non_null(f);
	assert_int_equal(table_print(t, f, term, indent, &e), 0);
	fclose(f);
	return out;
}

static void table_of_rows_is_aligned(void **state)
{
	static const char *const cell[] = {"a", "1", "x", "fine", "longer", "12345", "", "also"};
	const struct term term = {0};
	OWN_FREE char *out = printed(&term, 2, cell, ARRAY_LEN(cell));

	(void)state;
	assert_string_equal(out, "  NAME     RUNS  NOTE  REASON\n"
				 "  a           1  x     fine\n"
				 "  longer  12345        also\n");
}

static void table_column_without_text_is_left_out(void **state)
{
	static const char *const cell[] = {"a", "", "", "r"};
	const struct term term = {0};
	OWN_FREE char *out = printed(&term, 0, cell, ARRAY_LEN(cell));

	(void)state;
	assert_string_equal(out, "NAME  REASON\na     r\n");
}

static void table_wider_than_terminal_wraps_and_hides_nothing(void **state)
{
	static const char *const cell[] = {"program", "1", "n",
					   "needs tp_btf/sock_send_length, Linux 6.3; fell back to fentry"};
	const struct term term = {.tty = true, .width = 50};
	OWN_FREE char *out = printed(&term, 0, cell, ARRAY_LEN(cell));

	(void)state;
	assert_string_equal(out, "NAME     RUNS  NOTE  REASON\n"
				 "program     1  n     needs\n"
				 "                     tp_btf/sock_send_length,\n"
				 "                     Linux 6.3; fell back to\n"
				 "                     fentry\n");
	for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n"))
		assert_true(strlen(line) <= 50);
}

static void table_word_longer_than_column_is_broken(void **state)
{
	static const char *const cell[] = {"p", "1", "n", "0123456789012345678901234567890123456789"};
	const struct term term = {.tty = true, .width = 40};
	OWN_FREE char *out = printed(&term, 0, cell, ARRAY_LEN(cell));
	char digits[64] = "";

	(void)state;
	for (const char *p = strchr(out, '0'); p && *p; p++)
		if (*p >= '0' && *p <= '9')
			strncat(digits, p, 1);
	assert_string_equal(digits, "0123456789012345678901234567890123456789");
}

static void table_cell_with_escape_sequence_is_harmless(void **state)
{
	static const char override[] = "\xe2\x80\xae"
				       "evil";
	static const char *const cell[] = {"\033[2Jx", "1", override, "\xff\x9b"};
	const struct term term = {0};
	OWN_FREE char *out = printed(&term, 0, cell, ARRAY_LEN(cell));

	(void)state;
	assert_null(strchr(out, '\033'));
	assert_non_null(strstr(out, "\\x1b[2Jx"));
	assert_non_null(strstr(out, "\\u{202e}evil"));
	assert_non_null(strstr(out, "\\xff\\x9b"));
}

static void table_style_without_colour_writes_no_escape(void **state)
{
	static const char *const cell[] = {"a", "1", "n", "r"};
	const struct term plain = {.tty = true, .width = 80}, colour = {.tty = true, .colour = true, .width = 80};
	OWN_FREE char *a = printed(&plain, 0, cell, ARRAY_LEN(cell));
	OWN_FREE char *b = printed(&colour, 0, cell, ARRAY_LEN(cell));

	(void)state;
	assert_null(strchr(a, '\033'));
	assert_non_null(strstr(b, "\033[31ma\033[0m"));
}

static void table_wide_characters_keep_alignment(void **state)
{
	static const char *const cell[] = {"\xc3\xa4\xc3\xb6", "1", "n", "r", "abcdef", "2", "n", "r"};
	const struct term term = {.utf8 = true};
	OWN_FREE char *out = printed(&term, 0, cell, ARRAY_LEN(cell));

	(void)state;
	assert_non_null(strstr(out, "\n\xc3\xa4\xc3\xb6         1  n     r\n"));
	assert_non_null(strstr(out, "\nabcdef     2  n     r\n"));
}

static void assert_duration(uint64_t ns, const char *expected)
{
	char text[64];

	term_duration(ns, " ", text, sizeof(text));
	assert_string_equal(text, expected);
}

static void term_duration_is_readable(void **state)
{
	(void)state;
	assert_duration(0, "0 ns");
	assert_duration(999, "999 ns");
	assert_duration(1200, "1.2 us");
	assert_duration(1200000, "1.2 ms");
	assert_duration(340000000, "340 ms");
	assert_duration(1500000000, "1.5 s");
	assert_duration(182000000000, "3 min 2 s");
	assert_duration(7260000000000, "2 h 1 min");
	assert_duration(UINT64_MAX, "213503 d 23 h");
}

static void assert_bytes(uint64_t n, const char *expected)
{
	char text[64];

	term_bytes(n, " ", text, sizeof(text));
	assert_string_equal(text, expected);
}

static void term_bytes_is_readable(void **state)
{
	(void)state;
	assert_bytes(0, "0 B");
	assert_bytes(1023, "1023 B");
	assert_bytes(3482, "3.4 KiB");
	assert_bytes(1048575, "1.0 MiB");
	assert_bytes(UINT64_MAX, "16.0 EiB");
}

static void term_count_groups_thousands(void **state)
{
	char text[32];

	(void)state;
	term_count(0, text, sizeof(text));
	assert_string_equal(text, "0");
	term_count(12345, text, sizeof(text));
	assert_string_equal(text, "12,345");
	term_count(UINT64_MAX, text, sizeof(text));
	assert_string_equal(text, "18,446,744,073,709,551,615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table_of_rows_is_aligned),
	    cmocka_unit_test(table_column_without_text_is_left_out),
	    cmocka_unit_test(table_wider_than_terminal_wraps_and_hides_nothing),
	    cmocka_unit_test(table_word_longer_than_column_is_broken),
	    cmocka_unit_test(table_cell_with_escape_sequence_is_harmless),
	    cmocka_unit_test(table_style_without_colour_writes_no_escape),
	    cmocka_unit_test(table_wide_characters_keep_alignment),
	    cmocka_unit_test(term_duration_is_readable),
	    cmocka_unit_test(term_bytes_is_readable),
	    cmocka_unit_test(term_count_groups_thousands),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
