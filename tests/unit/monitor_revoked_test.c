#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "loader/monitor/revoked.h"
#include "tests/unit/folder_fixture.h"

#define ONE "1111111111111111111111111111111111111111111111111111111111111111"
#define TWO "2222222222222222222222222222222222222222222222222222222222222222"

static void file_is(const char *expected)
{
	OWN_FREE uint8_t *text = NULL;
	struct err e = ERR_INIT;
	char path[96];
	size_t size;

	snprintf(path, sizeof(path), "%s/revoked", folder);
	assert_int_equal(file_read(path, 1 << 20, ERR_IO, &text, &size, &e), 0);
	assert_string_equal((char *)text, expected);
}

static struct digest digest(const char *hex)
{
	struct digest d;

	assert_true(digest_parse(hex, &d));
	return d;
}

static void read_missing_is_empty(void **state)
{
	OWN(revoked) struct revoked r = {0};
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(revoked_read(folder_fd, &r, &e), 0);
	assert_int_equal(r.count, 0);
}

static void read_comments_and_blanks_are_understood(void **state)
{
	static const char text[] = "# all of them\n\n  " ONE " \t# lost # twice\n" TWO;
	const struct digest one = digest(ONE), two = digest(TWO);
	OWN(revoked) struct revoked r = {0};
	struct err e = ERR_INIT;

	(void)state;
	folder_write("revoked", text, sizeof(text) - 1);
	assert_int_equal(revoked_read(folder_fd, &r, &e), 0);
	assert_int_equal(r.count, 2);
	assert_string_equal(revoked_find(&r, &one)->note, "lost # twice");
	assert_string_equal(revoked_find(&r, &two)->note, "");
}

/* Half a list would let pass what the other half names. */
static void read_malformed_is_refused(void **state)
{
	static const char *const texts[] = {"x", ONE "1", ONE " " TWO, ONE "\nAA", "1111"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct revoked r = {0};
		struct err e = ERR_INIT;
		folder_write("revoked", texts[i], strlen(texts[i]));
		assert_int_equal(revoked_read(folder_fd, &r, &e), -1);
		assert_int_equal(e.code, ERR_POLICY_MALFORMED);
		assert_null(r.one);
	}
	struct revoked r = {0};
	struct err e = ERR_INIT;
	folder_write("revoked", ONE "\n\0" TWO "\n", 2 * 65 + 1);
	assert_int_equal(revoked_read(folder_fd, &r, &e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
}

static void add_then_drop_keeps_the_rest(void **state)
{
	static const char text[] = "# mine\n" TWO "# stays";
	const struct digest one = digest(ONE);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(revoked_add(folder_fd, &one, "first", &e), 0);
	file_is(ONE " # first\n");
	folder_write("revoked", text, sizeof(text) - 1);
	assert_int_equal(revoked_add(folder_fd, &one, "again", &e), 0);
	file_is("# mine\n" TWO "# stays\n" ONE " # again\n");
	assert_int_equal(revoked_add(folder_fd, &one, "twice", &e), 0);
	assert_int_equal(revoked_drop(folder_fd, &one, &e), 0);
	file_is("# mine\n" TWO "# stays\n");
}

static void add_failed_rename_keeps_the_old_one(void **state)
{
	const struct digest one = digest(ONE), two = digest(TWO);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(revoked_add(folder_fd, &two, "stays", &e), 0);
	folder_rename_fails = folder_is_full;
	assert_int_equal(revoked_add(folder_fd, &one, "", &e), -1);
	assert_int_equal(revoked_drop(folder_fd, &two, &e), -1);
	file_is(TWO " # stays\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_set_up, folder_tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(read_missing_is_empty),
	    TEST(read_comments_and_blanks_are_understood),
	    TEST(read_malformed_is_refused),
	    TEST(add_then_drop_keeps_the_rest),
	    TEST(add_failed_rename_keeps_the_old_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
