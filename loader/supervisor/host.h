/* What the daemon needs of the host before privileges go: folders, mounts, the lock, sockets, kernel symbols. */
#ifndef OBS_SUPERVISOR_HOST_H
#define OBS_SUPERVISOR_HOST_H

#include "loader/supervisor/options.h"

struct host {
	char pin_root[4096];
	char cgroup[4096]; /* "" if there is none */
	int lock_fd;
	int control_fd, events_fd; /* listening */
	int kallsyms_fd;           /* -1: addresses are hidden */
};

#define HOST_INIT                                                                                                      \
	{                                                                                                              \
		.lock_fd = -1, .control_fd = -1, .events_fd = -1, .kallsyms_fd = -1                                    \
	}

/* ERR_DAEMON_RUNNING if another daemon holds the lock of this run-dir. */
MUST_CHECK int host_prepare(const struct run_options *o, const struct run_ids *ids, struct host *out, struct err *e);
void host_free(struct host *host);
/* Removes the sockets: nobody listens any more. */
void host_unlink(const struct run_options *o);

#endif
