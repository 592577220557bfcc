#include "loader/sandbox/sandbox.h"

#include <linux/netlink.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "loader/sandbox/instrumented.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif

/* What a tool's runtime calls is nobody's promise: only what is hostile is refused then. */
enum { STRICT = !SANDBOX_INSTRUMENTED };

#define CALL(name) SCMP_SYS(name)

/* Memory, time, waiting, and the descriptors that a process already has. */
static const int common_calls[] = {
    CALL(brk),          CALL(munmap),        CALL(mremap),          CALL(madvise),
    CALL(close),        CALL(read),          CALL(write),           CALL(readv),
    CALL(writev),       CALL(pread64),       CALL(lseek),           CALL(fstat),
    CALL(fcntl),        CALL(sendmsg),       CALL(recvmsg),         CALL(sendto),
    CALL(recvfrom),     CALL(poll),          CALL(ppoll),           CALL(futex),
    CALL(getrandom),    CALL(clock_gettime), CALL(clock_getres),    CALL(clock_nanosleep),
    CALL(nanosleep),    CALL(gettimeofday),  CALL(rt_sigaction),    CALL(rt_sigprocmask),
    CALL(rt_sigreturn), CALL(sigaltstack),   CALL(restart_syscall), CALL(exit),
    CALL(exit_group),   CALL(getpid),        CALL(gettid),          CALL(tgkill),
    CALL(sched_yield),  CALL(rseq),          CALL(set_robust_list), CALL(uname),
    CALL(membarrier),
};

static const int worker_calls[] = {
    CALL(epoll_create1),  CALL(epoll_ctl),       CALL(epoll_wait),      CALL(epoll_pwait), CALL(epoll_pwait2),
    CALL(timerfd_create), CALL(timerfd_settime), CALL(timerfd_gettime), CALL(eventfd2),    CALL(signalfd4),
    CALL(accept4),        CALL(shutdown),        CALL(getsockopt),      CALL(setsockopt),  CALL(getsockname),
    CALL(getpeername),    CALL(getuid),          CALL(geteuid),         CALL(getgid),      CALL(getegid),
    CALL(sysinfo),        CALL(getrusage),
};

static const int unpacker_calls[] = {CALL(memfd_create)};

static const int monitor_calls[] = {
    CALL(bpf),
    CALL(ioctl),
    CALL(openat),
    CALL(openat2),
    CALL(open),
    CALL(newfstatat),
    CALL(statx),
    CALL(stat),
    CALL(lstat),
    CALL(access),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(readlink),
    CALL(readlinkat),
    CALL(statfs),
    CALL(fstatfs),
    CALL(getdents64),
    CALL(getcwd),
    CALL(mkdir),
    CALL(mkdirat),
    CALL(unlink),
    CALL(unlinkat),
    CALL(rmdir),
    CALL(rename),
    CALL(renameat),
    CALL(renameat2),
    CALL(fsync),
    CALL(fdatasync),
    CALL(fchmod),
    CALL(fchmodat),
    CALL(ftruncate),
    CALL(pwrite64),
    CALL(flock),
    CALL(umask),
    CALL(dup),
    CALL(dup2),
    CALL(dup3),
    CALL(epoll_create1),
    CALL(epoll_ctl),
    CALL(epoll_wait),
    CALL(epoll_pwait),
    CALL(epoll_pwait2),
    CALL(timerfd_create),
    CALL(timerfd_settime),
    CALL(eventfd2),
    CALL(signalfd4),
    CALL(memfd_create),
    CALL(accept4),
    CALL(bind),
    CALL(getsockopt),
    CALL(setsockopt),
    CALL(getsockname),
    CALL(getpeername),
    CALL(shutdown),
    CALL(getuid),
    CALL(geteuid),
    CALL(getgid),
    CALL(getegid),
    CALL(getppid),
    CALL(sysinfo),
    CALL(getrusage),
    CALL(getrlimit),
    CALL(setrlimit),
    CALL(prlimit64),
    CALL(sched_getaffinity),
    CALL(capget),
    CALL(name_to_handle_at),
    CALL(pidfd_open),
};

/* For an attacker and nobody else: the process dies, whatever its default is. */
static const int hostile_calls[] = {
    CALL(execve),
    CALL(execveat),
    CALL(fork),
    CALL(vfork),
#ifndef SANDBOX_ASAN
    CALL(ptrace), /* the leak sanitizer stops its own process with it */
#endif
    CALL(process_vm_readv),
    CALL(process_vm_writev),
    CALL(init_module),
    CALL(finit_module),
    CALL(delete_module),
    CALL(kexec_load),
    CALL(kexec_file_load),
    CALL(reboot),
    CALL(mount),
    CALL(umount2),
    CALL(pivot_root),
    CALL(chroot),
    CALL(setns),
    CALL(unshare),
    CALL(swapon),
    CALL(setuid),
    CALL(setgid),
    CALL(setreuid),
    CALL(setregid),
    CALL(setresuid),
    CALL(setresgid),
    CALL(setgroups),
    CALL(capset),
    CALL(keyctl),
    CALL(add_key),
    CALL(request_key),
    CALL(userfaultfd),
    CALL(io_uring_setup),
    CALL(open_by_handle_at),
    CALL(pidfd_getfd),
    CALL(kill),
};

