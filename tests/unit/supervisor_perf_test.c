/* Which perf events the supervisor opens, and that nothing else passes for one of them. Needs root. */
#include "loader/supervisor/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "bundles/base/own.h"

enum { PAGE = 4096 };

static uint32_t tracepoint_id(const char *path)
{
	OWN_FILE FILE *f = fopen(path, "re");
	char line[16] = "";

	return f && fgets(line, sizeof(line), f) ? (uint32_t)strtoul(line, NULL, 10) : 0;
}

static struct supervisor_perf tracepoint(void)
{
	struct supervisor_perf want = {.kind = SUPERVISOR_PERF_TRACEPOINT};

	want.tracepoint = tracepoint_id("/sys/kernel/tracing/events/sched/sched_switch/id");
	assert_int_not_equal(want.tracepoint, 0);
	return want;
}

static struct supervisor_perf cpu_clock(void)
{
	return (struct supervisor_perf){.kind = SUPERVISOR_PERF_CPU_CLOCK, .frequency = 999, .cpu = 0};
}

static struct supervisor_perf kprobe(void)
{
	return (struct supervisor_perf){.kind = SUPERVISOR_PERF_KPROBE, .symbol = "do_exit"};
}

/* The C library's code begins at its second page in every build that tests run with. */
static struct supervisor_perf uprobe(void)
{
	return (struct supervisor_perf){.kind = SUPERVISOR_PERF_UPROBE, .offset = PAGE};
}

