#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/json.h"
#include "tests/unit/no_memory.h"

static void json_read_takes_one_text(void **state)
{
	static const char text[] = " {\"a\": [1, \"\\u00e9\", true]}\n";
	json_auto_t *root = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(json_read(text, strlen(text), ERR_USAGE, &root, &e), 0);
	assert_int_equal(json_array_size(json_object_get(root, "a")), 3);
}

static void json_read_wrong_is_the_callers_code_and_the_place(void **state)
{
	static const char *const wrong[] = {"",         "{",        "{} {}", "{\"a\":1,\"a\":2}", "[1,]", "nul",
					    "\"\xff\"", "[\"\n\"]", "1"};
	json_t *root = NULL;
	struct err e = ERR_INIT;
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(json_read(wrong[i], strlen(wrong[i]), ERR_POLICY_MALFORMED, &root, &e), -1);
		assert_int_equal(e.code, ERR_POLICY_MALFORMED);
		assert_null(root);
	}
	assert_int_equal(json_read("{\n \"a\" 1}", 9, ERR_POLICY_MALFORMED, &root, &e), -1);
	assert_non_null(strstr(err_text(&e, text, sizeof(text)), "line 2, column 6: "));
	/* A zero byte ends nothing. */
	assert_int_equal(json_read("{}\0{}", 5, ERR_POLICY_MALFORMED, &root, &e), -1);
}

static int read_step(void *context, struct err *e)
{
	unsigned long failures = json_failures();
	json_auto_t *root = NULL;
	OWN_FREE char *text = NULL;

	if (json_read(context, strlen(context), ERR_INTERNAL, &root, e))
		return -1;
	if (json_write(root, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15), failures, &text, e))
		return -1;
	assert_string_equal(text, context);
	return 0;
}

/* Tokens of every kind, of every length around which the lexer's buffer grows: also where the character it has no room for
 * is the one behind the token. */
static void json_read_without_memory_is_an_error(void **state)
{
	static const struct {
		const char *before, *behind;
		int most; /* digits between them: numbers must come back as they were written */
	} tokens[] = {{"\"", "\"", 70}, {"", "", 15},          {"-", "", 15},
		      {"0.", "5", 14},  {"{\"", "\":[]}", 70}, {"\"\\u00E9", "\"", 70}};
	static const char digits[] = "1111111111111111111111111111111111111111111111111111111111111111111111";
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
		for (int length = 1; length <= tokens[i].most; length++) {
			snprintf(text, sizeof(text), "[%s%.*s%s,null]", tokens[i].before, length, digits,
				 tokens[i].behind);
			assert_true(no_memory_anywhere(read_step, text) > 2);
		}
	}
}

static int refuse_step(void *context, struct err *e)
{
	json_t *root = NULL;

	if (json_read(context, strlen(context), ERR_INTERNAL, &root, e) && e->code == ERR_INTERNAL)
		return 0;
	return -1;
}

/* Where the lexer gives a character back, it finds the one that it saved. */
static void json_read_wrong_without_memory_is_an_error(void **state)
{
	static const char *const endings[] = {",", "\n\"", "x", "e", ".", ".5,5", "\\u12x", "\xc3"};
	char text[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
		for (int length = 1; length < 40; length++) {
			for (const char *start = "\"1t"; *start; start++) {
				snprintf(text, sizeof(text), "[%c%.*s%s", *start, length,
					 *start == 't' ? "tttttttttttttttttttttttttttttttttttttttt"
						       : "1111111111111111111111111111111111111111",
					 endings[i]);
				assert_true(no_memory_anywhere(refuse_step, text) > 2);
			}
		}
	}
}

static void json_failures_counts_what_was_built_without_memory(void **state)
{
	unsigned long before = json_failures();

	(void)state;
	json_decref(json_string("a"));
	assert_true(json_failures() == before);
	no_memory_at(1, false);
	json_decref(json_string("a"));
	no_memory_at(0, false);
	assert_true(json_failures() == before + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(json_read_takes_one_text),
	    cmocka_unit_test(json_read_wrong_is_the_callers_code_and_the_place),
	    cmocka_unit_test(json_read_without_memory_is_an_error),
	    cmocka_unit_test(json_read_wrong_without_memory_is_an_error),
	    cmocka_unit_test(json_failures_counts_what_was_built_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
