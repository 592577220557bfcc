#include "loader/sandbox/sandbox.h"

#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* The attribute as of ABI 6 (Linux 6.12); the kernel takes a shorter one of an older ABI, so size follows the ABI.
 * <linux/landlock.h> of the build machine may be older. */
struct ruleset {
	uint64_t fs, net, scoped;
};

enum {
	FS_ABI1 = 13, /* how many access rights of the file system each ABI knows */
	FS_ABI2 = 14,
	FS_ABI3 = 15,
	FS_ABI5 = 16,
	NET_TCP = 3,    /* bind and connect */
	SCOPED_ALL = 3, /* abstract Unix sockets, signals */
};

static uint64_t fs_rights(int abi)
{
	int count = abi >= 5 ? FS_ABI5 : abi >= 3 ? FS_ABI3 : abi == 2 ? FS_ABI2 : FS_ABI1;

	return (UINT64_C(1) << count) - 1;
}

int sandbox_landlock(bool *enforced, struct err *e)
{
	struct ruleset attr = {0};
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	size_t size = abi >= 6 ? sizeof(attr) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);

	*enforced = false;
	if (abi < 1)
		return 0;
	attr.fs = fs_rights(abi);
	attr.net = abi >= 4 ? NET_TCP : 0;
	attr.scoped = abi >= 6 ? SCOPED_ALL : 0;
	/* A ruleset without rules: everything it handles is denied. */
	OWN_FD int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (ruleset < 0)
		return err_errno(e, ERR_INTERNAL, "Landlock ruleset, ABI %d", abi);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, ERR_INTERNAL, "no_new_privs");
	if (syscall(SYS_landlock_restrict_self, ruleset, 0))
		return err_errno(e, ERR_INTERNAL, "Landlock");
	*enforced = true;
	return 0;
}
