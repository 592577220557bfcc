#include "loader/sandbox/sandbox.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "bundles/limits.h"
#include "loader/sandbox/instrumented.h"

enum {
	/* The file, the copy that the archive reader makes, one sealed memfd mapping, and the libraries. */
	UNPACKER_SPACE_BYTES = 4 * BUNDLE_MAX_BYTES + (64 << 20),
	UNPACKER_CPU_S = 10,
	UNPACKER_FILES = BUNDLE_MAX_FILES + 32,
};

static int limit(int what, rlim_t value, const char *name, struct err *e)
{
	struct rlimit now, wanted;

	if (getrlimit((__rlimit_resource_t)what, &now))
		return err_errno(e, ERR_INTERNAL, "getrlimit %s", name);
	wanted.rlim_cur = wanted.rlim_max = value < now.rlim_max ? value : now.rlim_max;
	if (setrlimit((__rlimit_resource_t)what, &wanted))
		return err_errno(e, ERR_INTERNAL, "setrlimit %s", name);
	return 0;
}

static int limits(enum sandbox_role role, struct err *e)
{
	if (limit(RLIMIT_CORE, 0, "core", e))
		return -1;
	if (role == SANDBOX_MONITOR || role == SANDBOX_SUPERVISOR)
		return 0;
	/* No process, no file: what seccomp refuses, refused once more. */
	if (limit(RLIMIT_NPROC, 0, "nproc", e))
		return -1;
	if (SANDBOX_INSTRUMENTED)
		return 0;
	if (role == SANDBOX_WORKER)
		return limit(RLIMIT_FSIZE, 0, "fsize", e);
	if (limit(RLIMIT_AS, UNPACKER_SPACE_BYTES, "as", e) ||
	    limit(RLIMIT_FSIZE, BUNDLE_OBJECT_MAX_BYTES, "fsize", e) ||
	    limit(RLIMIT_NOFILE, UNPACKER_FILES, "nofile", e))
		return -1;
	return limit(RLIMIT_CPU, UNPACKER_CPU_S, "cpu", e);
}

#ifdef SANDBOX_ASAN
/* Leaks are looked for by a thread that opens /proc and traces the others: not in a sandbox. */
static int no_leak_check;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return no_leak_check;
}
#endif

int sandbox_enter(enum sandbox_role role, struct err *e)
{
	bool enforced;

#ifdef SANDBOX_ASAN
	no_leak_check = role == SANDBOX_WORKER || role == SANDBOX_UNPACKER;
#endif

	/* A change of credentials clears both, so not earlier. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		return err_errno(e, ERR_INTERNAL, "PR_SET_PDEATHSIG");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_errno(e, ERR_INTERNAL, "PR_SET_DUMPABLE");
	if (limits(role, e))
		return -1;
	if ((role == SANDBOX_WORKER || role == SANDBOX_UNPACKER) && sandbox_landlock(&enforced, e))
		return -1;
	return sandbox_seccomp(role, e);
}
