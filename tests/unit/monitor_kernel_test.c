/* Every attach kind through its whole life: load, attach, fire, pin, lose the process, adopt, fire, remove.
 * The argument is a kind or a pattern of test names ("*rung*"); none runs all. Kinds that this kernel does not have must say why;
 * OBS_TEST_ALL_KINDS=1 makes that a failure. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/parent.h"
#include "loader/sandbox/sandbox.h"
#include "loader/supervisor/serve.h"
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

	must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	assert_int_equal(program(kb, k->program)->state, pinned_state(k));
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
	if (kernel_attach(kb, &e)) {
		kernel_close(&kb);
		check_lacking(k, &e);
		return;
	}
	if (k->once)
		assert_true(fixture_hits(kb, k->object, 0) > 0);
	else
		assert_true(rises(kb, k, 0));
	must(kernel_pin(kb, &e), &e);
	assert_int_equal(program(kb, k->program)->state, pinned_state(k));
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
    {"cgroup_skb", "on_cgroup_skb", do_connect, NULL, KERNEL_ATTACHED},
    {"sockops", "on_sockops", do_connect, NULL, KERNEL_ATTACHED},
    {"socket", "on_socket", do_connect, NULL, KERNEL_ATTACHED_HERE},
    {"xdp", "on_xdp", do_connect, NULL, KERNEL_ATTACHED},
    {"tc", "on_ingress", do_connect, "clsact", KERNEL_ATTACHED},
    {"iter", "on_iter", nothing, NULL, KERNEL_ATTACHED, true},
};

/* ---- iterators with an interval ---- */

static void interval_iterator_runs_when_due(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("iter_interval");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	int next = 0;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	must(kernel_attach(kb, &e), &e);
	uint64_t hits = fixture_hits(kb, "iter_interval", 0);
	assert_true(hits > 0);
	must(kernel_run_iterators(kb, 1000, &next, &e), &e);
	assert_int_equal(next, 100);
	assert_true(fixture_hits(kb, "iter_interval", 0) > hits);
	hits = fixture_hits(kb, "iter_interval", 0);
	must(kernel_run_iterators(kb, 1060, &next, &e), &e);
	assert_int_equal(next, 40);
	assert_int_equal(fixture_hits(kb, "iter_interval", 0), hits);
	must(kernel_run_iterators(kb, 1100, &next, &e), &e);
	assert_true(fixture_hits(kb, "iter_interval", 0) > hits);
	must(kernel_remove(&kb, &e), &e);
}

static void no_iterator_is_never_due(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	int next = 0;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	must(kernel_attach(kb, &e), &e);
	must(kernel_run_iterators(kb, 1000, &next, &e), &e);
	assert_int_equal(next, -1);
	kernel_close(&kb);
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
}

static bool loopback_has_qdisc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("lo"), .attach_point = BPF_TC_INGRESS);

	if (bpf_tc_hook_create(&hook) == -EEXIST)
		return true;
	hook.attach_point = (enum bpf_tc_attach_point)(BPF_TC_INGRESS | BPF_TC_EGRESS);
	assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	return false;
}

/* Debian has tc's parts as modules, which a small virtual machine may not hold. */
static bool no_tc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("lo"), .attach_point = BPF_TC_INGRESS);
	int error = bpf_tc_hook_create(&hook);

	if (error == 0) {
		hook.attach_point = (enum bpf_tc_attach_point)(BPF_TC_INGRESS | BPF_TC_EGRESS);
		assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	}
	if (error == 0 || error == -EEXIST)
		return false;
	print_message("SKIP: this kernel has no clsact qdisc\n");
	assert_null(getenv("OBS_TEST_ALL_KINDS"));
	return true;
}

/* ---- alternatives ---- */

