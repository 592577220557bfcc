#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "loader/monitor/audit_impl.h"
#include "tests/unit/folder_fixture.h"

static char path[96];
static int fail_write; /* the so many-th from now fails; a write after half of its bytes */
static int fail_fsync;
static int fail_rename;    /* also renameat2 */
static bool fail_for_good; /* renames after it too */
static int fail_open;
static int fail_unlink;
static int die_at; /* the process ends before the so many-th of all these calls */

/* A crash, as a child dies of it. */
static void maybe_die(void)
{
	if (die_at && --die_at == 0)
		_exit(0);
}

static bool fails(int *counter, int error)
{
	maybe_die();
	if (!*counter || --*counter)
		return false;
	errno = error;
	return true;
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	return fails(&fail_fsync, EIO) ? -1 : __real_fsync(fd);
}

int __real_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to);
int __wrap_renameat(int a, const char *from, int b, const char *to)
{
	return fails(&fail_rename, EIO) ? -1 : __real_renameat(a, from, b, to);
}

int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags)
{
	return fails(&fail_unlink, EIO) ? -1 : __real_unlinkat(fd, name, flags);
}

int __real_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_ftruncate(int fd, off_t size)
{
	maybe_die();
	return __real_ftruncate(fd, size);
}

int __real_openat(int fd, const char *name, int flags, unsigned mode);
int __wrap_openat(int fd, const char *name, int flags, unsigned mode);
int __wrap_openat(int fd, const char *name, int flags, unsigned mode)
{
	return fails(&fail_open, EMFILE) ? -1 : __real_openat(fd, name, flags, mode);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	if (fails(&fail_write, ENOSPC))
		return -1;
	/* Short writes, so that a failure or a crash leaves half a line. */
	return __real_write(fd, data, (fail_write || die_at) && size > 10 ? size / 2 : size);
}

/* Renames that are told to go on failing do so. */
static bool rename_fails(void)
{
	if (!fails(&fail_rename, EIO))
		return false;
	fail_rename = fail_for_good;
	return true;
}

static int set_up(void **state)
{
	fail_write = fail_fsync = fail_rename = fail_open = fail_unlink = die_at = 0;
	if (folder_set_up(state))
		return -1;
	folder_rename_fails = rename_fails;
	snprintf(path, sizeof(path), "%s/audit.log", folder);
	return 0;
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

static void verify_holds(const struct audit *a, uint64_t lines)
{
	struct audit_report report;
	struct err e = ERR_INIT;
	char text[1024];

	if (audit_verify(a, &report, &e))
		fail_msg("%s", err_text(&e, text, sizeof(text)));
	assert_int_equal(report.lines, lines);
}

/* The error must name the place. */
static void verify_fails(const struct audit *a, const char *place)
{
	struct audit_report report;
	struct err e = ERR_INIT;

	assert_int_equal(audit_verify(a, &report, &e), -1);
	assert_int_equal(e.code, ERR_AUDIT_BROKEN);
	if (!strstr(e.frame[0], place))
		fail_msg("%s does not name %s", e.frame[0], place);
}

static void reopen(struct audit *a)
{
	struct err e = ERR_INIT;
	struct audit fresh = AUDIT_INIT;

	fresh.file_bytes = a->file_bytes;
	fresh.keep = a->keep;
	audit_close(a);
	assert_int_equal(audit_open(folder_fd, &fresh, &e), 0);
	*a = fresh;
}

static void last_action_is(const struct audit *a, const char *expected)
{
	json_t *json = read_all(a, 1);

	assert_string_equal(action(json, 0), expected);
	json_decref(json);
}

static off_t size_of_log(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static void add_bytes(const char *name, const char *bytes)
{
	OWN_FD int fd = openat(folder_fd, name, O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void append_then_read_gives_the_newest(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
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
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	for (int i = 0; i < 3; i++) {
		append(&a, "start");
		reopen(&a);
	}
	verify_holds(&a, 4); /* "begin" is the first */
	audit_close(&a);
}

/* ---- what somebody changed ---- */

static void verify_changed_line_is_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	append(&a, "remove");
	spoil(20, "x");
	verify_fails(&a, "audit.log, line 2");
	read_fails_with(&a, ERR_AUDIT_BROKEN);
	reopen(&a);
	verify_fails(&a, "audit.log, line 2");
	audit_close(&a);
}

static void verify_changed_newest_line_is_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	off_t at = size_of_log();
	append(&a, "remove");
	spoil(at + 20, "x");
	verify_fails(&a, "the newest is another");
	reopen(&a);
	verify_fails(&a, "audit.log, line 4");
	audit_close(&a);
}

/* Lines of the log, to be put back in another order. */
static size_t take_lines(char *lines[], size_t most)
{
	OWN_FILE FILE *f = fopen(path, "r");
	size_t count = 0, room = 0;

	assert_non_null(f);
	while (count < most) {
		lines[count] = NULL;
		if (getline(&lines[count], &room, f) < 0)
			break;
		room = 0;
		count++;
	}
	return count;
}

static void put_lines(char *lines[], const size_t *order, size_t count)
{
	OWN_FILE FILE *f = fopen(path, "w");

	assert_non_null(f);
	for (size_t i = 0; i < count; i++)
		fputs(lines[order[i]], f);
}

static void verify_moved_or_removed_line_is_broken(void **state)
{
	static const struct {
		size_t order[4], count;
	} cases[] = {
	    {{0, 2, 1, 3}, 4}, {{1, 0, 2, 3}, 4}, {{0, 1, 3, 2}, 4}, {{1, 2, 3}, 3},
	    {{0, 2, 3}, 3},    {{0, 1, 2}, 3},    {{0}, 1},          {{0, 0, 1, 2}, 4},
	};
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;
	char *lines[5];

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	append(&a, "set");
	append(&a, "remove");
	assert_int_equal(take_lines(lines, ARRAY_LEN(lines)), 4);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put_lines(lines, cases[i].order, cases[i].count);
		verify_fails(&a, "audit.log");
	}
	put_lines(lines, (const size_t[]){0, 1, 2, 3}, 4);
	verify_holds(&a, 4);
	for (size_t i = 0; i < 5; i++)
		free(lines[i]);
	audit_close(&a);
}

/* The tail is the one place that the chain itself cannot speak for, and a restart must not forget. */
static void open_truncated_log_stays_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	off_t at = size_of_log();
	append(&a, "remove");
	audit_close(&a);
	assert_int_equal(truncate(path, at), 0);
	reopen(&a);
	verify_fails(&a, "audit.log, line 3");
	append(&a, "set");
	reopen(&a);
	verify_fails(&a, "audit.log, line 3");
	audit_close(&a);
}

