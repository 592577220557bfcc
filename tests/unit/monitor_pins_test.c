/* What outlives the process: pins, taking them over, and what a crash leaves. */
#include <bpf/bpf.h>
#include <errno.h>
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

static bool loopback_has_qdisc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("lo"), .attach_point = BPF_TC_INGRESS);

	if (bpf_tc_hook_create(&hook) == -EEXIST)
		return true;
	hook.attach_point = (enum bpf_tc_attach_point)(BPF_TC_INGRESS | BPF_TC_EGRESS);
	assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	return false;
}

/* ---- pins ---- */

static void remove_of_unpinned_copy_leaves_the_pinned_one(void **state)
{
	if (fixture_no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("tc");
	struct kernel_bundle *kb = fixture_started(&host, bundle), *copy = NULL;
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_load(&host, bundle, &copy, &e), &e);
	fixture_must(kernel_attach(copy, &e), &e);
	assert_int_equal(kernel_pin(copy, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_PIN);
	fixture_must(kernel_remove(&copy, &e), &e);
	assert_true(fixture_pins_left());
	uint64_t before = fixture_hits(kb, "tc", 0);
	fixture_connect();
	assert_true(fixture_hits(kb, "tc", 0) > before);
	fixture_must(kernel_remove(&kb, &e), &e);
	assert_false(fixture_pins_left());
}

static void adopt_without_pins_says_so(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool adopted = true;

	(void)state;
	fixture_must(kernel_adopt(&host, bundle, &adopted, &kb, &e), &e);
	assert_false(adopted);
	assert_null(kb);
}

/* The same name, serial, object and program, but other code: what an older loader or somebody else left. */
static void adopt_of_other_code_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = fixture_started(&host, bundle), *other = NULL;
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
	fixture_must(kernel_adopt(&host, bundle, &adopted, &other, &e), &e);
	assert_false(adopted);
	assert_null(other);
	fixture_must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	close(TAKE_FD(fd));
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
	assert_false(fixture_pins_left());
}

static unsigned obj_get_fails_at, obj_gets;

int __real_bpf_obj_get(const char *path);
int __wrap_bpf_obj_get(const char *path);
int __wrap_bpf_obj_get(const char *path)
{
	if (obj_get_fails_at && ++obj_gets == obj_get_fails_at) {
		errno = ENOMEM;
		return -1;
	}
	return __real_bpf_obj_get(path);
}

/* Whatever pin it is of, it says nothing about whose the pins are: they stay, and are taken over by whoever tries again. */
static void adopt_without_memory_leaves_the_pins(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = fixture_started(&host, bundle), *again = NULL;
	uint32_t id = kb->views[0].id;
	struct err e = ERR_INIT;
	bool adopted = false;
	unsigned pins = 0;

	(void)state;
	kernel_close(&kb);
	for (;; pins++) {
		obj_get_fails_at = pins + 1;
		obj_gets = 0;
		int rc = kernel_adopt(&host, bundle, &adopted, &again, &e);
		if (obj_gets < obj_get_fails_at) {
			fixture_must(rc, &e);
			break;
		}
		assert_int_equal(rc, -1);
		assert_int_equal(e.code, ERR_NOMEM);
		assert_null(again);
	}
	obj_get_fails_at = 0;
	assert_true(pins >= 3); /* a program, a map, a link */
	assert_true(adopted);
	assert_int_equal(again->views[0].id, id);
	fixture_must(kernel_remove(&again, &e), &e);
	assert_false(fixture_pins_left());
}

static void adopt_of_unfinished_pins_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_bundle *kb = fixture_started(&host, bundle), *other = NULL;
	char from[PATH_MAX], to[PATH_MAX];
	struct err e = ERR_INIT;
	bool adopted = true;

	(void)state;
	kernel_close(&kb);
	snprintf(from, sizeof(from), "%s/test/kernel/7", host.pin_root);
	snprintf(to, sizeof(to), "%s/test/kernel/7+new", host.pin_root);
	assert_int_equal(rename(from, to), 0);
	fixture_must(kernel_adopt(&host, bundle, &adopted, &other, &e), &e);
	assert_false(adopted);
	fixture_must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	assert_int_equal(fixture_programs("on_raw_tp", 0), 0);
	assert_false(fixture_pins_left());
}

static void pin_outside_of_bpffs_is_refused(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("raw_tp");
	struct kernel_host elsewhere = host;
	char folder[] = "/tmp/obs-nobpffs-XXXXXX";
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(mkdtemp(folder));
	elsewhere.pin_root = folder;
	fixture_must(kernel_load(&elsewhere, bundle, &kb, &e), &e);
	fixture_must(kernel_attach(kb, &e), &e);
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
	if (fixture_no_tc())
		return;
	static const char *const objects[] = {"tc", NULL};
	struct fixture_spec spec = {.name = "test/a.b", .serial = 1, .objects = objects};
	OWN(verified_bundle) struct verified_bundle *first = fixture_bundle(&spec);
	spec.serial = 2;
	OWN(verified_bundle) struct verified_bundle *second = fixture_bundle(&spec);
	struct kernel_bundle *old = fixture_started(&host, first), *new = fixture_started(&host, second);
	char pinned[256] = "";
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_each_pinned(&host, note_pinned, pinned, &e), &e);
	assert_non_null(strstr(pinned, "test/a.b 1;"));
	assert_non_null(strstr(pinned, "test/a.b 2;"));
	assert_int_equal(strlen(pinned), 2 * strlen("test/a.b 1;"));
	assert_true(loopback_has_qdisc());
	fixture_must(kernel_remove(&old, &e), &e);
	uint64_t before = fixture_hits(new, "tc", 1);
	fixture_connect();
	assert_true(fixture_hits(new, "tc", 1) > before);
	fixture_must(kernel_remove(&new, &e), &e);
	assert_int_equal(fixture_programs("on_ingress", 0), 0);
	assert_false(fixture_pins_left());
	assert_false(loopback_has_qdisc());
}

/* Killed between attaching and pinning: the filter is in the kernel's tc, and its record is all that knows. */
static void filter_of_a_killed_process_is_found(void **state)
{
	if (fixture_no_tc())
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("tc");
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
	fixture_must(kernel_each_pinned(&host, note_pinned, pinned, &e), &e);
	assert_string_equal(pinned, "test/kernel 7;");
	fixture_must(kernel_remove_pins(&host, "test/kernel", 7, &e), &e);
	assert_int_equal(fixture_programs("on_ingress", 0), 0);
	assert_false(fixture_pins_left());
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(remove_of_unpinned_copy_leaves_the_pinned_one),
	    cmocka_unit_test(adopt_without_pins_says_so),
	    cmocka_unit_test(adopt_of_other_code_is_refused),
	    cmocka_unit_test(adopt_without_memory_leaves_the_pins),
	    cmocka_unit_test(adopt_of_unfinished_pins_is_refused),
	    cmocka_unit_test(pin_outside_of_bpffs_is_refused),
	    cmocka_unit_test(two_serials_live_side_by_side),
	    cmocka_unit_test(filter_of_a_killed_process_is_found),
	};

	fixture_host(&host);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests_name("monitor_pins", tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