static int self(void)
{
	int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* 0, or errno. */
static int outcome(const struct supervisor_perf *want, int file_fd)
{
	OWN_FD int fd = perf_open(want, file_fd);

	return fd < 0 ? errno : 0;
}

static void tracepoint_counts_when_enabled(void **state)
{
	struct supervisor_perf want = tracepoint();
	uint64_t count = 0;

	/* The event counts on its own CPU alone, where this test has to switch. */
	cpu_set_t first;
	(void)state;
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	assert_int_equal(sched_setaffinity(0, sizeof(first), &first), 0);
	OWN_FD int fd = perf_open(&want, -1);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	for (int i = 0; i < 20; i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 0);
	assert_int_equal(ioctl(fd, PERF_EVENT_IOC_ENABLE, 0), 0);
	for (int i = 0; i < 200 && count == 0; i++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	}
	assert_true(count > 0);
}

static void every_kind_opens(void **state)
{
	struct supervisor_perf clock = cpu_clock(), probe = kprobe(), user = uprobe();
	int kprobes = access("/sys/bus/event_source/devices/kprobe", F_OK) ? ENOENT : 0;
	OWN_FD int file = self();

	(void)state;
	if (kprobes)
		print_message("this kernel has no kprobes\n");
	assert_int_equal(outcome(&clock, -1), 0);
	assert_int_equal(outcome(&probe, -1), kprobes);
	probe.kind = SUPERVISOR_PERF_KRETPROBE;
	assert_int_equal(outcome(&probe, -1), kprobes);
	assert_int_equal(outcome(&user, file), 0);
	user.kind = SUPERVISOR_PERF_URETPROBE;
	assert_int_equal(outcome(&user, file), 0);
}

static void kernels_refusal_is_its_own(void **state)
{
	struct supervisor_perf probe = kprobe(), clock = cpu_clock(), user = uprobe();
	OWN_FD int folder = open("/", O_PATH | O_CLOEXEC);

	(void)state;
	memcpy(probe.symbol, "obs_none", sizeof("obs_none"));
	assert_int_equal(outcome(&probe, -1), ENOENT);
	clock.cpu = SUPERVISOR_PERF_CPU_MAX;
	assert_int_not_equal(outcome(&clock, -1), 0);
	assert_int_equal(outcome(&user, folder), EINVAL);
}

static void unknown_kind_is_refused(void **state)
{
	const uint32_t kinds[] = {0, SUPERVISOR_PERF_URETPROBE + 1, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct supervisor_perf want = {.kind = kinds[i]};
		assert_int_equal(outcome(&want, -1), EINVAL);
	}
}

static void value_out_of_range_is_refused(void **state)
{
	struct supervisor_perf want = cpu_clock();
	OWN_FD int file = self();

	(void)state;
	want.frequency = 0;
	assert_int_equal(outcome(&want, -1), EINVAL);
	want.frequency = SUPERVISOR_PERF_FREQUENCY_MAX + 1;
	assert_int_equal(outcome(&want, -1), EINVAL);
	want = cpu_clock();
	want.cpu = UINT32_MAX; /* -1 would be every CPU of one process */
	assert_int_equal(outcome(&want, -1), EINVAL);
	want = tracepoint();
	want.tracepoint = 0;
	assert_int_equal(outcome(&want, -1), EINVAL);
	want = kprobe();
	want.offset = SUPERVISOR_PERF_KPROBE_OFFSET_MAX + 1;
	assert_int_equal(outcome(&want, -1), EINVAL);
	want = uprobe();
	want.offset = UINT64_MAX;
	assert_int_equal(outcome(&want, file), EINVAL);
	want = uprobe();
	want.semaphore = UINT64_C(1) << 32;
	assert_int_equal(outcome(&want, file), EINVAL);
}

static void symbol_that_is_none_is_refused(void **state)
{
	const char *const symbols[] = {"", "a:b", "p:a/b do_exit", "do exit", "/bin/true", "0x1-1", "do_exit+4"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		struct supervisor_perf want = {.kind = SUPERVISOR_PERF_KPROBE};
		memcpy(want.symbol, symbols[i], strlen(symbols[i]));
		assert_int_equal(outcome(&want, -1), EINVAL);
	}
	struct supervisor_perf endless = {.kind = SUPERVISOR_PERF_KPROBE};
	memset(endless.symbol, 'a', sizeof(endless.symbol));
	assert_int_equal(outcome(&endless, -1), EINVAL);
	struct supervisor_perf more = kprobe();
	more.symbol[sizeof("do_exit") + 3] = 'x';
	assert_int_equal(outcome(&more, -1), EINVAL);
}

/* Every byte that a kind has no use for, one at a time. */
static void field_of_another_kind_is_refused(void **state)
{
	struct supervisor_perf good[] = {tracepoint(), cpu_clock(), kprobe(), uprobe()};
	const struct {
		size_t from, to;
	} own[][2] = {
	    {{4, 8}},
	    {{8, 16}},
	    {{16, 24}, {32, sizeof(struct supervisor_perf)}},
	    {{16, 32}},
	};
	OWN_FD int file = self();

	(void)state;
	for (size_t kind = 0; kind < ARRAY_LEN(good); kind++) {
		int with = good[kind].kind == SUPERVISOR_PERF_UPROBE ? file : -1;
		for (size_t at = 4; at < sizeof(good[kind]); at++) {
			struct supervisor_perf want = good[kind];
			if ((at >= own[kind][0].from && at < own[kind][0].to) ||
			    (at >= own[kind][1].from && at < own[kind][1].to))
				continue;
			((char *)&want)[at] = 1;
			assert_int_equal(outcome(&want, with), EINVAL);
		}
		assert_int_equal(outcome(&good[kind], with < 0 ? file : -1), EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tracepoint_counts_when_enabled),   cmocka_unit_test(every_kind_opens),
	    cmocka_unit_test(kernels_refusal_is_its_own),       cmocka_unit_test(unknown_kind_is_refused),
	    cmocka_unit_test(value_out_of_range_is_refused),    cmocka_unit_test(symbol_that_is_none_is_refused),
	    cmocka_unit_test(field_of_another_kind_is_refused),
	};

	if (geteuid() != 0) {
		print_error("[  FAILED  ] supervisor_perf_needs_root\n");
		return 1;
	}
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    (access("/sys/kernel/tracing/events", F_OK) &&
	     mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))) {
		print_error("[  FAILED  ] supervisor_perf_needs_tracefs\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