static void open_emptied_log_stays_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	audit_close(&a);
	assert_int_equal(unlink(path), 0);
	reopen(&a);
	verify_fails(&a, "audit.log, line 1");
	audit_close(&a);
}

static void open_without_mark_stays_broken(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	audit_close(&a);
	assert_int_equal(unlinkat(folder_fd, "audit.json", 0), 0);
	reopen(&a);
	verify_fails(&a, "audit.log, line 3");
	audit_close(&a);
	OWN_FD int fd = openat(folder_fd, "audit.json", O_WRONLY | O_TRUNC);
	reopen(&a);
	verify_fails(&a, "audit.log, line 3");
	audit_close(&a);
}

static void open_two_lines_too_many_stays_broken(void **state)
{
	struct audit a = AUDIT_INIT, other = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	/* Another writer with the same chain, whose mark is then put back. */
	other = a;
	append(&other, "set");
	append(&other, "set");
	assert_int_equal(audit_mark_write(folder_fd, &a.mark, &e), 0);
	reopen(&a);
	verify_fails(&a, "audit.log, line 5");
	audit_close(&a);
}

/* ---- what a crash leaves ---- */

static void open_cut_line_is_told(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	add_bytes("audit.log", "{\"time\":\"2026-");
	reopen(&a);
	last_action_is(&a, "recover");
	append(&a, "remove");
	verify_holds(&a, 4);
	audit_close(&a);
}

static void open_line_without_mark_is_told(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	append(&a, "install");
	const struct audit_mark before = a.mark;
	append(&a, "remove");
	assert_int_equal(audit_mark_write(folder_fd, &before, &e), 0);
	reopen(&a);
	verify_holds(&a, 4);
	json_t *json = read_all(&a, 2);
	assert_string_equal(action(json, 0), "remove");
	assert_string_equal(action(json, 1), "recover");
	json_decref(json);
	audit_close(&a);
}

static void append_failed_write_sync_or_rename_leaves_no_line(void **state)
{
	const struct audit_entry entry = {.action = "set", .verdict = "done"};
	int *const ways[] = {&fail_write, &fail_fsync, &fail_rename};
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;
	unsigned failures = 0;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		for (int nth = 1;; nth++) {
			const uint64_t lines = a.mark.lines;
			*ways[i] = nth;
			int rc = audit_append(&a, &entry, &e);
			bool failed = *ways[i] == 0;
			*ways[i] = 0;
			if (!failed)
				break;
			assert_int_equal(rc, -1);
			assert_int_equal(e.code, ERR_STATE_IO);
			failures++;
			verify_holds(&a, lines);
			reopen(&a);
			verify_holds(&a, lines);
		}
	}
	/* log and mark; log, mark and folder; mark */
	assert_true(failures >= 6);
	audit_close(&a);
}

