#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bundles/base/err.h"

static void err_set_always_fails_and_drops_what_was(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(err_set(&e, ERR_IO, "first %d", 1), -1);
	err_log(&e, "log");
	err_wrap(&e, "outer");
	assert_int_equal(err_set(&e, ERR_LIMIT, "second"), -1);
	assert_int_equal(e.code, ERR_LIMIT);
	assert_int_equal(e.depth, 1);
	assert_int_equal(e.errnum, 0);
	assert_string_equal(e.frame[0], "second");
	assert_string_equal(e.log, "");
}

static void err_errno_appends_its_text(void **state)
{
	struct err e = ERR_INIT;
	char expected[64];

	(void)state;
	errno = ENOENT;
	assert_int_equal(err_errno(&e, ERR_IO, "open"), -1);
	assert_int_equal(e.errnum, ENOENT);
	snprintf(expected, sizeof(expected), "open: %s", strerror(ENOENT));
	assert_string_equal(e.frame[0], expected);
}

static void err_set_without_an_error_to_fill_fails(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_IO, "x"), -1);
	assert_int_equal(err_errno(NULL, ERR_IO, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
	err_log(NULL, "x");
}

static void err_text_reads_from_outside_in(void **state)
{
	struct err e = ERR_INIT;
	char text[128], tiny[8];

	(void)state;
	err_set(&e, ERR_IO, "origin");
	err_wrap(&e, "inner");
	err_wrap(&e, "outer");
	assert_string_equal(err_text(&e, text, sizeof(text)), "outer: inner: origin");
	assert_string_equal(err_text(&e, tiny, sizeof(tiny)), "outer: ");
}

static void err_wrap_past_the_last_frame_keeps_the_origin(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	err_set(&e, ERR_IO, "origin");
	for (int i = 0; i < 20; i++)
		err_wrap(&e, "frame %d", i);
	assert_int_equal(e.depth, ERR_FRAMES);
	assert_string_equal(e.frame[0], "origin");
	assert_string_equal(e.frame[ERR_FRAMES - 1], "frame 4");
}

static void err_log_too_long_keeps_its_end(void **state)
{
	static char text[ERR_LOG_BYTES + 100];
	struct err e = ERR_INIT;

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text + sizeof(text) - 5, "end!", 5);
	err_set(&e, ERR_KERNEL_VERIFIER, "x");
	err_log(&e, text);
	assert_int_equal(strlen(e.log), ERR_LOG_BYTES - 1);
	assert_string_equal(e.log + ERR_LOG_BYTES - 5, "end!");
}

static void err_codes_are_unique_and_complete(void **state)
{
	(void)state;
	assert_string_equal(err_name(ERR_NONE), "ok");
	assert_int_equal(err_status(ERR_NONE), 0);
	for (enum err_code code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
		assert_int_equal(err_by_name(err_name(code)), code);
		assert_in_range(err_status(code), 2, 63);
		assert_true(err_advice(code)[0] != '\0');
	}
	assert_int_equal(err_by_name("no.such"), ERR_NONE);
	assert_string_equal(err_name(ERR_CODE_COUNT), "system.internal");
}

static char *printed(const struct err *e, bool json, int *status)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	*status = err_print(f, "prog", e, json);
	fclose(f);
	return text;
}

static void err_print_as_text_says_what_and_what_to_do(void **state)
{
	struct err e = ERR_INIT;
	int status;

	(void)state;
	err_set(&e, ERR_SIGNATURE_MISSING, "bad\x1b[31m");
	OWN_FREE char *text = printed(&e, false, &status);
	assert_int_equal(status, 11);
	assert_string_equal(text, "prog: bad\\x1b[31m [signature.missing]\n  sign it: obspkg sign\n");
}

static void err_print_as_json_is_one_line(void **state)
{
	struct err e = ERR_INIT;
	int status;

	(void)state;
	errno = EACCES;
	err_errno(&e, ERR_SIGNATURE_MISSING, "a \"b\"\n\xff");
	err_log(&e, "one\ntwo");
	OWN_FREE char *text = printed(&e, true, &status);
	char expected[256];
	snprintf(expected, sizeof(expected),
		 "{\"error\":{\"code\":\"signature.missing\",\"message\":\"a \\\"b\\\"\\u000a\xef\xbf\xbd: %s\","
		 "\"advice\":\"sign it: obspkg sign\",\"errno\":%d,\"log\":\"one\\u000atwo\"}}\n",
		 strerror(EACCES), EACCES);
	assert_string_equal(text, expected);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(err_set_always_fails_and_drops_what_was),
	    cmocka_unit_test(err_errno_appends_its_text),
	    cmocka_unit_test(err_set_without_an_error_to_fill_fails),
	    cmocka_unit_test(err_text_reads_from_outside_in),
	    cmocka_unit_test(err_wrap_past_the_last_frame_keeps_the_origin),
	    cmocka_unit_test(err_log_too_long_keeps_its_end),
	    cmocka_unit_test(err_codes_are_unique_and_complete),
	    cmocka_unit_test(err_print_as_text_says_what_and_what_to_do),
	    cmocka_unit_test(err_print_as_json_is_one_line),
	};

	return cmocka_run_group_tests_name("base_err", tests, NULL, NULL);
}
