/* A stream whose connection ended is taken up again: when the worker dies, the daemon starts another, and whoever connects
 * meanwhile is served by that. */
#ifndef OBS_CLIENT_RESUME_H
#define OBS_CLIENT_RESUME_H

#include "bundles/base/err.h"

/* Connects to run_dir/events.sock and sends the request, again and again for at most a minute, until a worker has taken it.
 * *out_sock does not block; -1: signals became readable or standard output was closed meanwhile. ERR_DAEMON_FAILED where the
 * daemon does not listen any more, or no worker has taken it in time; ERR_REQUEST_BUSY where one closes connection after
 * connection unread. */
MUST_CHECK int resume_stream(const char *run_dir, const char *request, int signals, int *out_sock, struct err *e);

#endif
