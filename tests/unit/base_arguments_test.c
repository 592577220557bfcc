#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "bundles/base/arguments.h"

enum { WORDS_MAX = 16 };
enum { NAME = 1 << 0, QUIET = 1 << 1, OTHER = 1 << 2 };

static const struct option known[] = {
    {"name", required_argument, NULL, NAME},
    {"title", required_argument, NULL, NAME},
    {"quiet", no_argument, NULL, QUIET},
    {"other", no_argument, NULL, OTHER},
    {0},
};

struct seen {
	unsigned flags;
	char name[32];
};

static int take(void *to, unsigned flag, const char *value, struct err *e)
{
	struct seen *seen = to;

	seen->flags |= flag;
	if (flag == NAME)
		snprintf(seen->name, sizeof(seen->name), "%s", value);
	return strcmp(seen->name, "bad") == 0 ? err_set(e, ERR_USAGE, "bad name") : 0;
}

/* Splits a line at spaces; its first word is the command. */
static char **words(const char *line, int *count)
{
	static char text[256];
	static char *argv[WORDS_MAX];

	snprintf(text, sizeof(text), "%s", line);
	*count = 0;
	for (char *word = strtok(text, " "); word && *count < WORDS_MAX - 1; word = strtok(NULL, " "))
		argv[(*count)++] = word;
	argv[*count] = NULL;
	return argv;
}

static int read_line(const char *line, bool stop, struct seen *seen, int *left, struct err *e)
{
	int argc, first = 0;
	char **argv = words(line, &argc);
	const struct arguments a = {
	    .command = "do", .known = known, .letters = "qn:", .accepted = NAME | QUIET, .stop = stop, .take = take};

	int result = arguments_read(&a, argc, argv, seen, &first, e);
	*left = argc - first;
	return result;
}

static void assert_refused(const char *line, const char *message)
{
	struct seen seen = {};
	struct err e = ERR_INIT;
	char text[512];
	int left;

	assert_int_equal(read_line(line, false, &seen, &left, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_string_equal(err_text(&e, text, sizeof(text)), message);
}

static void arguments_read_takes_options_wherever_they_stand(void **state)
{
	struct seen seen = {};
	struct err e = ERR_INIT;
	int left;

	(void)state;
	assert_int_equal(read_line("do this --title=x that -q", false, &seen, &left, &e), 0);
	assert_int_equal(seen.flags, NAME | QUIET);
	assert_string_equal(seen.name, "x");
	assert_int_equal(left, 2);
	assert_int_equal(read_line("do -qn y -- -q --other", false, &seen, &left, &e), 0);
	assert_string_equal(seen.name, "y");
	assert_int_equal(left, 2);
}

static void arguments_read_with_stop_ends_at_first_word(void **state)
{
	struct seen seen = {};
	struct err e = ERR_INIT;
	int left;

	(void)state;
	assert_int_equal(read_line("do -q this --bogus", true, &seen, &left, &e), 0);
	assert_int_equal(seen.flags, QUIET);
	assert_int_equal(left, 2);
}

static void arguments_read_wrong_option_is_named(void **state)
{
	(void)state;
	assert_refused("do --bogus", "do: unknown option --bogus");
	assert_refused("do this -x that", "do: unknown option -x");
	assert_refused("do --other", "do takes no --other");
	assert_refused("do this --name", "do: --name needs a value");
	assert_refused("do -n", "do: -n needs a value");
	assert_refused("do --quiet=1", "do: --quiet takes no value");
	assert_refused("do --name bad", "do: bad name");
}

static void arguments_hold_looks_before_the_end_of_options(void **state)
{
	int argc;
	char **argv = words("do this --json --bogus", &argc);

	(void)state;
	assert_true(arguments_hold(argc, argv, "--json"));
	argv = words("--json do -- --json", &argc);
	assert_false(arguments_hold(argc, argv, "--json"));
}

static void arguments_number_takes_decimal_digits_within_range(void **state)
{
	static const char *const wrong[] = {"", "0", "11", "-1", "+1", " 1", "1 ", "0x1", "1x", "18446744073709551617"};
	struct err e = ERR_INIT;
	uint64_t n = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(arguments_number("--n", wrong[i], 1, 10, &n, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
		assert_int_equal(n, 7);
	}
	assert_int_equal(arguments_number("--n", "10", 1, 10, &n, &e), 0);
	assert_int_equal(n, 10);
	assert_int_equal(arguments_number("--n", "18446744073709551615", 0, UINT64_MAX, &n, &e), 0);
	assert_true(n == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(arguments_read_takes_options_wherever_they_stand),
	    cmocka_unit_test(arguments_read_with_stop_ends_at_first_word),
	    cmocka_unit_test(arguments_read_wrong_option_is_named),
	    cmocka_unit_test(arguments_hold_looks_before_the_end_of_options),
	    cmocka_unit_test(arguments_number_takes_decimal_digits_within_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
