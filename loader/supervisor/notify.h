/* The service manager's readiness protocol (sd_notify(3)): a datagram to $NOTIFY_SOCKET. */
#ifndef OBS_SUPERVISOR_NOTIFY_H
#define OBS_SUPERVISOR_NOTIFY_H

#include "bundles/base/err.h"

/* Nothing, and no error, where there is no service manager. */
MUST_CHECK int notify_send(const char *text, struct err *e);

#endif