static void check_ladder(const struct kernel_bundle *kb, bool fentry, enum kernel_program_state in_use)
{
	assert_int_equal(program(kb, "rung_absent")->state, KERNEL_UNAVAILABLE);
	assert_string_equal(program(kb, "rung_absent")->reason, "needs tp_btf/obs_no_such_tracepoint, Linux 99.1");
	assert_int_equal(program(kb, "extra")->state, KERNEL_UNAVAILABLE);
	assert_non_null(strstr(program(kb, "extra")->reason, "needs kprobe/obs_no_such_function"));
	assert_non_null(strstr(program(kb, "extra")->reason, "Linux 99.2"));
	if (fentry) {
		assert_int_equal(program(kb, "rung_fentry")->state, in_use);
		assert_int_equal(program(kb, "rung_fexit")->state, in_use);
		assert_int_equal(program(kb, "rung_raw_tp")->state, KERNEL_UNUSED);
		assert_string_equal(program(kb, "rung_raw_tp")->reason, "rung_fentry is in use");
		return;
	}
	assert_int_equal(program(kb, "rung_fentry")->state, KERNEL_UNAVAILABLE);
	assert_int_equal(program(kb, "rung_raw_tp")->state, in_use);
	assert_non_null(strstr(program(kb, "rung_raw_tp")->reason,
			       "in place of rung_absent, which needs tp_btf/obs_no_such_tracepoint"));
}

/* Whether this kernel takes fentry programs, found without the code under test. */
static bool has_fentry(void)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	char path[PATH_MAX];

	fixture_object_path("fentry", path);
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	struct bpf_object *obj = bpf_object__open_file(path, &opts);
	bool has = obj && bpf_object__load(obj) == 0;
	libbpf_set_print(before);
	bpf_object__close(obj);
	return has;
}

static void alternatives_fall_back_with_reasons(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("ladder");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool fentry = has_fentry(), adopted = false;
	uint32_t slot = fentry ? 1 : 2;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	check_ladder(kb, fentry, KERNEL_LOADED);
	must(kernel_attach(kb, &e), &e);
	must(kernel_pin(kb, &e), &e);
	check_ladder(kb, fentry, KERNEL_ATTACHED);
	do_sleep();
	assert_true(fixture_hits(kb, "ladder", slot) > 0);
	assert_int_equal(fixture_hits(kb, "ladder", fentry ? 2 : 1), 0);
	kernel_close(&kb);
	must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	check_ladder(kb, fentry, KERNEL_ATTACHED);
	must(kernel_remove(&kb, &e), &e);
	assert_int_equal(fixture_programs("rung_", 0), 0);
	assert_false(fixture_pins_left());
}

/* A program that loads and then does not attach: an interface that is not there. */
static void attach_that_fails_falls_back(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("fallback");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = false;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(program(kb, "on_nowhere")->state, KERNEL_LOADED);
	assert_int_equal(program(kb, "on_loopback")->state, KERNEL_UNUSED);
	must(kernel_attach(kb, &e), &e);
	assert_int_equal(program(kb, "on_nowhere")->state, KERNEL_UNAVAILABLE);
	assert_non_null(strstr(program(kb, "on_nowhere")->reason, "obsnone0"));
	assert_int_equal(program(kb, "optional_nowhere")->state, KERNEL_UNAVAILABLE);
	do_connect();
	assert_true(fixture_hits(kb, "fallback", 1) > 0);
	must(kernel_pin(kb, &e), &e);
	assert_int_equal(program(kb, "on_loopback")->state, KERNEL_ATTACHED);
	kernel_close(&kb);
	must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	assert_int_equal(program(kb, "on_loopback")->state, KERNEL_ATTACHED);
	must(kernel_remove(&kb, &e), &e);
	assert_false(fixture_pins_left());
}

