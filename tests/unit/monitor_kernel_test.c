/* Every attach kind through its whole life: load, attach, fire, pin, lose the process, adopt, fire, remove.
 * The argument is a kind or a pattern of test names ("*rung*"); none runs all. Kinds that this kernel does not have must say why;
 * OBS_TEST_ALL_KINDS=1 makes that a failure. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/loop.h"
#include "loader/monitor/parent.h"
#include "loader/sandbox/sandbox.h"
#include "loader/supervisor/serve.h"
#include "tests/unit/kernel_fixture.h"

static struct kernel_host host;

/* ---- what makes a kind fire ---- */

static void do_sleep(void)
{
	usleep(1000);
}

static void do_getpgid(void)
{
	if (getpgid(0) < 0)
		fail();
}

static void do_burn(void)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - start.tv_sec) * 1000000000LL + now.tv_nsec - start.tv_nsec < 50000000);
}

/* A USDT probe obs_test:fired with a constant, a register and memory as arguments, in the format of SystemTap's <sys/sdt.h>. */
static __attribute__((noinline)) void do_probe(void)
{
	volatile int in_memory = 44;
	int in_register = 43;

	__asm__ volatile("990: nop\n"
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n"
			 ".balign 4\n"
			 ".4byte 992f-991f, 994f-993f, 3\n"
			 "991: .asciz \"stapsdt\"\n"
			 "992: .balign 4\n"
			 "993: .8byte 990b\n"
			 ".8byte _.stapsdt.base\n"
			 ".8byte 0\n"
			 ".asciz \"obs_test\"\n"
			 ".asciz \"fired\"\n"
			 ".asciz \"-4@%0 -4@%1 -4@%2\"\n"
			 "994: .balign 4\n"
			 ".popsection\n"
			 ".ifndef _.stapsdt.base\n"
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
			 ".weak _.stapsdt.base\n"
			 ".hidden _.stapsdt.base\n"
			 "_.stapsdt.base: .space 1\n"
			 ".size _.stapsdt.base, 1\n"
			 ".popsection\n"
			 ".endif\n" ::"n"(42),
			 "r"(in_register), "m"(in_memory));
}

static void nothing(void)
{
}

/* ---- one kind ---- */

struct kind {
	const char *object, *program;
	void (*act)(void);
	const char *lacking; /* what a kernel without it must name */
	enum kernel_program_state pinned;
	bool once;           /* runs at the start only */
	unsigned pins_since; /* its link can be pinned from that kernel on: 515 is 5.15 */
};

static unsigned kernel_version(void)
{
	struct utsname host_name;
	unsigned major = 0, minor = 0;

	if (uname(&host_name) || sscanf(host_name.release, "%u.%u", &major, &minor) != 2)
		fail();
	return major * 100 + minor;
}

static enum kernel_program_state pinned_state(const struct kind *k)
{
	return kernel_version() < k->pins_since ? KERNEL_ATTACHED_HERE : k->pinned;
}

static bool rises(const struct kernel_bundle *kb, const struct kind *k, uint64_t from)
{
	/* Five seconds: who makes it rise may be another process, on a machine that is busy. */
	for (int tries = 0; tries < 500; tries++) {
		k->act();
		if (fixture_hits(kb, k->object, 0) > from)
			return true;
		usleep(10000);
	}
	return false;
}

/* The reason must name what is missing. Nothing may be left. */
static void check_lacking(const struct kind *k, const struct err *e)
{
	char text[2048];

	err_text(e, text, sizeof(text));
	print_message("%s: not on this kernel: [%s] %s\n", k->object, err_name(e->code), text);
	assert_non_null(k->lacking);
	assert_non_null(strstr(text, k->lacking));
	assert_true(e->code == ERR_KERNEL_REQUIREMENT || e->code == ERR_KERNEL_LOAD || e->code == ERR_KERNEL_ATTACH);
	assert_null(getenv("OBS_TEST_ALL_KINDS"));
	assert_int_equal(fixture_programs(k->program, 0), 0);
	assert_false(fixture_pins_left());
}

