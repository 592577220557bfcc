/* What each role may and may not do: tried in a child that gave its privileges up as the role does. Needs root. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "loader/sandbox/instrumented.h"
#include "loader/sandbox/sandbox.h"

enum { STRICT = !SANDBOX_INSTRUMENTED };

enum { UID = 64911, SETUP_FAILED = 99, KILLED = 1000 };

typedef int attempt(void); /* 0: it worked, else errno */

static int enter(enum sandbox_role role)
{
	struct err e = ERR_INIT;

	if (role == SANDBOX_MONITOR ? sandbox_capabilities(role, &e) : sandbox_identity(UID, UID, &e))
		return -1;
	return sandbox_enter(role, &e);
}

/* errno of the attempt in a child of that role, KILLED if seccomp ended it. */
static int outcome(enum sandbox_role role, attempt *try)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(enter(role) ? SETUP_FAILED : try());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	assert_int_not_equal(WEXITSTATUS(status), SETUP_FAILED);
	return WEXITSTATUS(status);
}

static int result(long rc)
{
	return rc < 0 ? errno : 0;
}

static int try_nothing(void)
{
	return 0;
}

static int try_open_etc(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int try_create(void)
{
	return result(open("/tmp/obs-sandbox-test", O_WRONLY | O_CREAT, 0600));
}

static int try_bpf(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = attr.value_size = 4;
	attr.max_entries = 1;
	return result(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int try_inet(void)
{
	return result(socket(AF_INET, SOCK_STREAM, 0));
}

static int try_packet(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_netlink(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
}

static int try_memory_of_parent(void)
{
	char here[8], *there = here;
	struct iovec local = {here, sizeof(here)}, remote = {there, sizeof(here)};

	return result(process_vm_readv(getppid(), &local, 1, &remote, 1, 0));
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_SEIZE, 1, NULL, NULL));
}

static int try_exec(void)
{
	char *const args[] = {(char *)"true", NULL};

	return result(execv("/bin/true", args));
}

static int try_fork(void)
{
	return result(fork());
}

static int try_executable_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? errno : 0;
}

static int try_setuid(void)
{
	return result(setuid(0));
}

static int try_mount(void)
{
	return result(syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL));
}

static int try_memfd(void)
{
	return result(memfd_create("x", MFD_CLOEXEC));
}

static int try_perf(void)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK, .disabled = 1};

	return result(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
}

static void unprivileged(enum sandbox_role role)
{
	assert_int_equal(outcome(role, try_nothing), 0);
	assert_int_equal(outcome(role, try_open_etc), EACCES);
	assert_int_equal(outcome(role, try_create), EACCES);
	attempt *const hostile[] = {try_memory_of_parent, try_exec, try_setuid, try_mount};
	for (size_t i = 0; i < ARRAY_LEN(hostile); i++)
		assert_int_equal(outcome(role, hostile[i]), KILLED);
}

static void skip_unless_strict(void)
{
	if (STRICT)
		return;
	print_message("an instrumented build allows what is not listed: run this in a build without SAN or VALGRIND\n");
	skip();
}

static void unlisted(enum sandbox_role role)
{
	attempt *const calls[] = {try_bpf,  try_inet,   try_packet, try_netlink,
				  try_perf, try_ptrace, try_fork,   try_executable_memory};

	skip_unless_strict();
	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		assert_int_equal(outcome(role, calls[i]), KILLED);
}

static void worker_tries_what_attackers_want_is_refused(void **state)
{
	(void)state;
	unprivileged(SANDBOX_WORKER);
}

static void worker_tries_unlisted_calls_dies(void **state)
{
	(void)state;
	unlisted(SANDBOX_WORKER);
	assert_int_equal(outcome(SANDBOX_WORKER, try_memfd), KILLED);
}

static void unpacker_tries_what_attackers_want_is_refused(void **state)
{
	(void)state;
	unprivileged(SANDBOX_UNPACKER);
	assert_int_equal(outcome(SANDBOX_UNPACKER, try_memfd), 0);
}

static void unpacker_tries_unlisted_calls_dies(void **state)
{
	(void)state;
	unlisted(SANDBOX_UNPACKER);
}

static void monitor_tries_what_it_does_not_need_is_refused(void **state)
{
	attempt *const deadly[] = {try_exec, try_memory_of_parent, try_setuid, try_mount};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
		assert_int_equal(outcome(SANDBOX_MONITOR, deadly[i]), KILLED);
}

static void monitor_tries_unlisted_calls_is_refused(void **state)
{
	(void)state;
	skip_unless_strict();
	assert_int_equal(outcome(SANDBOX_MONITOR, try_ptrace), KILLED);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_fork), EPERM);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_inet), EPERM);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_packet), EPERM);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_perf), EPERM);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_executable_memory), EPERM);
}

static void monitor_does_its_work_is_allowed(void **state)
{
	(void)state;
	assert_int_equal(outcome(SANDBOX_MONITOR, try_bpf), 0);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_netlink), 0);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_open_etc), 0);
	assert_int_equal(outcome(SANDBOX_MONITOR, try_memfd), 0);
}

/* ---- Landlock by itself: seccomp would answer first ---- */

enum { NO_LANDLOCK = 98 };

