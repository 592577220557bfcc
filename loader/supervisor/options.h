/* Options of `obsload run`. Texts are borrowed from argv or constant. */
#ifndef OBS_SUPERVISOR_OPTIONS_H
#define OBS_SUPERVISOR_OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "bundles/base/err.h"

struct run_options {
	const char *config_dir, *state_dir, *run_dir, *bpffs;
	const char *cgroup;        /* NULL: found in /proc/self/mountinfo */
	const char *group;         /* readers of events.sock */
	const char *control_group; /* NULL: root only */
	const char *worker_user;
	unsigned max_subscribers; /* 0: the worker's own default */
	bool foreground;
};

/* *help: --help was given and printed. */
MUST_CHECK int run_options_parse(int argc, char **argv, struct run_options *out, bool *help, struct err *e);

struct run_ids {
	uid_t worker_uid, unpacker_uid;
	gid_t worker_gid, unpacker_gid;
	gid_t events_gid;  /* 0: root only */
	gid_t control_gid; /* 0: root only */
};

/* Looks users and groups up. A control group that does not exist is an error, since somebody relies on it; a missing
 * group of readers, and missing users (fixed numbers are used), are logged. */
MUST_CHECK int run_ids_find(const struct run_options *o, struct run_ids *out, struct err *e);

#endif
