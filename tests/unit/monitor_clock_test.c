#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "bundles/base/own.h"
#include "loader/monitor/clock.h"

enum { DAY = 86400, MINUTE = 60, NOW = 1800000000 };

static char folder[64];
static int dir_fd = -1;
static int64_t now_s, boot_s; /* what the host's clocks say */
static bool fail_rename;

int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
	*out = (struct timespec){.tv_sec = id == CLOCK_REALTIME ? now_s : boot_s};
	return 0;
}

int __real_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	if (fail_rename) {
		errno = ENOSPC;
		return -1;
	}
	return __real_renameat2(a, from, b, to, flags);
}

static int set_up(void **state)
{
	(void)state;
	now_s = NOW;
	boot_s = 50;
	fail_rename = false;
	snprintf(folder, sizeof(folder), "/tmp/obs-clock.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY);
	return dir_fd < 0;
}

static int drop(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(name);
}

static int tear_down(void **state)
{
	(void)state;
	close(dir_fd);
	return nftw(folder, drop, 4, FTW_DEPTH | FTW_PHYS);
}

static void write_file(const char *name, const char *text)
{
	OWN_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static struct clock opened(int64_t newest)
{
	struct clock c = CLOCK_INIT;
	struct err e = ERR_INIT;
	char text[32];

	snprintf(text, sizeof(text), "%lld\n", (long long)newest);
	if (newest)
		write_file("clock", text);
	assert_int_equal(clock_open(dir_fd, &c, &e), 0);
	assert_int_equal(c.newest, newest);
	return c;
}

/* Both clocks go on, and the daemon looks once a minute. */
static void pass(struct clock *c, int64_t seconds)
{
	for (int64_t end = boot_s + seconds; boot_s < end; boot_s += MINUTE, now_s += MINUTE) {
		uint64_t next = UINT64_MAX;
		clock_tick(c, (uint64_t)boot_s * 1000, &next);
		assert_true(next <= ((uint64_t)boot_s + MINUTE) * 1000);
	}
}

static int64_t on_disk(void)
{
	struct clock c = CLOCK_INIT;
	struct err e = ERR_INIT;

	assert_int_equal(clock_open(dir_fd, &c, &e), 0);
	return c.newest;
}

static void new_host_is_right_and_remembers_after_a_while(void **state)
{
	struct clock c = opened(0);

	(void)state;
	assert_int_equal(clock_look(&c), CLOCK_RIGHT);
	assert_int_equal(clock_judged(&c), NOW);
	pass(&c, 9 * MINUTE);
	assert_int_equal(on_disk(), 0);
	pass(&c, 3 * MINUTE);
	assert_in_range(on_disk(), NOW, NOW + 12 * MINUTE);
}

static void running_clock_is_remembered_once_an_hour(void **state)
{
	struct clock c = opened(NOW - 100);
	int64_t before = 0;
	unsigned writes = 0;

	(void)state;
	for (int i = 0; i < 24 * 60; i++) {
		pass(&c, MINUTE);
		writes += c.newest != before;
		before = c.newest;
	}
	assert_in_range(writes, 23, 25);
	assert_int_equal(on_disk(), c.newest);
	assert_in_range(c.newest, NOW + DAY - 3700, NOW + DAY);
}

static void clock_set_back_is_judged_at_the_newest_time(void **state)
{
	struct clock c = opened(NOW);
	char text[256];

	(void)state;
	now_s = NOW - 400 * DAY;
	assert_int_equal(clock_judged(&c), NOW);
	assert_int_equal(clock_look(&c), CLOCK_BEHIND);
	clock_text(&c, text, sizeof(text));
	assert_non_null(strstr(text, "2027-01-15T08:00:00Z"));
	/* However long it stays so, and after a restart. */
	pass(&c, 2 * DAY);
	assert_int_equal(clock_judged(&c), NOW);
	assert_int_equal(on_disk(), NOW);
	/* A time service may set it back by a little: nothing to tell, and still not before. */
	now_s = NOW - 200;
	assert_int_equal(clock_look(&c), CLOCK_RIGHT);
	assert_int_equal(clock_judged(&c), NOW);
	clock_text(&c, text, sizeof(text));
	assert_string_equal(text, "");
}

static void clock_far_ahead_is_told_and_not_remembered_at_once(void **state)
{
	struct clock c = opened(NOW);

	(void)state;
	pass(&c, 20 * MINUTE);
	now_s += 3650LL * DAY;
	assert_int_equal(clock_look(&c), CLOCK_AHEAD);
	assert_int_equal(clock_judged(&c), now_s);
	pass(&c, 8 * MINUTE);
	assert_int_equal(clock_look(&c), CLOCK_AHEAD);
	/* The time service speaks. */
	now_s -= 3650LL * DAY;
	assert_int_equal(clock_look(&c), CLOCK_RIGHT);
	pass(&c, 2 * 60 * MINUTE);
	assert_in_range(on_disk(), NOW, NOW + DAY);
}

static void clock_ahead_for_long_is_believed(void **state)
{
	struct clock c = opened(NOW - 30 * DAY); /* the host was off */

	(void)state;
	assert_int_equal(clock_look(&c), CLOCK_AHEAD);
	pass(&c, 12 * MINUTE);
	assert_int_equal(clock_look(&c), CLOCK_RIGHT);
	assert_in_range(on_disk(), NOW, NOW + 12 * MINUTE);
}

/* Steps that never rest are never believed. */
static void clock_that_jumps_is_not_believed(void **state)
{
	struct clock c = opened(NOW);

	(void)state;
	for (int i = 0; i < 30; i++) {
		now_s += 2 * DAY;
		pass(&c, 5 * MINUTE);
	}
	assert_int_equal(on_disk(), NOW);
}

static void accept_takes_the_host_clock(void **state)
{
	struct clock c = opened(NOW + 9000LL * DAY);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(clock_look(&c), CLOCK_BEHIND);
	assert_int_equal(clock_accept(&c, &e), 0);
	assert_int_equal(clock_look(&c), CLOCK_RIGHT);
	assert_int_equal(clock_judged(&c), NOW);
	assert_int_equal(on_disk(), NOW);
}

static void write_failed_keeps_the_old_one(void **state)
{
	struct clock c = opened(NOW - 7200);
	struct err e = ERR_INIT;

	(void)state;
	fail_rename = true;
	pass(&c, 5 * MINUTE);
	assert_int_equal(c.newest, NOW - 7200);
	assert_int_equal(clock_accept(&c, &e), -1);
	assert_int_equal(e.code, ERR_STATE_IO);
	assert_int_equal(on_disk(), NOW - 7200);
	fail_rename = false;
	pass(&c, 2 * MINUTE);
	assert_in_range(on_disk(), NOW, NOW + 10 * MINUTE);
}

static void open_missing_or_damaged_is_taken_from_the_files(void **state)
{
	static const char *const texts[] = {NULL, "", "x\n", "12", "-5\n", "0\n", "99999999999999\n", "1 2\n"};
	const struct timespec written[2] = {{.tv_sec = NOW - 5}, {.tv_sec = NOW - 5}};

	(void)state;
	write_file("audit.log", "");
	write_file("state.json", "");
	assert_int_equal(utimensat(dir_fd, "audit.log", written, 0), 0);
	assert_int_equal(utimensat(dir_fd, "state.json", (const struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0),
			 0);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct clock c = CLOCK_INIT;
		struct err e = ERR_INIT;
		if (texts[i])
			write_file("clock", texts[i]);
		assert_int_equal(clock_open(dir_fd, &c, &e), 0);
		assert_int_equal(c.newest, NOW - 5);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(new_host_is_right_and_remembers_after_a_while),
	    TEST(running_clock_is_remembered_once_an_hour),
	    TEST(clock_set_back_is_judged_at_the_newest_time),
	    TEST(clock_far_ahead_is_told_and_not_remembered_at_once),
	    TEST(clock_ahead_for_long_is_believed),
	    TEST(clock_that_jumps_is_not_believed),
	    TEST(accept_takes_the_host_clock),
	    TEST(write_failed_keeps_the_old_one),
	    TEST(open_missing_or_damaged_is_taken_from_the_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