static int behind_landlock(void)
{
	struct err e = ERR_INIT;
	bool enforced;

	if (sandbox_identity(UID, UID, &e) || sandbox_landlock(&enforced, &e))
		return SETUP_FAILED;
	if (!enforced)
		return NO_LANDLOCK;
	if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
		return 1;
	if (open("/home", O_RDONLY | O_DIRECTORY) >= 0 || errno != EACCES)
		return 2;
	if (open("/tmp/obs-sandbox-test", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EACCES)
		return 3;
	return 0;
}

static void landlock_denies_etc_and_home(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(behind_landlock());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_LANDLOCK) {
		print_message("this kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- capabilities ---- */

static int capability_sets(void)
{
	cap_t caps = cap_get_proc();

	for (cap_value_t cap = 0; cap < (cap_value_t)cap_max_bits(); cap++) {
		cap_flag_value_t permitted, effective, inheritable;
		if (cap_get_flag(caps, cap, CAP_PERMITTED, &permitted) ||
		    cap_get_flag(caps, cap, CAP_EFFECTIVE, &effective) ||
		    cap_get_flag(caps, cap, CAP_INHERITABLE, &inheritable))
			return 1;
		if (permitted || effective || inheritable || cap_get_bound(cap) != 0 || cap_get_ambient(cap) != 0)
			return 2;
	}
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && getuid() == UID && getgid() == UID &&
		       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
		   ? 0
		   : 3;
}

static void identity_gives_everything_up(void **state)
{
	struct err e = ERR_INIT;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(sandbox_identity(UID, UID, &e) ? SETUP_FAILED : capability_sets());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void identity_of_root_is_refused(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(sandbox_identity(0, UID, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(sandbox_identity(UID, 0, &e), -1);
}

static void capabilities_of_a_poor_process_say_which_is_missing(void **state)
{
	struct err e = ERR_INIT;
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		if (sandbox_identity(UID, UID, &e))
			_exit(SETUP_FAILED);
		_exit(sandbox_capabilities(SANDBOX_MONITOR, &e) == -1 && e.code == ERR_KERNEL_NO_BPF &&
			      strstr(e.frame[0], "cap_")
			  ? 0
			  : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Of the kernel, not of the code under test: Debian's setting, and uprobes without links of their own. */
static bool perf_needs_admin(void)
{
	OWN_FILE FILE *f = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	struct utsname name;
	unsigned major, minor;
	int paranoid;

	assert_int_equal(uname(&name), 0);
	assert_int_equal(sscanf(name.release, "%u.%u", &major, &minor), 2);
	return (f && fscanf(f, "%d", &paranoid) == 1 && paranoid > 2) || major * 100 + minor < 606;
}

/* Exactly these are effective, and the monitor's may be had again by exec. */
static int supervisor_sets(bool without_admin)
{
	const cap_value_t admin = CAP_SYS_ADMIN;
	cap_value_t perf = perf_needs_admin() && !without_admin ? CAP_SYS_ADMIN : CAP_PERFMON;
	const cap_value_t own[] = {CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_NET_RAW, CAP_SETPCAP, perf};
	const cap_value_t monitors[] = {CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH};
	struct err e = ERR_INIT;
	cap_t caps = cap_get_proc();

	if (without_admin && (cap_set_flag(caps, CAP_PERMITTED, 1, &admin, CAP_CLEAR) ||
			      cap_set_flag(caps, CAP_EFFECTIVE, 1, &admin, CAP_CLEAR) || cap_set_proc(caps)))
		return SETUP_FAILED;
	if (sandbox_capabilities(SANDBOX_SUPERVISOR, &e))
		return SETUP_FAILED;
	caps = cap_get_proc();
	for (cap_value_t cap = 0; cap < (cap_value_t)cap_max_bits(); cap++) {
		cap_flag_value_t effective = CAP_CLEAR;
		bool mine = false, bound = false;
		for (size_t i = 0; i < ARRAY_LEN(own); i++)
			mine |= own[i] == cap;
		for (size_t i = 0; i < ARRAY_LEN(monitors); i++)
			bound |= monitors[i] == cap;
		if (cap_get_flag(caps, cap, CAP_EFFECTIVE, &effective) || (effective == CAP_SET) != mine)
			return 1;
		if ((cap_get_bound(cap) == 1) != (mine || bound))
			return 2;
	}
	return sandbox_bounding(SANDBOX_MONITOR, &e) || cap_get_bound(CAP_SYS_ADMIN) || cap_get_bound(CAP_SETUID) ? 3
														  : 0;
}

static void supervisor_has_the_perf_capability_of_this_kernel(void **state)
{
	(void)state;
	for (int without_admin = 0; without_admin < 2; without_admin++) {
		int status;
		pid_t pid = fork();
		if (pid == 0)
			_exit(supervisor_sets(without_admin));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(worker_tries_what_attackers_want_is_refused),
	    cmocka_unit_test(worker_tries_unlisted_calls_dies),
	    cmocka_unit_test(unpacker_tries_what_attackers_want_is_refused),
	    cmocka_unit_test(unpacker_tries_unlisted_calls_dies),
	    cmocka_unit_test(monitor_tries_what_it_does_not_need_is_refused),
	    cmocka_unit_test(monitor_tries_unlisted_calls_is_refused),
	    cmocka_unit_test(monitor_does_its_work_is_allowed),
	    cmocka_unit_test(supervisor_has_the_perf_capability_of_this_kernel),
	    cmocka_unit_test(landlock_denies_etc_and_home),
	    cmocka_unit_test(identity_gives_everything_up),
	    cmocka_unit_test(identity_of_root_is_refused),
	    cmocka_unit_test(capabilities_of_a_poor_process_say_which_is_missing),
	};

	if (geteuid() != 0) {
		print_error("[  FAILED  ] sandbox_needs_root\n");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
