/* Every attach kind through its whole life: load, attach, fire, pin, lose the process, adopt, fire, remove.
 * Arguments are kinds or parts of test names; none runs all. Kinds that this kernel does not have must say why;
 * OBS_TEST_ALL_KINDS=1 makes that a failure. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "tests/unit/kernel_fixture.h"

static struct kernel_host host;

static struct verified_bundle *bundle_of(const char *object)
{
	const char *const objects[] = {object, NULL};

	return fixture_bundle(&(struct fixture_spec){.name = "test/kernel", .serial = 7, .objects = objects});
}

static void must(int result, const struct err *e)
{
	char text[2048];

	if (result) {
		print_error("%s: %s\n%s\n", err_name(e->code), err_text(e, text, sizeof(text)), e->log);
		fail();
	}
}

static const struct kernel_program *program(const struct kernel_bundle *kb, const char *name)
{
	const struct kernel_program *all;
	size_t count = kernel_programs(kb, &all);

	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i].program->name, name) == 0)
			return &all[i];
	fail_msg("no program %s", name);
	return NULL;
}

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

/* A real connection over loopback, with a byte sent. */
static void do_connect(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	OWN_FD int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OWN_FD int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
	assert_int_equal(send(client, "x", 1, 0), 1);
}

/* A USDT probe obs_test:fired with one argument, in the format of SystemTap's <sys/sdt.h>. */
static __attribute__((noinline)) void do_probe(void)
{
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
			 ".asciz \"-4@%0\"\n"
			 "994: .balign 4\n"
			 ".popsection\n"
			 ".ifndef _.stapsdt.base\n"
			 ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
			 ".weak _.stapsdt.base\n"
			 ".hidden _.stapsdt.base\n"
			 "_.stapsdt.base: .space 1\n"
			 ".size _.stapsdt.base, 1\n"
			 ".popsection\n"
			 ".endif\n" ::"n"(42));
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
	bool once; /* runs at the start only */
};

static bool rises(const struct kernel_bundle *kb, const struct kind *k, uint64_t from)
{
	for (int tries = 0; tries < 100; tries++) {
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
	assert_true(e->code == ERR_KERNEL_REQUIREMENT || e->code == ERR_KERNEL_LOAD);
	assert_null(getenv("OBS_TEST_ALL_KINDS"));
	assert_int_equal(fixture_programs(k->program, 0), 0);
	assert_false(fixture_pins_left());
}

static void check_adopted(const struct verified_bundle *bundle, const struct kind *k)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = false;

	must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	assert_int_equal(program(kb, k->program)->state, k->pinned);
	if (!k->once)
		assert_true(rises(kb, k, fixture_hits(kb, k->object, 0)));
	must(kernel_remove(&kb, &e), &e);
	assert_null(kb);
	assert_int_equal(fixture_programs(k->program, 0), 0);
	assert_false(fixture_pins_left());
}

static void check_kind(void **state)
{
	const struct kind *k = *state;
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of(k->object);
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	if (kernel_load(&host, bundle, &kb, &e)) {
		check_lacking(k, &e);
		return;
	}
	assert_int_equal(program(kb, k->program)->state, KERNEL_LOADED);
	must(kernel_attach(kb, &e), &e);
	if (k->once)
		assert_true(fixture_hits(kb, k->object, 0) > 0);
	else
		assert_true(rises(kb, k, 0));
	must(kernel_pin(kb, &e), &e);
	assert_int_equal(program(kb, k->program)->state, k->pinned);
	kernel_refresh(kb);
	kernel_close(&kb);
	assert_int_equal(fixture_programs(k->program, 1), 1);
	check_adopted(bundle, k);
}

static struct kind kinds[] = {
	{"tp", "on_tp", do_sleep, NULL, KERNEL_ATTACHED},
	{"raw_tp", "on_raw_tp", do_sleep, NULL, KERNEL_ATTACHED},
	{"tp_btf", "on_tp_btf", do_sleep, NULL, KERNEL_ATTACHED},
	{"kprobe", "on_kprobe", do_sleep, "kprobe", KERNEL_ATTACHED},
	{"kretprobe", "on_kretprobe", do_sleep, "kprobe", KERNEL_ATTACHED},
	{"fentry", "on_fentry", do_sleep, "fentry", KERNEL_ATTACHED},
	{"fexit", "on_fexit", do_sleep, "fexit", KERNEL_ATTACHED},
	{"uprobe", "on_uprobe", do_getpgid, NULL, KERNEL_ATTACHED},
	{"uretprobe", "on_uretprobe", do_getpgid, NULL, KERNEL_ATTACHED},
	{"usdt", "on_usdt", do_probe, NULL, KERNEL_ATTACHED_HERE},
	{"perf_event", "on_perf_event", do_burn, NULL, KERNEL_ATTACHED},
	{"cgroup_skb", "on_cgroup_skb", do_connect, NULL, KERNEL_ATTACHED},
	{"sockops", "on_sockops", do_connect, NULL, KERNEL_ATTACHED},
	{"socket", "on_socket", do_connect, NULL, KERNEL_ATTACHED_HERE},
	{"xdp", "on_xdp", do_connect, NULL, KERNEL_ATTACHED},
	{"tc", "on_ingress", do_connect, NULL, KERNEL_ATTACHED},
	{"iter", "on_iter", nothing, NULL, KERNEL_ATTACHED, true},
};

int main(int argc, char **argv)
{
	struct CMUnitTest tests[64] = {0};
	size_t count = 0;

	fixture_host(&host);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		tests[count++] = (struct CMUnitTest){kinds[i].object, check_kind, NULL, NULL, &kinds[i]};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = _cmocka_run_group_tests("monitor_kernel", tests, count, NULL, NULL);
	fixture_host_undo();
	return failed;
}