static void append_mark_lost_and_not_restored_is_stuck(void **state)
{
	const struct audit_entry entry = {.action = "set", .verdict = "done"};
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	/* The folder's, and then every rename that could put the old mark back. */
	fail_fsync = 3;
	fail_rename = 2;
	fail_for_good = true;
	assert_int_equal(audit_append(&a, &entry, &e), -1);
	assert_int_equal(fail_fsync, 0);
	assert_int_equal(fail_rename, 1);
	fail_for_good = false;
	fail_rename = 0;
	assert_int_equal(audit_append(&a, &entry, &e), -1);
	assert_int_equal(e.code, ERR_STATE_IO);
	reopen(&a);
	append(&a, "set");
	verify_holds(&a, 3);
	audit_close(&a);
}

/* ---- rotation ---- */

static void fill(struct audit *a)
{
	struct err e = ERR_INIT;

	*a = (struct audit)AUDIT_INIT;
	a->file_bytes = 1500;
	a->keep = 3;
	assert_int_equal(audit_open(folder_fd, a, &e), 0);
	for (int i = 0; i < 40; i++)
		append(a, "set");
}

static bool there(const char *name)
{
	return faccessat(folder_fd, name, F_OK, 0) == 0;
}

static void append_full_file_rotates_and_chain_goes_on(void **state)
{
	struct audit_report report;
	struct audit a;
	struct err e = ERR_INIT;

	(void)state;
	fill(&a);
	assert_true(a.next > 5);
	assert_int_equal(audit_verify(&a, &report, &e), 0);
	assert_int_equal(report.files, 4);
	assert_int_equal(report.lines + a.mark.dropped, a.mark.lines);
	assert_true(a.mark.dropped > 0);
	assert_false(there("audit.log.000001"));
	json_t *json = read_all(&a, 12);
	assert_int_equal(json_array_size(json_object_get(json, "entries")), 12);
	json_decref(json);
	reopen(&a);
	append(&a, "set");
	verify_holds(&a, report.lines + 1);
	audit_close(&a);
}

static void verify_missing_file_is_broken(void **state)
{
	char name[AUDIT_NAME_BYTES];
	struct audit a;

	(void)state;
	fill(&a);
	audit_file_name(a.next - 2, name);
	assert_int_equal(unlinkat(folder_fd, name, 0), 0);
	verify_fails(&a, name);
	reopen(&a);
	verify_fails(&a, name);
	audit_close(&a);
	/* The oldest one: its end is in the mark. */
	folder_tear_down(NULL);
	assert_int_equal(set_up(NULL), 0);
	fill(&a);
	audit_file_name(a.mark.first, name);
	assert_int_equal(unlinkat(folder_fd, name, 0), 0);
	verify_fails(&a, name);
	reopen(&a);
	verify_fails(&a, name);
	audit_close(&a);
}

static void verify_changed_line_of_old_file_is_broken(void **state)
{
	char name[AUDIT_NAME_BYTES];
	struct audit a;

	(void)state;
	fill(&a);
	audit_file_name(a.next - 2, name);
	OWN_FD int fd = openat(folder_fd, name, O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 20), 1);
	verify_fails(&a, name);
	audit_close(&a);
}

static void open_crash_in_rotation_is_no_break(void **state)
{
	char name[AUDIT_NAME_BYTES];
	struct audit a;
	struct audit_report report;
	struct err e = ERR_INIT;

	(void)state;
	fill(&a);
	assert_int_equal(audit_verify(&a, &report, &e), 0);
	audit_file_name(a.next, name);
	assert_int_equal(renameat(folder_fd, "audit.log", folder_fd, name), 0);
	/* and one that was to be removed */
	OWN_FD int left = openat(folder_fd, "audit.log.000001", O_WRONLY | O_CREAT, 0600);
	reopen(&a);
	verify_holds(&a, report.lines);
	assert_false(there("audit.log.000001"));
	append(&a, "set");
	verify_holds(&a, report.lines + 1);
	audit_close(&a);
}

/* Until the next line rotates, and an old file goes with it. */
static void fill_to_the_brim(struct audit *a)
{
	fill(a);
	while (size_of_log() < a->file_bytes)
		append(a, "set");
}

