/* The perf events of SUPERVISOR_PERF_EVENT (loader/ipc/supervisor.h). */
#ifndef OBS_SUPERVISOR_PERF_H
#define OBS_SUPERVISOR_PERF_H

#include "loader/ipc/supervisor.h"

/* A descriptor of the event, close-on-exec; or -1 with errno, EINVAL for what is none of the listed events. file_fd is -1
 * but for uprobes; it stays the caller's. */
int perf_open(const struct supervisor_perf *want, int file_fd);

#endif