static void check_adopted(const struct verified_bundle *bundle, const struct kind *k)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = false;

	fixture_must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	assert_int_equal(fixture_program(kb, k->program)->state, pinned_state(k));
	if (!k->once)
		assert_true(rises(kb, k, fixture_hits(kb, k->object, 0)));
	fixture_must(kernel_remove(&kb, &e), &e);
	assert_null(kb);
	assert_int_equal(fixture_programs(k->program, 0), 0);
	assert_false(fixture_pins_left());
}

static void check_kind(void **state)
{
	const struct kind *k = *state;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	if (kernel_load(&host, bundle, &kb, &e)) {
		check_lacking(k, &e);
		return;
	}
	assert_int_equal(fixture_program(kb, k->program)->state, KERNEL_LOADED);
	if (kernel_attach(kb, &e)) {
		kernel_close(&kb);
		check_lacking(k, &e);
		return;
	}
	if (k->once)
		assert_true(fixture_hits(kb, k->object, 0) > 0);
	else
		assert_true(rises(kb, k, 0));
	fixture_must(kernel_pin(kb, &e), &e);
	assert_int_equal(fixture_program(kb, k->program)->state, pinned_state(k));
	kernel_refresh(kb);
	kernel_close(&kb);
	assert_int_equal(fixture_programs(k->program, 1), 1);
	check_adopted(bundle, k);
}

static struct kind kinds[] = {
    {"tp", "on_tp", do_sleep, NULL, KERNEL_ATTACHED, .pins_since = 515},
    {"raw_tp", "on_raw_tp", do_sleep, NULL, KERNEL_ATTACHED},
    {"tp_btf", "on_tp_btf", do_sleep, NULL, KERNEL_ATTACHED},
    {"kprobe", "on_kprobe", do_sleep, "kprobe", KERNEL_ATTACHED, .pins_since = 515},
    {"kretprobe", "on_kretprobe", do_sleep, "kprobe", KERNEL_ATTACHED, .pins_since = 515},
    {"fentry", "on_fentry", do_sleep, "fentry", KERNEL_ATTACHED},
    {"fexit", "on_fexit", do_sleep, "fexit", KERNEL_ATTACHED},
    {"uprobe", "on_uprobe", do_getpgid, NULL, KERNEL_ATTACHED, .pins_since = 515},
    {"uretprobe", "on_uretprobe", do_getpgid, NULL, KERNEL_ATTACHED, .pins_since = 515},
    {"usdt", "on_usdt", do_probe, "attach cookies", KERNEL_ATTACHED, .pins_since = 515},
    {"perf_event", "on_perf_event", do_burn, NULL, KERNEL_ATTACHED, .pins_since = 515},
    {"cgroup_skb", "on_cgroup_skb", fixture_connect, NULL, KERNEL_ATTACHED},
    {"sockops", "on_sockops", fixture_connect, NULL, KERNEL_ATTACHED},
    {"socket", "on_socket", fixture_connect, NULL, KERNEL_ATTACHED_HERE},
    {"xdp", "on_xdp", fixture_connect, NULL, KERNEL_ATTACHED},
    {"tc", "on_ingress", fixture_connect, "clsact", KERNEL_ATTACHED},
    {"iter", "on_iter", nothing, NULL, KERNEL_ATTACHED, true},
};

/* ---- runs that the kernel skips ---- */

/* Of a kprobe they are in its link, from Linux 6.7; those of a program that runs in itself are seen end to end. */
static void skipped_runs_of_a_probe_are_counted_and_stay_counted(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("missed");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	char name[16];

	(void)state;
	if (kernel_load(&host, bundle, &kb, &e)) {
		check_lacking(&(struct kind){"missed", "on_missed", .lacking = "kprobe"}, &e);
		return;
	}
	fixture_must(kernel_attach(kb, &e), &e);
	assert_int_equal(kernel_missed(kb), 0);
	prctl(PR_GET_NAME, name);
	prctl(PR_SET_NAME, "t.missed");
	for (int i = 0; i < 5; i++)
		do_sleep();
	prctl(PR_SET_NAME, name);
	assert_int_equal(fixture_hits(kb, "missed", 0), 5);
	assert_int_equal(fixture_hits(kb, "missed", 1), 0);
	uint64_t counted = kernel_version() < 607 ? 0 : 5;
	assert_int_equal(kernel_missed(kb), counted);
	assert_int_equal(fixture_program(kb, "on_missed")->missed, counted);
	fixture_must(kernel_remove(&kb, &e), &e);
}

