/* Privileges: given up in one order, never regained. The one place for capabilities, seccomp and Landlock. */
#ifndef OBS_SANDBOX_H
#define OBS_SANDBOX_H

#include <stdint.h>
#include <sys/types.h>

#include "bundles/base/err.h"

enum sandbox_role { SANDBOX_SUPERVISOR, SANDBOX_MONITOR, SANDBOX_WORKER, SANDBOX_UNPACKER };

/* Reduces a root process to the role's capabilities: bounding set, ambient and inheritable empty, permitted and
 * effective as listed, no_new_privs. Called before anything hostile is read. */
MUST_CHECK int sandbox_capabilities(enum sandbox_role role, struct err *e);

/* Own uid and gid, no supplementary groups, no capabilities, no_new_privs, dumpable off. Must be root. */
MUST_CHECK int sandbox_identity(uid_t uid, gid_t gid, struct err *e);

/* Landlock (no file system at all, no TCP where the kernel can tell), rlimits and the role's seccomp filter (default
 * action: kill the process). Landlock missing in the kernel is no error: seccomp already refuses open. */
MUST_CHECK int sandbox_enter(enum sandbox_role role, struct err *e);

#endif
