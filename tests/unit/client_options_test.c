#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "loader/client/options.h"

enum { WORDS_MAX = 80 };

/* Splits a line at spaces and parses it; argv[0] is its first word. */
static int parse(const char *line, unsigned accepted, bool stop, struct options *o, int *left, struct err *e)
{
	static char text[1024];
	static char *argv[WORDS_MAX];
	int argc = 0, first = 0;

	snprintf(text, sizeof(text), "%s", line);
	for (char *word = strtok(text, " "); word && argc < WORDS_MAX - 1; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	int result = options_parse(o, accepted, stop, argc, argv, &first, e);
	*left = argc - first;
	return result;
}

static void assert_usage(const char *line, unsigned accepted, const char *named)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	char text[512];
	int left;

	assert_int_equal(parse(line, accepted, false, &o, &left, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_non_null(strstr(err_text(&e, text, sizeof(text)), named));
}

static void options_parse_reads_options_between_words(void **state)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	int left;

	(void)state;
	assert_int_equal(parse("install a.tar --json --allow-downgrade --run-dir=/x",
			       OPTIONS_GLOBAL | OPTION_ALLOW_DOWNGRADE, false, &o, &left, &e),
			 0);
	assert_int_equal(left, 1);
	assert_true(o.json);
	assert_true(o.allow_downgrade);
	assert_string_equal(o.run_dir, "/x");
}

static void options_parse_with_stop_leaves_the_command_its_options(void **state)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	int left;

	(void)state;
	assert_int_equal(parse("obsload --json run --run-dir /x", OPTIONS_GLOBAL, true, &o, &left, &e), 0);
	assert_int_equal(left, 3);
	assert_string_equal(o.run_dir, OPTIONS_RUN_DIR);
}

static void options_parse_dash_is_a_word(void **state)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	int left;

	(void)state;
	assert_int_equal(parse("install -", OPTIONS_GLOBAL, false, &o, &left, &e), 0);
	assert_int_equal(left, 1);
	assert_int_equal(parse("install -- --json", OPTIONS_GLOBAL, false, &o, &left, &e), 0);
	assert_int_equal(left, 1);
	assert_false(o.json);
}

static void options_parse_wrong_is_usage_error_that_names_it(void **state)
{
	(void)state;
	assert_usage("list --bogus", OPTIONS_GLOBAL, "--bogus");
	assert_usage("list --last 5", OPTIONS_GLOBAL, "list takes no --last");
	assert_usage("list --run-dir", OPTIONS_GLOBAL, "--run-dir needs a value");
	assert_usage("list -x", OPTIONS_GLOBAL, "-x");
	assert_usage("events --count 0", OPTION_COUNT, "--count \"0\"");
	assert_usage("events --count 1x", OPTION_COUNT, "--count \"1x\"");
	assert_usage("events --count -1", OPTION_COUNT, "--count \"-1\"");
	assert_usage("events --count 99999999999999999999999999", OPTION_COUNT, "--count");
	assert_usage("events --last 1000001", OPTION_LAST, "--last");
}

static void options_parse_too_many_conditions_is_usage_error(void **state)
{
	char line[1024] = "events";

	(void)state;
	for (int i = 0; i <= OPTIONS_MAX_WHERE; i++)
		strcat(line, " --where a=1");
	assert_usage(line, OPTION_WHERE, "--where");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(options_parse_reads_options_between_words),
	    cmocka_unit_test(options_parse_with_stop_leaves_the_command_its_options),
	    cmocka_unit_test(options_parse_dash_is_a_word),
	    cmocka_unit_test(options_parse_wrong_is_usage_error_that_names_it),
	    cmocka_unit_test(options_parse_too_many_conditions_is_usage_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
