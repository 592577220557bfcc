/* What the monitor asks of the supervisor (loader/ipc/supervisor.h). Calls block for its answer, which is immediate. */
#ifndef OBS_MONITOR_PARENT_H
#define OBS_MONITOR_PARENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "loader/ipc/msg.h"
#include "loader/ipc/supervisor.h"

struct parent {
	int sock;
	bool broken; /* an answer did not come, or nobody is there: nothing more can be asked, the monitor must end */
};

/* fds as SUPERVISOR_SPAWN_WORKER lists them; they stay the caller's. */
MUST_CHECK int parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd,
				   struct err *e);
MUST_CHECK int parent_spawn_unpacker(struct parent *p, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e);
/* A child that is already gone is no error. */
MUST_CHECK int parent_kill(struct parent *p, pid_t pid, struct err *e);
MUST_CHECK int parent_packet_socket(struct parent *p, int *out_fd, struct err *e);
/* file_fd: the file of a uprobe, else -1; it stays the caller's. The error's errnum is that of the kernel. */
MUST_CHECK int parent_perf_event(struct parent *p, const struct supervisor_perf *perf, int file_fd, int *out_fd,
				 struct err *e);
MUST_CHECK int parent_ready(struct parent *p, struct err *e);

#endif
