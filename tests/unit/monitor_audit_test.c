#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "loader/monitor/audit.h"

static char folder[64], path[96];
static int dir_fd = -1;
static int fail_write; /* the so many-th write from now fails after half of its bytes */

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	if (fail_write && --fail_write == 0) {
		errno = ENOSPC;
		return -1;
	}
	/* Short writes, so that a failure leaves half a line. */
	return __real_write(fd, data, fail_write && size > 10 ? size / 2 : size);
}

static int set_up(void **state)
{
	(void)state;
	fail_write = 0;
	snprintf(folder, sizeof(folder), "/tmp/obs-audit.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/audit.log", folder);
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY);
	return dir_fd < 0;
}

static int tear_down(void **state)
{
	(void)state;
	close(dir_fd);
	unlink(path);
	return rmdir(folder);
}

static void append(struct audit *a, const char *action)
{
	struct err e = ERR_INIT;
	const struct audit_who who = {.known = true, .uid = 1000, .pid = 42, .comm = "ev\033il\"\n"};
	const struct audit_entry entry = {
	    .action = action, .verdict = "done", .who = &who, .name = "obs/network", .serial = 5};

	assert_int_equal(audit_append(a, &entry, &e), 0);
}

static json_t *read_all(const struct audit *a, size_t most)
{
	struct err e = ERR_INIT;
	OWN_FREE char *text = NULL;

	assert_int_equal(audit_read(a, most, &text, &e), 0);
	json_t *json = json_loads(text, 0, NULL);
	assert_non_null(json);
	return json;
}

static const char *action(const json_t *json, size_t i)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(json, "entries"), i), "action"));
}

static void spoil(long offset, const char *bytes)
{
	OWN_FD int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, strlen(bytes), offset), (ssize_t)strlen(bytes));
}

static void read_fails_with(const struct audit *a, enum err_code code)
{
	struct err e = ERR_INIT;
	OWN_FREE char *text = NULL;

	assert_int_equal(audit_read(a, 10, &text, &e), -1);
	assert_int_equal(e.code, code);
}

static void append_then_read_gives_the_newest(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "install");
	append(&a, "set");
	append(&a, "remove");
	json_t *json = read_all(&a, 2);
	assert_int_equal(json_array_size(json_object_get(json, "entries")), 2);
	assert_string_equal(action(json, 0), "set");
	assert_string_equal(action(json, 1), "remove");
	json_t *last = json_array_get(json_object_get(json, "entries"), 1);
	assert_string_equal(json_string_value(json_object_get(last, "comm")), "ev\033il\"\n");
	assert_int_equal(json_integer_value(json_object_get(last, "uid")), 1000);
	json_decref(json);
	audit_close(&a);
}

static void open_again_goes_on_with_the_chain(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(audit_open(dir_fd, &a, &e), 0);
		append(&a, "start");
		audit_close(&a);
	}
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	json_t *json = read_all(&a, 10);
	assert_int_equal(json_array_size(json_object_get(json, "entries")), 3);
	json_decref(json);
	audit_close(&a);
}

static void read_changed_line_is_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "install");
	append(&a, "remove");
	spoil(20, "9");
	read_fails_with(&a, ERR_AUDIT_BROKEN);
	audit_close(&a);
}

static void read_missing_lines_are_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "install");
	assert_int_equal(fstat(a.fd, &st), 0);
	append(&a, "remove");
	assert_int_equal(ftruncate(a.fd, st.st_size), 0);
	read_fails_with(&a, ERR_AUDIT_BROKEN);
	assert_int_equal(ftruncate(a.fd, 0), 0);
	read_fails_with(&a, ERR_AUDIT_BROKEN);
	audit_close(&a);
}

static void open_cut_line_is_noted(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;
	struct stat st;

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "install");
	append(&a, "set");
	assert_int_equal(fstat(a.fd, &st), 0);
	assert_int_equal(ftruncate(a.fd, st.st_size - 30), 0);
	audit_close(&a);
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "remove");
	json_t *json = read_all(&a, 10);
	assert_int_equal(json_array_size(json_object_get(json, "entries")), 3);
	assert_string_equal(action(json, 1), "recover");
	json_decref(json);
	audit_close(&a);
}

static void append_failed_write_leaves_no_half_line(void **state)
{
	const struct audit_entry entry = {.action = "set", .verdict = "done"};
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	append(&a, "install");
	fail_write = 2;
	assert_int_equal(audit_append(&a, &entry, &e), -1);
	assert_int_equal(e.code, ERR_STATE_IO);
	assert_int_equal(e.errnum, ENOSPC);
	append(&a, "remove");
	json_t *json = read_all(&a, 10);
	assert_int_equal(json_array_size(json_object_get(json, "entries")), 2);
	json_decref(json);
	audit_close(&a);
}

static void open_link_or_foreign_mode_is_refused(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(audit_open(dir_fd, &a, &e), -1);
	unlink(path);
	OWN_FD int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(audit_open(dir_fd, &a, &e), -1);
	assert_int_equal(e.code, ERR_AUDIT_BROKEN);
}

static void append_signatures_set_aside_are_told(void **state)
{
	const struct gate_aside aside[] = {
	    {.signer = {{0xab}}, .code = ERR_SIGNATURE_UNTRUSTED},
	    {.signer = {{0xcd}}, .code = ERR_CERTIFICATE_EXPIRED},
	};
	const struct audit_entry entry = {
	    .action = "install", .verdict = "done", .aside = aside, .aside_count = ARRAY_LEN(aside)};
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;
	char signer[DIGEST_HEX_BYTES];

	(void)state;
	assert_int_equal(audit_open(dir_fd, &a, &e), 0);
	assert_int_equal(audit_append(&a, &entry, &e), 0);
	append(&a, "set");
	json_t *json = read_all(&a, 10);
	const json_t *entries = json_object_get(json, "entries");
	const json_t *told = json_object_get(json_array_get(entries, 0), "aside");
	assert_int_equal(json_array_size(told), 2);
	for (size_t i = 0; i < 2; i++) {
		const json_t *one = json_array_get(told, i);
		digest_hex(&aside[i].signer, signer);
		assert_string_equal(json_string_value(json_object_get(one, "signer")), signer);
		assert_string_equal(json_string_value(json_object_get(one, "code")), err_name(aside[i].code));
	}
	assert_null(json_object_get(json_array_get(entries, 1), "aside"));
	json_decref(json);
	audit_close(&a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(append_then_read_gives_the_newest),       TEST(append_signatures_set_aside_are_told),
	    TEST(open_again_goes_on_with_the_chain),       TEST(read_changed_line_is_broken),
	    TEST(read_missing_lines_are_broken),           TEST(open_cut_line_is_noted),
	    TEST(append_failed_write_leaves_no_half_line), TEST(open_link_or_foreign_mode_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
