#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "packager/packager.h"
#include "tests/unit/no_memory.h"

static const char example[] = "docs/examples/hello";

static void definition_read_example_is_taken_apart(void **state)
{
	OWN(definition) struct definition *d = NULL;
	struct err e = ERR_INIT;

	(void)state;
	if (definition_read(example, &d, &e)) {
		err_print(stderr, "run it from the top of the tree", &e, false);
		fail();
	}
	assert_string_equal(d->name, "demo/hello");
	assert_string_equal(d->version, "1.0.0");
	assert_int_equal(d->serial, 1);
	assert_int_equal(d->kernel_major, 5);
	assert_int_equal(d->kernel_minor, 10);
	assert_int_equal(d->sources.count, 1);
	assert_string_equal(d->sources.text[0], "hello.bpf.c");
	assert_int_equal(d->arches.count, 2);
}

static void definition_read_missing_folder_is_named(void **state)
{
	OWN(definition) struct definition *d = NULL;
	struct err e = ERR_INIT;
	char text[512];

	(void)state;
	assert_int_equal(definition_read("docs/examples/none", &d, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_non_null(strstr(err_text(&e, text, sizeof(text)), "docs/examples/none/bundle.json"));
}

static int read_step(void *context, struct err *e)
{
	OWN(definition) struct definition *d = NULL;
	int status = definition_read(context, &d, e);

	/* jansson's lexer must not have gone on with a shorter text. */
	if (!status)
		assert_string_equal(d->description, "Says hello to every program that starts.");
	return status;
}

static void definition_read_without_memory_is_an_error(void **state)
{
	(void)state;
	assert_true(no_memory_anywhere(read_step, (void *)example) > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(definition_read_example_is_taken_apart),
	    cmocka_unit_test(definition_read_missing_folder_is_named),
	    cmocka_unit_test(definition_read_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
