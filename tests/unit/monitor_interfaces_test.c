/* Interfaces that come and go while programs run: what is attached, pinned, dropped and told. */
#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "loader/monitor/interfaces.h"
#include "loader/monitor/kernel_impl.h"
#include "tests/unit/kernel_fixture.h"

enum { INDEX = 77, SLOT = 1 };

static struct kernel_host host;

static void tell(struct kernel_bundle *kb)
{
	struct err e = ERR_INIT;

	kernel_interface_drop(kb, INDEX);
	fixture_must(kernel_interface_attach(kb, INDEX, &e), &e);
}

/* A frame that comes in at the interface. */
static bool sees(const struct kernel_bundle *kb, const char *object, int tap)
{
	const uint8_t frame[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
	uint64_t before = fixture_hits(kb, object, SLOT);

	for (int tries = 0; tries < 100; tries++) {
		assert_int_equal(write(tap, frame, sizeof(frame)), sizeof(frame));
		if (fixture_hits(kb, object, SLOT) > before)
			return true;
		usleep(10000);
	}
	return false;
}

/* Files of a folder of pins. */
static unsigned files(const char *folder)
{
	char path[PATH_MAX];
	unsigned count = 0;

	snprintf(path, sizeof(path), "%s/test/kernel/7/%s", host.pin_root, folder);
	DIR *dir = opendir(path);
	for (struct dirent *at; dir && (at = readdir(dir));)
		count += at->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return count;
}

static struct kernel_bundle *adopted(const struct verified_bundle *bundle)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;
	bool done = false;

	fixture_must(kernel_adopt(&host, bundle, &done, &kb, &e), &e);
	assert_true(done);
	return kb;
}

static void ends(struct kernel_bundle *kb, const char *name)
{
	struct err e = ERR_INIT;

	fixture_must(kernel_remove(&kb, &e), &e);
	assert_int_equal(fixture_programs(name, 0), 0);
	assert_false(fixture_pins_left());
}

struct kind {
	const char *object, *program, *folder;
};

static struct kind xdp_all = {"xdp_all", "on_xdp_all", "links"};
static struct kind tc_all = {"tc_all", "on_tc_all", "tc"};
static struct kind xdp_named = {"xdp_named", "on_xdp_named", "links"};
static struct kind tc_named = {"tc_named", "on_tc_named", "tc"};
static struct kind socket_named = {"socket_named", "on_socket_named", NULL};

static bool lacks(const struct kind *k)
{
	return k->folder && strcmp(k->folder, "tc") == 0 && fixture_no_tc();
}

/* ---- all interfaces ---- */

static void late_interface_is_attached_and_outlives_the_process(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = fixture_started(&host, bundle);

	assert_int_equal(files(k->folder), 1); /* lo */
	OWN_FD int tap = fixture_interface_down("obstest0", INDEX);
	tell(kb);
	assert_int_equal(files(k->folder), 1);
	fixture_set_up("obstest0");
	tell(kb);
	assert_true(sees(kb, k->object, tap));
	assert_int_equal(files(k->folder), 2);
	tell(kb);
	assert_int_equal(files(k->folder), 2);
	kernel_close(&kb);
	kb = adopted(bundle);
	assert_true(sees(kb, k->object, tap));
	ends(kb, k->program);
}

static void interface_that_vanished_leaves_nothing(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	char note[PATH_MAX];

	snprintf(note, sizeof(note), "%s/+clsact/%d", host.pin_root, INDEX);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	tell(kb);
	assert_int_equal(files(k->folder), 2);
	assert_int_equal(access(note, F_OK), strcmp(k->folder, "tc") == 0 ? 0 : -1);
	close(TAKE_FD(tap));
	tell(kb);
	assert_int_equal(files(k->folder), 1);
	assert_int_equal(access(note, F_OK), -1);
	/* While nobody looked. */
	tap = fixture_interface("obstest0", INDEX);
	tell(kb);
	kernel_close(&kb);
	close(TAKE_FD(tap));
	kb = adopted(bundle);
	assert_int_equal(files(k->folder), 1);
	assert_int_equal(access(note, F_OK), -1);
	ends(kb, k->program);
}

