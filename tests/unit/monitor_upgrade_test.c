/* Upgrades of XDP programs: the program in the link is swapped, and a crash at any moment leaves the old or the new one. */
#include <bpf/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "loader/monitor/kernel_impl.h"
#include "tests/unit/kernel_fixture.h"

enum { OLD = 7, NEW = 8 };

static struct kernel_host host;

static struct verified_bundle *bundle_of(uint64_t serial, const char *object)
{
	const char *const objects[] = {object, NULL};

	return fixture_bundle(&(struct fixture_spec){.name = "test/kernel", .serial = serial, .objects = objects});
}

static struct verified_bundle *bundle(uint64_t serial)
{
	return bundle_of(serial, "xdp_all");
}

/* On loopback. */
static bool counts(const struct kernel_bundle *kb)
{
	uint64_t before = fixture_hits(kb, "xdp_all", 0);

	fixture_connect();
	return fixture_hits(kb, "xdp_all", 0) > before;
}

static uint32_t link_id(const struct kernel_bundle *kb, size_t n)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);

	assert_true(kb->progs[0].attachment_count > n);
	assert_int_equal(bpf_obj_get_info_by_fd(kb->progs[0].attachments[n].fd, &info, &size), 0);
	return info.id;
}

static struct kernel_bundle *beside(const struct verified_bundle *verified, const struct kernel_bundle *old)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	fixture_must(kernel_load(&host, verified, &kb, &e), &e);
	fixture_must(kernel_attach_beside(kb, old, &e), &e);
	fixture_must(kernel_pin(kb, &e), &e);
	return kb;
}

static void ends(struct kernel_bundle *kb)
{
	struct err e = ERR_INIT;

	fixture_must(kernel_remove(&kb, &e), &e);
	assert_int_equal(fixture_programs("on_xdp_all", 0), 0);
	assert_false(fixture_pins_left());
}

static void upgrade_swaps_the_program_of_the_link(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
	OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
	struct kernel_bundle *old = fixture_started(&host, first), *new = beside(second, old);
	uint32_t id = link_id(old, 0);
	struct err e = ERR_INIT;
	bool adopted = false;

	(void)state;
	assert_true(counts(old));
	assert_false(counts(new));
	fixture_must(kernel_take_over(new, &e), &e);
	assert_false(counts(old));
	assert_true(counts(new));
	kernel_settle(new);
	fixture_must(kernel_remove(&old, &e), &e);
	assert_true(counts(new));
	assert_int_equal(link_id(new, 0), id);
	kernel_close(&new);
	fixture_must(kernel_adopt(&host, second, &adopted, &new, &e), &e);
	assert_true(adopted);
	assert_true(counts(new));
	assert_int_equal(link_id(new, 0), id);
	ends(new);
}

static void upgrade_that_fails_gives_the_link_back(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
	OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
	struct kernel_bundle *old = fixture_started(&host, first), *new = beside(second, old);
	uint32_t id = link_id(old, 0);
	struct err e = ERR_INIT;

	(void)state;
	fixture_must(kernel_remove(&new, &e), &e);
	assert_true(counts(old));
	new = beside(second, old);
	fixture_must(kernel_take_over(new, &e), &e);
	assert_false(counts(old));
	fixture_must(kernel_remove(&new, &e), &e);
	assert_true(counts(old));
	assert_int_equal(fixture_programs("on_xdp_all", 1), 1);
	kernel_close(&old);
	bool adopted = false;
	fixture_must(kernel_adopt(&host, first, &adopted, &old, &e), &e);
	assert_true(adopted);
	assert_int_equal(link_id(old, 0), id);
	ends(old);
}

