/* Privileges: given up in one order, never regained. The one place for capabilities, seccomp and Landlock. */
#ifndef OBS_SANDBOX_H
#define OBS_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bundles/base/err.h"

enum sandbox_role { SANDBOX_SUPERVISOR, SANDBOX_MONITOR, SANDBOX_WORKER, SANDBOX_UNPACKER };

/* Reduces a root process to the role's capabilities: bounding set, ambient and inheritable empty, permitted and
 * effective as listed, no_new_privs. Called before anything hostile is read.
 * The supervisor is the exception: its bounding set keeps what a monitor needs and it may gain privileges by exec, since
 * that is how it starts the monitor again; its permitted set holds only its own. For perf events it has CAP_PERFMON, or
 * CAP_SYS_ADMIN where this kernel asks for that: kernel.perf_event_paranoid above 2, or older than Linux 6.6. A process
 * that has no CAP_SYS_ADMIN keeps CAP_PERFMON then; the events are refused.
 * ERR_KERNEL_NO_BPF if the process does not have what the role needs. */
MUST_CHECK int sandbox_capabilities(enum sandbox_role role, struct err *e);

/* The same error, and nothing changed: before anything is prepared that a process without them could not use. */
MUST_CHECK int sandbox_check(enum sandbox_role role, struct err *e);

/* Limits the bounding set to the role's, so that the program of that role never has more. Needs CAP_SETPCAP. */
MUST_CHECK int sandbox_bounding(enum sandbox_role role, struct err *e);

/* The names of the role's capabilities on this kernel, comma-separated, as cap_to_text(3) writes them. */
void sandbox_capability_names(enum sandbox_role role, char *dst, size_t size);

/* Own uid and gid, no supplementary groups, no capabilities in any set, no_new_privs, dumpable off. Must be root with
 * CAP_SETUID, CAP_SETGID and CAP_SETPCAP. */
MUST_CHECK int sandbox_identity(uid_t uid, gid_t gid, struct err *e);

/* Death with the parent, dumpable off, Landlock (no file system at all, no TCP where the kernel can tell), rlimits and
 * the role's seccomp filter. A call that an attacker would want kills the process; for worker and unpacker every other
 * call that is not listed does too, except that opening a file says EACCES. The monitor gets EPERM for unlisted calls.
 * Landlock missing in the kernel is no error: seccomp already refuses open. The supervisor has no filter, because its
 * children would inherit it. */
MUST_CHECK int sandbox_enter(enum sandbox_role role, struct err *e);

/* The two layers of sandbox_enter by themselves, so that a test can try what each one stops. */
MUST_CHECK int sandbox_landlock(bool *enforced, struct err *e);
MUST_CHECK int sandbox_seccomp(enum sandbox_role role, struct err *e);

#endif
