#include <fcntl.h>
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
#include "tests/unit/folder_fixture.h"

enum { DAY = 86400, MINUTE = 60, NOW = 1800000000 };

static int64_t now_s, boot_s; /* what the host's clocks say */

int __real_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out);
int __wrap_clock_gettime(clockid_t id, struct timespec *out)
{
	*out = (struct timespec){.tv_sec = id == CLOCK_REALTIME ? now_s : boot_s};
	return 0;
}

static int set_up(void **state)
{
	now_s = NOW;
	boot_s = 50;
	return folder_set_up(state);
}

static struct clock opened(int64_t newest)
{
	struct clock c = CLOCK_INIT;
	struct err e = ERR_INIT;
	char text[32];

	snprintf(text, sizeof(text), "%lld\n", (long long)newest);
	if (newest)
		folder_write("clock", text, strlen(text));
	assert_int_equal(clock_open(folder_fd, &c, &e), 0);
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

	assert_int_equal(clock_open(folder_fd, &c, &e), 0);
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
	folder_rename_fails = folder_is_full;
	pass(&c, 5 * MINUTE);
	assert_int_equal(c.newest, NOW - 7200);
	assert_int_equal(clock_accept(&c, &e), -1);
	assert_int_equal(e.code, ERR_STATE_IO);
	assert_int_equal(on_disk(), NOW - 7200);
	folder_rename_fails = NULL;
	pass(&c, 2 * MINUTE);
	assert_in_range(on_disk(), NOW, NOW + 10 * MINUTE);
}

static void open_missing_or_damaged_is_taken_from_the_files(void **state)
{
	static const char *const texts[] = {NULL, "", "x\n", "12", "-5\n", "0\n", "99999999999999\n", "1 2\n"};
	const struct timespec written[2] = {{.tv_sec = NOW - 5}, {.tv_sec = NOW - 5}};

	(void)state;
	folder_write("audit.log", "", 0);
	folder_write("state.json", "", 0);
	assert_int_equal(utimensat(folder_fd, "audit.log", written, 0), 0);
	assert_int_equal(
	    utimensat(folder_fd, "state.json", (const struct timespec[2]){{.tv_sec = 1}, {.tv_sec = 1}}, 0), 0);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct clock c = CLOCK_INIT;
		struct err e = ERR_INIT;
		if (texts[i])
			folder_write("clock", texts[i], strlen(texts[i]));
		assert_int_equal(clock_open(folder_fd, &c, &e), 0);
		assert_int_equal(c.newest, NOW - 5);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, folder_tear_down)
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
