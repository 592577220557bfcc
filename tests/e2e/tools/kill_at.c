/* Kills a process at its N-th system call, before the kernel does it:
 *
 *	kill_at PID N changes|all|each
 *
 * "changes" counts only calls that change what outlives the process: files, folders, pins, programs and links, what it asks
 * of netlink. Between two of these a kill finds the same host, wherever it comes; "all" takes nobody's word for that. A sync
 * is none of them, since a kill takes nothing from the page cache, nor is a close: a kill closes everything.
 *
 * Of reads of one descriptor in a row "all" counts the first: nine in ten calls of an install read the kernel's types, page by
 * page. "each" counts these too.
 *
 * Prints "ready" when it counts, then "killed NUMBER OF THE CALL"; on SIGTERM "passed COUNT", and lets the process go. */
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t told_to_end;

static void on_term(int sig)
{
	(void)sig;
	told_to_end = 1;
}

static bool bpf_changes(uint64_t command)
{
	switch (command) {
	case BPF_MAP_UPDATE_ELEM:
	case BPF_MAP_DELETE_ELEM:
	case BPF_MAP_LOOKUP_AND_DELETE_ELEM:
	case BPF_MAP_LOOKUP_AND_DELETE_BATCH:
	case BPF_OBJ_PIN:
	case BPF_PROG_ATTACH:
	case BPF_PROG_DETACH:
	case BPF_RAW_TRACEPOINT_OPEN:
	case BPF_LINK_CREATE:
	case BPF_LINK_UPDATE:
	case BPF_LINK_DETACH:
		return true;
	default:
		return false;
	}
}

static bool changes(const struct __ptrace_syscall_info *call)
{
	switch (call->entry.nr) {
#ifdef SYS_rename
	case SYS_rename:
	case SYS_unlink:
	case SYS_mkdir:
	case SYS_rmdir:
#endif
	case SYS_renameat:
	case SYS_renameat2:
	case SYS_unlinkat:
	case SYS_mkdirat:
	case SYS_write:
	case SYS_pwrite64:
	case SYS_ftruncate:
	case SYS_fchmod:
	case SYS_sendto:
		return true;
	case SYS_openat:
		return call->entry.args[2] & (O_CREAT | O_TRUNC);
	case SYS_bpf:
		return bpf_changes(call->entry.args[0]);
	default:
		return false;
	}
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

enum which { CHANGES, ALL, EACH };

static bool counts(enum which which, const struct __ptrace_syscall_info *call)
{
	static uint64_t reading = UINT64_MAX;
	uint64_t before = reading;

	reading = call->entry.nr == SYS_read ? call->entry.args[0] : UINT64_MAX;
	if (which == CHANGES)
		return changes(call);
	return which == EACH || reading == UINT64_MAX || reading != before;
}

/* Each stop of the process, until it is killed or gone, or we are told to end. */
static int count_calls(pid_t pid, unsigned long n, enum which which)
{
	unsigned long count = 0;
	int status;

	for (;;) {
		struct __ptrace_syscall_info call;
		int sig = 0;
		pid_t stopped = waitpid(pid, &status, 0);
		if (told_to_end) {
			printf("passed %lu\n", count);
			return 0;
		}
		if (stopped < 0)
			return fail("waitpid");
		if (!WIFSTOPPED(status)) {
			printf("gone after %lu\n", count);
			return 0;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(call), &call) <= 0)
				return fail("PTRACE_GET_SYSCALL_INFO");
			if (call.op == PTRACE_SYSCALL_INFO_ENTRY && counts(which, &call) && ++count == n) {
				kill(pid, SIGKILL);
				printf("killed %llu\n", (unsigned long long)call.entry.nr);
				return 0;
			}
		} else if (status >> 16 == 0) {
			sig = WSTOPSIG(status);
		}
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)sig))
			return fail("PTRACE_SYSCALL");
	}
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"changes", "all", "each"};
	const struct sigaction action = {.sa_handler = on_term};
	enum which which = CHANGES;

	while (argc == 4 && which <= EACH && strcmp(argv[3], names[which]) != 0)
		which++;
	if (argc != 4 || which > EACH) {
		fputs("usage: kill_at PID N changes|all|each\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &action, NULL);
	pid_t pid = (pid_t)strtol(argv[1], NULL, 10);
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)PTRACE_O_TRACESYSGOOD) ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL))
		return fail("PTRACE_SEIZE");
	puts("ready");
	return count_calls(pid, strtoul(argv[2], NULL, 10), which);
}