/* One of two links was changed by another hand meanwhile: the first must not stay with the new program. */
static void link_that_does_not_swap_leaves_all_as_they_were(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
	OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
	OWN_FD int tap = fixture_interface("obstest0", 77);
	struct kernel_bundle *old = fixture_started(&host, first), *new = beside(second, old);
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 2}, {.code = BPF_JMP | BPF_EXIT}};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_XDP);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(old->progs[0].attachment_count, 2);
	OWN_FD int other = bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", insns, 2, &opts);
	assert_true(other >= 0);
	assert_int_equal(old->progs[0].attachments[1].ifindex, 77);
	assert_int_equal(bpf_link_update(old->progs[0].attachments[1].fd, other, NULL), 0);
	assert_int_equal(kernel_take_over(new, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	assert_non_null(strstr(e.frame[0], "replacing the XDP program on interface 77"));
	assert_true(counts(old));
	fixture_must(kernel_remove(&new, &e), &e);
	assert_true(counts(old));
	ends(old);
}

/* The interface of a shared link vanishes: no reason to fail. */
static void interface_that_vanishes_meanwhile_is_no_failure(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
	OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
	OWN_FD int tap = fixture_interface("obstest0", 77);
	struct kernel_bundle *old = fixture_started(&host, first), *new = beside(second, old);
	struct err e = ERR_INIT;

	(void)state;
	close(TAKE_FD(tap));
	fixture_must(kernel_take_over(new, &e), &e);
	kernel_settle(new);
	fixture_must(kernel_remove(&old, &e), &e);
	kernel_interface_drop(new, 77);
	assert_int_equal(new->progs[0].attachment_count, 1);
	assert_true(counts(new));
	ends(new);
}

static void second_program_for_one_hook_is_refused_as_at_an_install(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle_of(OLD, "xdp_two");
	OWN(verified_bundle) struct verified_bundle *second = bundle_of(NEW, "xdp_two");
	struct kernel_bundle *old = fixture_started(&host, first), *new = beside(second, old);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(fixture_program(old, "on_xdp_second")->state, KERNEL_UNAVAILABLE);
	assert_int_equal(fixture_program(new, "on_xdp_first")->state, KERNEL_ATTACHED);
	assert_int_equal(fixture_program(new, "on_xdp_second")->state, KERNEL_UNAVAILABLE);
	fixture_must(kernel_take_over(new, &e), &e);
	kernel_settle(new);
	fixture_must(kernel_remove(&old, &e), &e);
	uint64_t before = fixture_hits(new, "xdp_two", 0);
	fixture_connect();
	assert_true(fixture_hits(new, "xdp_two", 0) > before);
	fixture_must(kernel_remove(&new, &e), &e);
	assert_int_equal(fixture_programs("on_xdp_", 0), 0);
	assert_false(fixture_pins_left());
}

/* ---- crashes ---- */

enum step { ATTACHED, PINNED, TAKEN_OVER, STEPS };

/* The daemon, which dies after a step. */
static void upgrade_until(enum step last, const struct kernel_bundle *old, const struct verified_bundle *second)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		struct kernel_bundle *kb = NULL;
		if (kernel_load(&host, second, &kb, NULL) || kernel_attach_beside(kb, old, NULL) ||
		    (last >= PINNED && kernel_pin(kb, NULL)) || (last >= TAKEN_OVER && kernel_take_over(kb, NULL)))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void crash_before_it_counts_leaves_the_old_one(void **state)
{
	(void)state;
	for (enum step last = ATTACHED; last < STEPS; last++) {
		OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
		OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
		struct kernel_bundle *old = fixture_started(&host, first);
		uint32_t id = link_id(old, 0);
		struct err e = ERR_INIT;
		bool adopted = false;

		upgrade_until(last, old, second);
		kernel_close(&old);
		/* As a start does it, where state.json names the old one. */
		fixture_must(kernel_remove_pins(&host, "test/kernel", NEW, &e), &e);
		fixture_must(kernel_adopt(&host, first, &adopted, &old, &e), &e);
		assert_true(adopted);
		assert_true(counts(old));
		assert_int_equal(link_id(old, 0), id);
		assert_int_equal(fixture_programs("on_xdp_all", 1), 1);
		ends(old);
	}
}

static void crash_after_it_counts_leaves_the_new_one(void **state)
{
	OWN(verified_bundle) struct verified_bundle *first = bundle(OLD);
	OWN(verified_bundle) struct verified_bundle *second = bundle(NEW);
	struct kernel_bundle *old = fixture_started(&host, first), *new = NULL;
	uint32_t id = link_id(old, 0);
	struct err e = ERR_INIT;
	bool adopted = false;

	(void)state;
	upgrade_until(TAKEN_OVER, old, second);
	kernel_close(&old);
	/* As a start does it, where state.json names the new one. */
	fixture_must(kernel_remove_pins(&host, "test/kernel", OLD, &e), &e);
	fixture_must(kernel_adopt(&host, second, &adopted, &new, &e), &e);
	assert_true(adopted);
	assert_true(counts(new));
	assert_int_equal(link_id(new, 0), id);
	assert_int_equal(fixture_programs("on_xdp_all", 1), 1);
	ends(new);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(upgrade_swaps_the_program_of_the_link),
	    cmocka_unit_test(upgrade_that_fails_gives_the_link_back),
	    cmocka_unit_test(link_that_does_not_swap_leaves_all_as_they_were),
	    cmocka_unit_test(interface_that_vanishes_meanwhile_is_no_failure),
	    cmocka_unit_test(second_program_for_one_hook_is_refused_as_at_an_install),
	    cmocka_unit_test(crash_before_it_counts_leaves_the_old_one),
	    cmocka_unit_test(crash_after_it_counts_leaves_the_new_one),
	};

	fixture_host(&host);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests_name("monitor_upgrade", tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
