/* obs.bundle: what happens to bundles on this host, told by the monitor. */
#ifndef OBS_WORKER_NOTICE_H
#define OBS_WORKER_NOTICE_H

#include "loader/worker/stream.h"

MUST_CHECK int notice_type_add(struct stream *stream, struct losses *losses, struct stream_type **out, struct err *e);

/* msg: WORKER_NOTICE. ERR_DAEMON_PROTOCOL if one of its texts has no end. */
MUST_CHECK int notice_publish(struct stream *stream, struct stream_type *type, const struct worker_msg *msg,
			      struct err *e);

#endif