/* ---- iterators with an interval ---- */

static struct kernel_bundle *attached(const struct verified_bundle *bundle)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	fixture_must(kernel_attach(kb, &e), &e);
	return kb;
}

static void interval_iterator_runs_when_due(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("iter_interval");
	struct kernel_bundle *kb = attached(bundle);
	struct err e = ERR_INIT;
	int next = 0;

	(void)state;
	uint64_t hits = fixture_hits(kb, "iter_interval", 0);
	assert_true(hits > 0);
	fixture_must(kernel_run_iterators(kb, 1000, &next, &e), &e);
	assert_int_equal(next, 100);
	assert_true(fixture_hits(kb, "iter_interval", 0) > hits);
	hits = fixture_hits(kb, "iter_interval", 0);
	fixture_must(kernel_run_iterators(kb, 1060, &next, &e), &e);
	assert_int_equal(next, 40);
	assert_int_equal(fixture_hits(kb, "iter_interval", 0), hits);
	fixture_must(kernel_run_iterators(kb, 1100, &next, &e), &e);
	assert_true(fixture_hits(kb, "iter_interval", 0) > hits);
	fixture_must(kernel_remove(&kb, &e), &e);
}

static void iterator_rests_as_long_as_it_says(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("iter_rest");
	struct kernel_bundle *kb = attached(bundle);
	struct err e = ERR_INIT;
	int next = 0;

	(void)state;
	uint64_t hits = fixture_hits(kb, "iter_rest", 0), now = loop_now_ms();
	fixture_must(kernel_run_iterators(kb, now, &next, &e), &e);
	assert_int_equal(fixture_hits(kb, "iter_rest", 0), hits + 1);
	assert_true((now + (uint64_t)next) % 100 == 0 && next >= 250);
	uint64_t due = now + (uint64_t)next;
	fixture_must(kernel_run_iterators(kb, due - 1, &next, &e), &e);
	assert_int_equal(next, 1);
	assert_int_equal(fixture_hits(kb, "iter_rest", 0), hits + 1);
	fixture_must(kernel_run_iterators(kb, due, &next, &e), &e);
	assert_int_equal(fixture_hits(kb, "iter_rest", 0), hits + 2);
	/* A parameter changed. */
	fixture_must(kernel_iterate_again(kb, &e), &e);
	fixture_must(kernel_run_iterators(kb, due, &next, &e), &e);
	assert_int_equal(fixture_hits(kb, "iter_rest", 0), hits + 3);
	fixture_must(kernel_remove(&kb, &e), &e);
}

static void no_iterator_is_never_due(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = attached(bundle);
	struct err e = ERR_INIT;
	int next = 0;

	(void)state;
	fixture_must(kernel_run_iterators(kb, 1000, &next, &e), &e);
	assert_int_equal(next, -1);
	kernel_close(&kb);
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
}

/* ---- privileges ---- */

/* Makes the kind fire until it is killed: who is in the sandbox cannot. */
static pid_t start_actor(const struct kind *k)
{
	pid_t actor = fork();

	if (actor == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			k->act();
			usleep(5000);
		}
	}
	return actor;
}

