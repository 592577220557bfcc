/* Messages of the monitor. The worker trusts the monitor; all the same, whatever is not exactly as loader/ipc/worker.h says
 * is ERR_DAEMON_PROTOCOL and the end of the worker, which the monitor starts again. */
#ifndef OBS_WORKER_CHANNEL_H
#define OBS_WORKER_CHANNEL_H

#include "loader/worker/loop.h"

MUST_CHECK int channel_say_ready(struct worker *w, struct err *e);

/* Takes in what has come. A monitor that is gone sets w->monitor_gone. */
MUST_CHECK int channel_receive(struct worker *w, struct err *e);

/* One message; takes over those of fds that it sets to -1. */
MUST_CHECK int channel_take(struct worker *w, const struct worker_msg *msg, int fds[static 4], struct err *e);

/* The window of a CUT is over: chooses the instant and lets both bundles be read. */
void channel_cut(struct worker *w, uint64_t until_ns);

/* An output's sample is taken in. ctx: struct worker. Kept for later where the socket has no room. */
void channel_sample_done(void *ctx, uint32_t bundle, uint32_t output);
MUST_CHECK int channel_flush(struct worker *w, struct err *e);

#endif