static void attach_of_required_that_fails_leaves_nothing(void **state)
{
	if (no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("nowhere");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(kernel_attach(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	assert_non_null(strstr(e.frame[0], "obsnone0"));
	assert_int_equal(program(kb, "on_fine")->state, KERNEL_LOADED);
	kernel_close(&kb);
	assert_int_equal(fixture_programs("on_", 0), 0);
	assert_false(fixture_pins_left());
}

/* ---- refusals ---- */

static void verifier_refusal_shows_program_cause_and_log(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("rejected");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(kernel_load(&host, bundle, &kb, &e), -1);
	assert_null(kb);
	assert_int_equal(e.code, ERR_KERNEL_VERIFIER);
	assert_int_equal(e.errnum, EACCES);
	assert_string_equal(e.frame[0], "rejected/on_rejected (raw_tp/sched_switch): "
					"R0 invalid mem access 'map_value_or_null'");
	assert_non_null(strstr(e.log, "map_value_or_null"));
	assert_non_null(strstr(e.log, "processed "));
	assert_null(strstr(e.log, "libbpf: "));
}

static void verifier_refusal_of_optional_program_is_noted(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("rejected_optional");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(program(kb, "on_rejected")->state, KERNEL_UNAVAILABLE);
	assert_string_equal(program(kb, "on_rejected")->reason,
			    "refused by the verifier: R0 invalid mem access 'map_value_or_null'");
	assert_int_equal(program(kb, "on_accepted")->state, KERNEL_LOADED);
	kernel_close(&kb);
}

static char *config_options[1];

static void ask_kernel_999(struct manifest *m)
{
	m->kernel_major = 999;
}

static void ask_config(struct manifest *m)
{
	m->kernel_config = config_options;
	m->kernel_config_count = 1;
}

static int load_asking(void (*change)(struct manifest *m), struct err *e)
{
	static const char *const objects[] = {"raw_tp", NULL};
	OWN(verified_bundle)
	struct verified_bundle *bundle = fixture_bundle(
	    &(struct fixture_spec){.name = "test/asks", .serial = 1, .objects = objects, .change = change});
	struct kernel_bundle *kb = NULL;
	int result = kernel_load(&host, bundle, &kb, e);

	kernel_close(&kb);
	return result;
}

static void requirement_not_met_names_it(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(load_asking(ask_kernel_999, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_REQUIREMENT);
	assert_non_null(strstr(e.frame[0], "needs Linux 999.0, this is "));
	config_options[0] = (char *)"CONFIG_OBS_NO_SUCH_OPTION";
	assert_int_equal(load_asking(ask_config, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_REQUIREMENT);
	assert_non_null(strstr(e.frame[0], "CONFIG_OBS_NO_SUCH_OPTION"));
	config_options[0] = (char *)"CONFIG_BPF_SYSCALL";
	if (access("/proc/config.gz", R_OK) == 0)
		must(load_asking(ask_config, &e), &e);
	else
		print_message("no /proc/config.gz: whether CONFIG_BPF_SYSCALL is found was not tried\n");
}

static void view_that_differs_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	must(kernel_load(&host, bundle, &kb, &e), &e);
	must(load_check_view(kb, &e), &e);
	size_t m = 0;
	while (strcmp(kb->objects[0].maps[m].map->name, "hits") != 0)
		m++;
	int *fd = &kb->objects[0].maps[m].fd, own = *fd;
	*fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "hits", 4, 8, 5, NULL);
	assert_int_equal(load_check_view(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	assert_non_null(strstr(e.frame[0], "entries 5 in the kernel"));
	close(*fd);
	*fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "hits", 4, 8, 4, NULL); /* alike, but another one */
	assert_int_equal(load_check_view(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	assert_non_null(strstr(e.frame[0], "not of its object"));
	close(*fd);
	*fd = own;
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	own = kb->progs[0].fd;
	kb->progs[0].fd = bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, "on_raw_tp", "GPL", insns, 2, NULL);
	assert_int_equal(load_check_view(kb, &e), -1);
	assert_non_null(strstr(e.frame[0], "type tracepoint in the kernel, raw_tracepoint in the manifest"));
	close(kb->progs[0].fd);
	kb->progs[0].fd = own;
	must(load_check_view(kb, &e), &e);
	kernel_close(&kb);
}

/* ---- pins ---- */

static struct kernel_bundle *started(const struct verified_bundle *bundle)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	must(kernel_load(&host, bundle, &kb, &e), &e);
	must(kernel_attach(kb, &e), &e);
	must(kernel_pin(kb, &e), &e);
	return kb;
}

static void remove_of_unpinned_copy_leaves_the_pinned_one(void **state)
{
	if (no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("tc");
	struct kernel_bundle *kb = started(bundle), *copy = NULL;
	struct err e = ERR_INIT;

	(void)state;
	must(kernel_load(&host, bundle, &copy, &e), &e);
	must(kernel_attach(copy, &e), &e);
	assert_int_equal(kernel_pin(copy, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_PIN);
	must(kernel_remove(&copy, &e), &e);
	assert_true(fixture_pins_left());
	uint64_t before = fixture_hits(kb, "tc", 0);
	do_connect();
	assert_true(fixture_hits(kb, "tc", 0) > before);
	must(kernel_remove(&kb, &e), &e);
	assert_false(fixture_pins_left());
}

static void adopt_without_pins_says_so(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = true;

	(void)state;
	must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_false(adopted);
	assert_null(kb);
}

/* The same name, serial, object and program, but other code: what an older loader or somebody else left. */
static void adopt_of_other_code_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_bundle *kb = started(bundle), *other = NULL;
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	char path[PATH_MAX];
	struct err e = ERR_INIT;
	bool adopted = true;

	(void)state;
	kernel_close(&kb);
	snprintf(path, sizeof(path), "%s/test/kernel/7/programs/raw_tp:on_raw_tp", host.pin_root);
	assert_int_equal(unlink(path), 0);
	OWN_FD int fd = bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "on_raw_tp", "GPL", insns, 2, NULL);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	must(kernel_adopt(&host, bundle, &adopted, &other, &e), &e);
	assert_false(adopted);
	assert_null(other);
	must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	close(TAKE_FD(fd));
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
	assert_false(fixture_pins_left());
}

static void adopt_of_unfinished_pins_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_bundle *kb = started(bundle), *other = NULL;
	char from[PATH_MAX], to[PATH_MAX];
	struct err e = ERR_INIT;
	bool adopted = true;

	(void)state;
	kernel_close(&kb);
	snprintf(from, sizeof(from), "%s/test/kernel/7", host.pin_root);
	snprintf(to, sizeof(to), "%s/test/kernel/7+new", host.pin_root);
	assert_int_equal(rename(from, to), 0);
	must(kernel_adopt(&host, bundle, &adopted, &other, &e), &e);
	assert_false(adopted);
	must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
	assert_false(fixture_pins_left());
}

static void pin_outside_of_bpffs_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("raw_tp");
	struct kernel_host elsewhere = host;
	char folder[] = "/tmp/obs-nobpffs-XXXXXX";
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(folder));
	elsewhere.pin_root = folder;
	must(kernel_load(&elsewhere, bundle, &kb, &e), &e);
	must(kernel_attach(kb, &e), &e);
	assert_int_equal(kernel_pin(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_PIN);
	assert_non_null(strstr(e.frame[0], "not on a bpffs"));
	kernel_close(&kb);
	assert_int_equal(rmdir(folder), 0);
}

static int note_pinned(void *ctx, const char *name, uint64_t serial, struct err *e)
{
	char *text = ctx;
	size_t used = strlen(text);

	(void)e;
	snprintf(text + used, 256 - used, "%s %llu;", name, (unsigned long long)serial);
	return 0;
}

/* Upgrade: the new serial stands beside the old one, then the old one goes. Dots in names must survive bpffs. */
static void two_serials_live_side_by_side(void **state)
{
	if (no_tc())
		return;
	static const char *const objects[] = {"tc", NULL};
	struct fixture_spec spec = {.name = "test/a.b", .serial = 1, .objects = objects};
	OWN(verified_bundle) struct verified_bundle *first = fixture_bundle(&spec);
	spec.serial = 2;
	OWN(verified_bundle) struct verified_bundle *second = fixture_bundle(&spec);
	struct kernel_bundle *old = started(first), *new = started(second);
	char pinned[256] = "";
	struct err e = ERR_INIT;

	(void)state;
	must(kernel_each_pinned(&host, note_pinned, pinned, &e), &e);
	assert_non_null(strstr(pinned, "test/a.b 1;"));
	assert_non_null(strstr(pinned, "test/a.b 2;"));
	assert_int_equal(strlen(pinned), 2 * strlen("test/a.b 1;"));
	assert_true(loopback_has_qdisc());
	must(kernel_remove(&old, &e), &e);
	uint64_t before = fixture_hits(new, "tc", 1);
	do_connect();
	assert_true(fixture_hits(new, "tc", 1) > before);
	must(kernel_remove(&new, &e), &e);
	assert_int_equal(fixture_programs("on_ingress", 0), 0);
	assert_false(fixture_pins_left());
	assert_false(loopback_has_qdisc());
}

/* Killed between attaching and pinning: the filter is in the kernel's tc, and its record is all that knows. */
static void filter_of_a_killed_process_is_found(void **state)
{
	if (no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("tc");
	struct err e = ERR_INIT;
	char pinned[256] = "";
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct kernel_bundle *kb = NULL;
		_exit(kernel_load(&host, bundle, &kb, &e) || kernel_attach(kb, &e));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_true(fixture_programs("on_ingress", 1) == 1);
	must(kernel_each_pinned(&host, note_pinned, pinned, &e), &e);
	assert_string_equal(pinned, "test/kernel 7;");
	must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	assert_int_equal(fixture_programs("on_ingress", 0), 0);
	assert_false(fixture_pins_left());
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

	must(msg_pair(pair, &e), &e);
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
	if (program(kb, k->program)->state != pinned_state(k))
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
		OWN(verified_bundle) struct verified_bundle *bundle = bundle_of(kinds[i].object);
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

static int refuse_perf_event(void *ctx, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e)
{
	(void)perf;
	(void)file_fd;
	(void)out_fd;
	errno = *(int *)ctx;
	return err_errno(e, ERR_IO, "perf event");
}

/* A supervisor without the capability, and one whose events fail for another reason. */
static void perf_events_refused_is_a_reason(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = bundle_of("tp");
	struct kernel_host refusing = host;
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	int why = EACCES;

	(void)state;
	refusing.perf_event = refuse_perf_event;
	refusing.perf_ctx = &why;
	assert_int_equal(kernel_load(&refusing, bundle, &kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_REQUIREMENT);
	assert_non_null(strstr(e.frame[0], "needs CAP_SYS_ADMIN in the supervisor, or kernel.perf_event_paranoid"));
	refusing.perf_event = NULL;
	assert_int_equal(kernel_load(&refusing, bundle, &kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_REQUIREMENT);
	refusing.perf_event = refuse_perf_event;
	why = EMFILE; /* says nothing about the kernel */
	must(kernel_load(&refusing, bundle, &kb, &e), &e);
	assert_int_equal(kernel_attach(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	assert_int_equal(e.errnum, EMFILE);
	kernel_close(&kb);
	assert_int_equal(fixture_programs("on_tp", 0), 0);
}

static void probe_says_whether_there_is_bpf(void **state)
{
	struct err e = ERR_INIT;
	int status = 0;

	(void)state;
	must(kernel_probe(&e), &e);
	pid_t child = fork();
	if (child == 0) {
		if (setresuid(65534, 65534, 65534))
			_exit(3);
		_exit(kernel_probe(&e) == -1 && e.code == ERR_KERNEL_NO_BPF && e.depth == 1 ? 0 : 4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[64] = {
	    cmocka_unit_test(interval_iterator_runs_when_due),
	    cmocka_unit_test(no_iterator_is_never_due),
	    cmocka_unit_test(alternatives_fall_back_with_reasons),
	    cmocka_unit_test(attach_that_fails_falls_back),
	    cmocka_unit_test(attach_of_required_that_fails_leaves_nothing),
	    cmocka_unit_test(verifier_refusal_shows_program_cause_and_log),
	    cmocka_unit_test(verifier_refusal_of_optional_program_is_noted),
	    cmocka_unit_test(requirement_not_met_names_it),
	    cmocka_unit_test(view_that_differs_is_refused),
	    cmocka_unit_test(remove_of_unpinned_copy_leaves_the_pinned_one),
	    cmocka_unit_test(adopt_without_pins_says_so),
	    cmocka_unit_test(adopt_of_other_code_is_refused),
	    cmocka_unit_test(adopt_of_unfinished_pins_is_refused),
	    cmocka_unit_test(pin_outside_of_bpffs_is_refused),
	    cmocka_unit_test(two_serials_live_side_by_side),
	    cmocka_unit_test(filter_of_a_killed_process_is_found),
	    cmocka_unit_test(every_kind_lives_in_the_monitor_sandbox),
	    cmocka_unit_test(perf_events_refused_is_a_reason),
	    cmocka_unit_test(probe_says_whether_there_is_bpf),
	};
	size_t count = 19;

	fixture_host(&host);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		tests[count++] = (struct CMUnitTest){kinds[i].object, check_kind, NULL, NULL, &kinds[i]};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = _cmocka_run_group_tests("monitor_kernel", tests, count, NULL, NULL);
	fixture_host_undo();
	return failed;
}