/* Answers like the daemon's supervisor, with its capabilities and its code, until it is killed. */
static pid_t start_supervisor(int *out_sock)
{
	struct server server = SERVER_INIT;
	struct err e = ERR_INIT;
	int pair[2];

	fixture_must(msg_pair(pair, &e), &e);
	pid_t supervisor = fork();
	if (supervisor > 0) {
		close(pair[1]);
		*out_sock = pair[0];
		return supervisor;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pair[0]);
	server.sock = pair[1];
	if (sandbox_capabilities(SANDBOX_SUPERVISOR, &e))
		_exit(err_print(stderr, "supervisor", &e, false));
	while (server.sock >= 0) {
		struct pollfd readable = {.fd = server.sock, .events = POLLIN};
		if (poll(&readable, 1, -1) < 0 || serve_request(&server))
			_exit(1);
	}
	_exit(0);
}

static int ask_packet_socket(void *ctx, int *out_fd, struct err *e)
{
	return parent_packet_socket(ctx, out_fd, e);
}

static int ask_perf_event(void *ctx, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e)
{
	return parent_perf_event(ctx, perf, file_fd, out_fd, e);
}

static int live_reduced(const struct kind *k, const struct verified_bundle *bundle, int supervisor)
{
	struct parent parent = {.sock = supervisor};
	struct kernel_host reduced = host;
	struct kind watched = *k;
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = false;

	reduced.packet_socket = ask_packet_socket;
	reduced.perf_event = ask_perf_event;
	reduced.packet_ctx = reduced.perf_ctx = &parent;
	watched.act = nothing;
	if (sandbox_capabilities(SANDBOX_MONITOR, &e) || sandbox_seccomp(SANDBOX_MONITOR, &e))
		return err_print(stderr, k->object, &e, false);
	if (kernel_load(&reduced, bundle, &kb, &e) || kernel_attach(kb, &e)) {
		bool known = k->lacking && strstr(e.frame[0], k->lacking) && !getenv("OBS_TEST_ALL_KINDS");
		kernel_close(&kb);
		if (known)
			return fprintf(stderr, "%s in the sandbox: %s\n", k->object, e.frame[0]) < 0;
		return err_print(stderr, k->object, &e, false);
	}
	if (!k->once && !rises(kb, &watched, 0))
		return 4;
	if (kernel_pin(kb, &e))
		return err_print(stderr, k->object, &e, false);
	if (fixture_program(kb, k->program)->state != pinned_state(k))
		return 6;
	kernel_close(&kb);
	if (kernel_adopt(&reduced, bundle, &adopted, &kb, &e) || !adopted)
		return err_print(stderr, k->object, &e, false) + 32;
	if (!k->once && !rises(kb, &watched, fixture_hits(kb, k->object, 0)))
		return 5;
	if (kernel_remove(&kb, &e))
		return err_print(stderr, k->object, &e, false);
	return 0;
}

static void every_kind_lives_in_the_monitor_sandbox(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(kinds[i].object);
		int status = 0;
		OWN_FD int sock = -1;
		pid_t supervisor = start_supervisor(&sock), actor = start_actor(&kinds[i]), child = fork();
		if (child == 0)
			_exit(live_reduced(&kinds[i], bundle, sock));
		assert_int_equal(waitpid(child, &status, 0), child);
		kill(actor, SIGKILL);
		kill(supervisor, SIGKILL);
		waitpid(actor, NULL, 0);
		waitpid(supervisor, NULL, 0);
		if (status)
			fail_msg("%s: status %#x", kinds[i].object, status);
		assert_int_equal(fixture_programs(kinds[i].program, 0), 0);
		assert_false(fixture_pins_left());
	}
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[32] = {
	    cmocka_unit_test(skipped_runs_of_a_probe_are_counted_and_stay_counted),
	    cmocka_unit_test(interval_iterator_runs_when_due),
	    cmocka_unit_test(iterator_rests_as_long_as_it_says),
	    cmocka_unit_test(no_iterator_is_never_due),
	    cmocka_unit_test(every_kind_lives_in_the_monitor_sandbox),
	};
	size_t count = 4;

	fixture_host(&host);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		tests[count++] = (struct CMUnitTest){kinds[i].object, check_kind, NULL, NULL, &kinds[i]};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = _cmocka_run_group_tests("monitor_kernel", tests, count, NULL, NULL);
	fixture_host_undo();
	return failed;
}