static void verifies(const struct audit *a)
{
	struct audit_report report;
	struct err e = ERR_INIT;
	char text[1024];

	if (audit_verify(a, &report, &e))
		fail_msg("%s", err_text(&e, text, sizeof(text)));
}

static void crash_at_any_call_of_a_rotation_is_no_break(void **state)
{
	const struct audit_entry entry = {.action = "set", .verdict = "done"};
	struct audit a;
	int status = 0, nth = 1;

	(void)state;
	for (;; nth++) {
		fill_to_the_brim(&a);
		const uint64_t lines = a.mark.lines;
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			struct err e = ERR_INIT;
			die_at = nth;
			_exit(audit_append(&a, &entry, &e) == 0 ? 7 : 8);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		reopen(&a);
		verifies(&a);
		/* the line, "rotate", "recover" */
		assert_in_range(a.mark.lines, lines, lines + 3);
		append(&a, "set");
		verifies(&a);
		audit_close(&a);
		folder_tear_down(NULL);
		assert_int_equal(set_up(NULL), 0);
		if (WEXITSTATUS(status))
			break;
	}
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_true(nth > 20);
}

static void failure_of_any_call_of_a_rotation_is_no_break(void **state)
{
	const struct audit_entry entry = {.action = "set", .verdict = "done"};
	int *const ways[] = {&fail_write, &fail_fsync, &fail_rename, &fail_open, &fail_unlink};
	struct audit a;
	unsigned failures = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		for (int nth = 1;; nth++) {
			struct err e = ERR_INIT;
			fill_to_the_brim(&a);
			*ways[i] = nth;
			int rc = audit_append(&a, &entry, &e);
			bool failed = *ways[i] == 0;
			*ways[i] = 0;
			if (rc)
				assert_int_equal(e.code, ERR_STATE_IO);
			failures += failed;
			verifies(&a);
			append(&a, "set");
			reopen(&a);
			verifies(&a);
			audit_close(&a);
			folder_tear_down(NULL);
			assert_int_equal(set_up(NULL), 0);
			if (!failed)
				break;
		}
	}
	assert_true(failures > 15);
}

static void open_link_or_foreign_mode_is_refused(void **state)
{
	struct audit a = AUDIT_INIT;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_int_equal(audit_open(folder_fd, &a, &e), -1);
	unlink(path);
	OWN_FD int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(audit_open(folder_fd, &a, &e), -1);
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
	assert_int_equal(audit_open(folder_fd, &a, &e), 0);
	assert_int_equal(audit_append(&a, &entry, &e), 0);
	append(&a, "set");
	json_t *json = read_all(&a, 10);
	const json_t *entries = json_object_get(json, "entries");
	const json_t *told = json_object_get(json_array_get(entries, 1), "aside");
	assert_int_equal(json_array_size(told), 2);
	for (size_t i = 0; i < 2; i++) {
		const json_t *one = json_array_get(told, i);
		digest_hex(&aside[i].signer, signer);
		assert_string_equal(json_string_value(json_object_get(one, "signer")), signer);
		assert_string_equal(json_string_value(json_object_get(one, "code")), err_name(aside[i].code));
	}
	assert_null(json_object_get(json_array_get(entries, 2), "aside"));
	json_decref(json);
	audit_close(&a);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, folder_tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(append_then_read_gives_the_newest),
	    TEST(open_again_goes_on_with_the_chain),
	    TEST(verify_changed_line_is_broken),
	    TEST(verify_changed_newest_line_is_broken),
	    TEST(verify_moved_or_removed_line_is_broken),
	    TEST(open_truncated_log_stays_broken),
	    TEST(open_emptied_log_stays_broken),
	    TEST(open_without_mark_stays_broken),
	    TEST(open_two_lines_too_many_stays_broken),
	    TEST(open_cut_line_is_told),
	    TEST(open_line_without_mark_is_told),
	    TEST(append_failed_write_sync_or_rename_leaves_no_line),
	    TEST(append_mark_lost_and_not_restored_is_stuck),
	    TEST(append_full_file_rotates_and_chain_goes_on),
	    TEST(verify_missing_file_is_broken),
	    TEST(verify_changed_line_of_old_file_is_broken),
	    TEST(open_crash_in_rotation_is_no_break),
	    TEST(crash_at_any_call_of_a_rotation_is_no_break),
	    TEST(failure_of_any_call_of_a_rotation_is_no_break),
	    TEST(open_link_or_foreign_mode_is_refused),
	    TEST(append_signatures_set_aside_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