/* Looked for by libraries (time zones, locales, host names): an answer, not death. */
static const int opening_calls[] = {
    CALL(open),      CALL(openat),     CALL(openat2),  CALL(stat),       CALL(lstat),  CALL(statx),  CALL(access),
    CALL(faccessat), CALL(faccessat2), CALL(readlink), CALL(readlinkat), CALL(statfs), CALL(getcwd),
};

static void release(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int rules(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t count, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		int rc = seccomp_rule_add(ctx, action, calls[i], 0);
		if (rc) {
			errno = -rc;
			return err_errno(e, ERR_INTERNAL, "seccomp rule for call %d", calls[i]);
		}
	}
	return 0;
}

static int rule_arg(scmp_filter_ctx ctx, uint32_t action, int call, struct scmp_arg_cmp cmp, struct err *e)
{
	int rc = seccomp_rule_add(ctx, action, call, 1, cmp);

	if (rc) {
		errno = -rc;
		return err_errno(e, ERR_INTERNAL, "seccomp rule for call %d", call);
	}
	return 0;
}

/* No memory ever becomes executable: mmap and mprotect only without PROT_EXEC. */
static int rules_common(scmp_filter_ctx ctx, struct err *e)
{
	const struct scmp_arg_cmp no_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);

	if (rules(ctx, SCMP_ACT_ALLOW, common_calls, ARRAY_LEN(common_calls), e) ||
	    rule_arg(ctx, SCMP_ACT_ALLOW, CALL(mmap), no_exec, e) ||
	    rule_arg(ctx, SCMP_ACT_ALLOW, CALL(mprotect), no_exec, e))
		return -1;
	return 0;
}

static int rules_unprivileged(scmp_filter_ctx ctx, enum sandbox_role role, struct err *e)
{
	/* glibc's fstat is newfstatat with an empty path. */
	if (rule_arg(ctx, SCMP_ACT_ALLOW, CALL(newfstatat), SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH), e) ||
	    rule_arg(ctx, SCMP_ACT_ERRNO(EACCES), CALL(newfstatat), SCMP_A3(SCMP_CMP_NE, AT_EMPTY_PATH), e) ||
	    rules(ctx, SCMP_ACT_ERRNO(EACCES), opening_calls, ARRAY_LEN(opening_calls), e))
		return -1;
	if (role == SANDBOX_WORKER)
		return rules(ctx, SCMP_ACT_ALLOW, worker_calls, ARRAY_LEN(worker_calls), e);
	return rules(ctx, SCMP_ACT_ALLOW, unpacker_calls, ARRAY_LEN(unpacker_calls), e);
}

/* Sockets of the monitor: netlink for tc and xdp, and the Unix datagram one of if_nametoindex(3). */
static int rules_monitor(scmp_filter_ctx ctx, struct err *e)
{
	if (rules(ctx, SCMP_ACT_ALLOW, monitor_calls, ARRAY_LEN(monitor_calls), e) ||
	    rule_arg(ctx, SCMP_ACT_ALLOW, CALL(socket), SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), e) ||
	    rule_arg(ctx, SCMP_ACT_ALLOW, CALL(socket), SCMP_A0(SCMP_CMP_EQ, AF_UNIX), e) ||
	    rule_arg(ctx, SCMP_ACT_ALLOW, CALL(socketpair), SCMP_A0(SCMP_CMP_EQ, AF_UNIX), e))
		return -1;
	return 0;
}

int sandbox_seccomp(enum sandbox_role role, struct err *e)
{
	uint32_t otherwise = role == SANDBOX_MONITOR ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_KILL_PROCESS;
	__attribute__((cleanup(release))) scmp_filter_ctx ctx = NULL;

	if (role == SANDBOX_SUPERVISOR || !SANDBOX_FILTER)
		return 0;
	ctx = seccomp_init(STRICT ? otherwise : SCMP_ACT_ALLOW);
	if (!ctx)
		return err_set(e, ERR_NOMEM, "seccomp filter");
	if ((!STRICT || role == SANDBOX_MONITOR) &&
	    rules(ctx, SCMP_ACT_KILL_PROCESS, hostile_calls, ARRAY_LEN(hostile_calls), e))
		return -1;
	if (STRICT && rules_common(ctx, e))
		return -1;
	if (STRICT && (role == SANDBOX_MONITOR ? rules_monitor(ctx, e) : rules_unprivileged(ctx, role, e)))
		return -1;
	int rc = seccomp_load(ctx);
	if (rc) {
		errno = -rc;
		return err_errno(e, ERR_UNSUPPORTED, "seccomp filter");
	}
	return 0;
}