static void index_of_another_device_is_attached_anew(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);

	tell(kb);
	assert_true(sees(kb, k->object, tap));
	close(TAKE_FD(tap));
	tap = fixture_interface("obstest1", INDEX);
	tell(kb);
	assert_true(sees(kb, k->object, tap));
	assert_int_equal(files(k->folder), 2);
	/* The same while nobody looked. */
	kernel_close(&kb);
	close(TAKE_FD(tap));
	tap = fixture_interface("obstest2", INDEX);
	kb = adopted(bundle);
	assert_int_equal(files(k->folder), 1);
	tell(kb);
	assert_true(sees(kb, k->object, tap));
	ends(kb, k->program);
}

/* Killed right after; or between the record of a filter and the filter. */
static void late_attachment_of_a_killed_process_is_found(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	int status;

	pid_t child = fork();
	if (child == 0) {
		kernel_interface_drop(kb, INDEX);
		_exit(kernel_interface_attach(kb, INDEX, NULL) ? 1 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	kernel_close(&kb);
	kb = adopted(bundle);
	assert_true(sees(kb, k->object, tap));
	assert_int_equal(files(k->folder), 2);
	if (strcmp(k->folder, "tc") == 0) {
		char path[PATH_MAX];
		snprintf(path, sizeof(path), "%s/test/kernel/7/tc/tc_all:on_tc_all:%d:i:9", host.pin_root, INDEX);
		assert_int_equal(bpf_obj_pin(kb->progs[0].fd, path), 0);
		kernel_close(&kb);
		kb = adopted(bundle);
		assert_int_equal(files(k->folder), 2);
		assert_true(sees(kb, k->object, tap));
	}
	ends(kb, k->program);
}

static void socket_of_all_interfaces_sees_those_to_come(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("socket_all");
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);

	(void)state;
	assert_true(sees(kb, "socket_all", tap));
	ends(kb, "on_socket_all");
}

/* ---- refusals ---- */

static void refusal_of_one_interface_is_told_once_and_harms_no_other(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("xdp_all");
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	const struct kernel_program *p = fixture_program(kb, "on_xdp_all");
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	OWN_FD int other = fixture_other_xdp(INDEX);
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(kernel_interface_attach(kb, INDEX, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	assert_non_null(strstr(e.frame[0], "obstest0, which has another XDP program"));
	assert_non_null(strstr(p->interfaces, "not on obstest0: xdp on interface obstest0, which has another XDP"));
	assert_int_equal(kernel_interface_attach(kb, INDEX, &e), 0);
	assert_int_equal(p->state, KERNEL_ATTACHED);
	uint64_t before = fixture_hits(kb, "xdp_all", 0);
	fixture_connect();
	assert_true(fixture_hits(kb, "xdp_all", 0) > before);
	close(TAKE_FD(other));
	fixture_must(kernel_interface_attach(kb, INDEX, &e), &e);
	assert_string_equal(p->interfaces, "");
	assert_true(sees(kb, "xdp_all", tap));
	ends(kb, "on_xdp_all");
}

static void interface_that_refuses_at_the_start_is_left_out(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("xdp_all");
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	OWN_FD int other = fixture_other_xdp(INDEX);
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	const struct kernel_program *p = fixture_program(kb, "on_xdp_all");

	(void)state;
	assert_non_null(strstr(p->interfaces, "not on obstest0: "));
	close(TAKE_FD(tap));
	tell(kb);
	assert_string_equal(p->interfaces, "");
	ends(kb, "on_xdp_all");
}

static void count_interface(void *ctx, int index)
{
	*(unsigned *)ctx += index == INDEX;
}

static void interfaces_of_a_bundle_are_told(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of("xdp_all");
	struct kernel_bundle *kb = fixture_started(&host, bundle);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	unsigned count = 0;

	(void)state;
	tell(kb);
	kernel_each_interface(kb, true, count_interface, &count);
	assert_int_equal(count, 0);
	kernel_each_interface(kb, false, count_interface, &count);
	assert_int_equal(count, 1);
	ends(kb, "on_xdp_all");
}

/* ---- a named interface ---- */

static void named_interface_is_waited_for(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	OWN_FD int other = -1;
	struct kernel_bundle *kb = fixture_started(&host, bundle);

	assert_true(sees(kb, k->object, tap));
	close(TAKE_FD(tap));
	tell(kb);
	assert_string_equal(fixture_program(kb, k->program)->interfaces, "waits for obstest0 to be up");
	other = fixture_interface("obstest1", INDEX); /* another one is none of its */
	tell(kb);
	assert_string_equal(fixture_program(kb, k->program)->interfaces, "waits for obstest0 to be up");
	kernel_close(&kb);
	kb = adopted(bundle);
	assert_string_equal(fixture_program(kb, k->program)->interfaces, "waits for obstest0 to be up");
	close(TAKE_FD(other));
	tap = fixture_interface("obstest0", INDEX);
	tell(kb);
	assert_string_equal(fixture_program(kb, k->program)->interfaces, "");
	assert_true(sees(kb, k->object, tap));
	ends(kb, k->program);
}

/* As after a boot, before the interface is made. */
static void named_interface_may_be_missing_at_a_start_only(void **state)
{
	const struct kind *k = *state;
	if (lacks(k))
		return;
	OWN(verified_bundle) struct verified_bundle *bundle = fixture_bundle_of(k->object);
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	assert_int_equal(kernel_attach(kb, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_ATTACH);
	kernel_close(&kb);
	fixture_must(kernel_load(&host, bundle, &kb, &e), &e);
	fixture_must(kernel_attach_again(kb, &e), &e);
	fixture_must(kernel_pin(kb, &e), &e);
	assert_string_equal(fixture_program(kb, k->program)->interfaces, "waits for obstest0 to be up");
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	tell(kb);
	assert_true(sees(kb, k->object, tap));
	kernel_close(&kb);
	kb = adopted(bundle);
	assert_true(sees(kb, k->object, tap));
	ends(kb, k->program);
}

/* ---- what rtnetlink tells ---- */

static void queue_keeps_each_index_once(void **state)
{
	static struct interfaces i = INTERFACES_INIT;
	int index;

	(void)state;
	assert_true(interfaces_add(&i, 5));
	assert_true(interfaces_add(&i, 6));
	assert_true(interfaces_add(&i, 5));
	assert_true(interfaces_next(&i, &index));
	assert_int_equal(index, 5);
	assert_true(interfaces_next(&i, &index));
	assert_int_equal(index, 6);
	assert_false(interfaces_next(&i, &index));
	for (int n = 0; n < INTERFACES_QUEUE; n++)
		assert_true(interfaces_add(&i, n));
	assert_false(interfaces_add(&i, INTERFACES_QUEUE));
	assert_true(interfaces_add(&i, 7));
}

struct message {
	struct nlmsghdr header;
	struct ifinfomsg info;
};

static bool marks_all(const void *message, size_t size)
{
	static struct interfaces i;

	i = (struct interfaces)INTERFACES_INIT;
	interfaces_message(&i, message, size);
	return i.all;
}

static void message_that_is_broken_counts_as_all(void **state)
{
	struct message m = {.header = {.nlmsg_len = sizeof(m), .nlmsg_type = RTM_NEWLINK}, .info.ifi_index = 9};
	static struct interfaces i = INTERFACES_INIT;

	(void)state;
	assert_false(marks_all(&m, sizeof(m)));
	assert_true(marks_all(&m, sizeof(m) - 1));
	assert_true(marks_all(&m, 3));
	m.header.nlmsg_len = sizeof(m) - 8;
	assert_true(marks_all(&m, sizeof(m)));
	m.header.nlmsg_len = UINT32_MAX;
	assert_true(marks_all(&m, sizeof(m)));
	m.header.nlmsg_len = sizeof(m);
	m.header.nlmsg_type = RTM_NEWADDR;
	interfaces_message(&i, &m, sizeof(m));
	assert_int_equal(i.count, 0);
	m.header.nlmsg_type = RTM_DELLINK;
	interfaces_message(&i, &m, sizeof(m));
	assert_int_equal(i.count, 1);
	assert_int_equal(i.queue[0], 9);
}

static void link_changes_are_heard_and_lost_ones_count_as_all(void **state)
{
	static struct interfaces i = INTERFACES_INIT;
	struct loop loop = LOOP_INIT;
	struct err e = ERR_INIT;
	int index, tiny = 1;
	bool heard = false;

	(void)state;
	fixture_must(loop_open(&loop, &e), &e);
	fixture_must(interfaces_open(&i, &loop, &e), &e);
	assert_true(i.all);
	fixture_must(interfaces_list(&i, &e), &e);
	assert_false(i.all);
	while (interfaces_next(&i, &index))
		heard |= index == 1;
	assert_true(heard); /* lo */
	OWN_FD int tap = fixture_interface("obstest0", INDEX);
	fixture_must(loop_wait(&loop, 5000, &e), &e);
	assert_true(interfaces_next(&i, &index));
	assert_int_equal(index, INDEX);
	assert_false(i.all);
	assert_int_equal(setsockopt(i.source.fd, SOL_SOCKET, SO_RCVBUF, &tiny, sizeof(tiny)), 0);
	for (int n = 0; n < 100; n++) {
		close(TAKE_FD(tap));
		tap = fixture_interface("obstest0", INDEX);
	}
	for (int n = 0; n < 100 && !i.all; n++)
		fixture_must(loop_wait(&loop, 0, &e), &e);
	assert_true(i.all);
	interfaces_close(&i);
	loop_close(&loop);
}

#define WITH(f, kind)                                                                                                  \
	{                                                                                                              \
		.name = #f "_" #kind, .test_func = (f), .initial_state = &(kind)                                       \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    WITH(late_interface_is_attached_and_outlives_the_process, xdp_all),
	    WITH(late_interface_is_attached_and_outlives_the_process, tc_all),
	    WITH(interface_that_vanished_leaves_nothing, xdp_all),
	    WITH(interface_that_vanished_leaves_nothing, tc_all),
	    WITH(index_of_another_device_is_attached_anew, xdp_all),
	    WITH(index_of_another_device_is_attached_anew, tc_all),
	    WITH(late_attachment_of_a_killed_process_is_found, xdp_all),
	    WITH(late_attachment_of_a_killed_process_is_found, tc_all),
	    cmocka_unit_test(socket_of_all_interfaces_sees_those_to_come),
	    cmocka_unit_test(refusal_of_one_interface_is_told_once_and_harms_no_other),
	    cmocka_unit_test(interface_that_refuses_at_the_start_is_left_out),
	    cmocka_unit_test(interfaces_of_a_bundle_are_told),
	    WITH(named_interface_is_waited_for, xdp_named),
	    WITH(named_interface_is_waited_for, tc_named),
	    WITH(named_interface_is_waited_for, socket_named),
	    WITH(named_interface_may_be_missing_at_a_start_only, xdp_named),
	    WITH(named_interface_may_be_missing_at_a_start_only, tc_named),
	    WITH(named_interface_may_be_missing_at_a_start_only, socket_named),
	    cmocka_unit_test(queue_keeps_each_index_once),
	    cmocka_unit_test(message_that_is_broken_counts_as_all),
	    cmocka_unit_test(link_changes_are_heard_and_lost_ones_count_as_all),
	};

	fixture_host(&host);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	int failed = cmocka_run_group_tests_name("monitor_interfaces", tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
