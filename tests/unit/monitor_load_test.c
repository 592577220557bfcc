/* What a bundle becomes on this kernel: alternatives, and what is refused, with its reason. */
#include <bpf/bpf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "loader/monitor/kernel_impl.h"
#include "tests/unit/kernel_fixture.h"

static struct kernel_host host;

static void do_sleep(void)
{
	usleep(1000);
}

/* ---- alternatives ---- */

static void check_ladder(const struct kernel_bundle *kb, bool fentry, enum kernel_program_state in_use)
{
	assert_int_equal(fixture_program(kb, "rung_absent")->state, KERNEL_UNAVAILABLE);
	assert_string_equal(fixture_program(kb, "rung_absent")->reason,
			    "needs tp_btf/obs_no_such_tracepoint, Linux 99.1");
	assert_int_equal(fixture_program(kb, "extra")->state, KERNEL_UNAVAILABLE);
	assert_non_null(strstr(fixture_program(kb, "extra")->reason, "needs kprobe/obs_no_such_function"));
	assert_non_null(strstr(fixture_program(kb, "extra")->reason, "Linux 99.2"));
	if (fentry) {
		assert_int_equal(fixture_program(kb, "rung_fentry")->state, in_use);
		assert_int_equal(fixture_program(kb, "rung_fexit")->state, in_use);
		assert_int_equal(fixture_program(kb, "rung_raw_tp")->state, KERNEL_UNUSED);
		assert_string_equal(fixture_program(kb, "rung_raw_tp")->reason, "rung_fentry is in use");
		return;
	}
	assert_int_equal(fixture_program(kb, "rung_fentry")->state, KERNEL_UNAVAILABLE);
	assert_int_equal(fixture_program(kb, "rung_raw_tp")->state, in_use);
	assert_non_null(strstr(fixture_program(kb, "rung_raw_tp")->reason,
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
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("ladder");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool fentry = has_fentry(), adopted = false;
	uint32_t slot = fentry ? 1 : 2;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	check_ladder(kb, fentry, KERNEL_LOADED);
	fixture_must(kernel_attach(kb, &e), &e);
	fixture_must(kernel_pin(kb, &e), &e);
	check_ladder(kb, fentry, KERNEL_ATTACHED);
	do_sleep();
	assert_true(fixture_hits(kb, "ladder", slot) > 0);
	assert_int_equal(fixture_hits(kb, "ladder", fentry ? 2 : 1), 0);
	kernel_close(&kb);
	fixture_must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	check_ladder(kb, fentry, KERNEL_ATTACHED);
	fixture_must(kernel_remove(&kb, &e), &e);
	assert_int_equal(fixture_programs("rung_", 0), 0);
	assert_false(fixture_pins_left());
}

/* A program that loads and then does not attach: an interface that is not there. */
static void attach_that_fails_falls_back(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("fallback");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = false;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(fixture_program(kb, "on_nowhere")->state, KERNEL_LOADED);
	assert_int_equal(fixture_program(kb, "on_loopback")->state, KERNEL_UNUSED);
	fixture_must(kernel_attach(kb, &e), &e);
	assert_int_equal(fixture_program(kb, "on_nowhere")->state, KERNEL_UNAVAILABLE);
	assert_non_null(strstr(fixture_program(kb, "on_nowhere")->reason, "obsnone0"));
	assert_int_equal(fixture_program(kb, "optional_nowhere")->state, KERNEL_UNAVAILABLE);
	fixture_connect();
	assert_true(fixture_hits(kb, "fallback", 1) > 0);
	fixture_must(kernel_pin(kb, &e), &e);
	assert_int_equal(fixture_program(kb, "on_loopback")->state, KERNEL_ATTACHED);
	kernel_close(&kb);
	fixture_must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_true(adopted);
	assert_int_equal(fixture_program(kb, "on_loopback")->state, KERNEL_ATTACHED);
	fixture_must(kernel_remove(&kb, &e), &e);
	assert_false(fixture_pins_left());
}

static void attach_of_required_that_fails_leaves_nothing(void **state)
{
	if (fixture_no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("nowhere");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(kernel_attach(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	assert_non_null(strstr(e.frame[0], "obsnone0"));
	assert_int_equal(fixture_program(kb, "on_fine")->state, KERNEL_LOADED);
	kernel_close(&kb);
	assert_int_equal(fixture_programs("on_", 0), 0);
	assert_false(fixture_pins_left());
}

/* ---- refusals ---- */

static void verifier_refusal_shows_program_cause_and_log(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("rejected");
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
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("rejected_optional");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(fixture_program(kb, "on_rejected")->state, KERNEL_UNAVAILABLE);
	assert_string_equal(fixture_program(kb, "on_rejected")->reason,
			    "refused by the verifier: R0 invalid mem access 'map_value_or_null'");
	assert_int_equal(fixture_program(kb, "on_accepted")->state, KERNEL_LOADED);
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
		fixture_must(load_asking(ask_config, &e), &e);
	else
		print_message("no /proc/config.gz: whether CONFIG_BPF_SYSCALL is found was not tried\n");
}

static void view_of_rounded_numbers_is_accepted(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("lru");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	fixture_must(load_check_view(kb, &e), &e);
	kernel_close(&kb);
}

static void view_that_differs_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	fixture_must(load_check_view(kb, &e), &e);
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
	fixture_must(load_check_view(kb, &e), &e);
	kernel_close(&kb);
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
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("tp");
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
	fixture_must(kernel_load(&refusing, bundle, &kb, &e), &e);
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
	fixture_must(kernel_probe(&e), &e);
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
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(alternatives_fall_back_with_reasons),
	    cmocka_unit_test(attach_that_fails_falls_back),
	    cmocka_unit_test(attach_of_required_that_fails_leaves_nothing),
	    cmocka_unit_test(verifier_refusal_shows_program_cause_and_log),
	    cmocka_unit_test(verifier_refusal_of_optional_program_is_noted),
	    cmocka_unit_test(requirement_not_met_names_it),
	    cmocka_unit_test(view_of_rounded_numbers_is_accepted),
	    cmocka_unit_test(view_that_differs_is_refused),
	    cmocka_unit_test(perf_events_refused_is_a_reason),
	    cmocka_unit_test(probe_says_whether_there_is_bpf),
	};

	fixture_host(&host);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests_name("monitor_load", tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
