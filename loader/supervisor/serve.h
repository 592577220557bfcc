/* The monitor's requests to the supervisor (loader/ipc/supervisor.h). */
#ifndef OBS_SUPERVISOR_SERVE_H
#define OBS_SUPERVISOR_SERVE_H

#include "loader/supervisor/children.h"

struct server {
	struct children children;
	int sock; /* to the monitor, -1: none */
	unsigned max_subscribers;
	bool was_ready; /* some monitor served once */
};

#define SERVER_INIT                                                                                                    \
	{                                                                                                              \
		.sock = -1, .children.program_fd = { -1, -1, -1, -1 }                                                  \
	}

/* Answers one request. -1: the message is none of the monitor's (an end of file is no error and no request). */
int serve_request(struct server *s);

#endif
