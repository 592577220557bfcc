/* control.sock: one request a connection, from peers that may be hostile. */
#ifndef OBS_MONITOR_CONTROL_H
#define OBS_MONITOR_CONTROL_H

#include "loader/ipc/control.h"
#include "loader/monitor/bundles.h"

enum { CONTROL_CONNECTIONS = 32, CONTROL_RECEIVE_MS = 2000 };

struct connection {
	struct control *control;
	struct source source; /* fd -1: free */
	struct audit_who who;
	uint64_t deadline_ms;
	uint64_t progress_ms; /* of the last progress packet */
};

struct control {
	struct loop *loop;
	struct bundles *bundles;
	gid_t group;   /* may ask besides root; 0: nobody */
	int listen_fd; /* borrowed */
	uint64_t started_ms;
	struct source source;
	struct connection connection[CONTROL_CONNECTIONS];
	unsigned denied; /* peers turned away; told once a minute */
	uint64_t denied_log_ms;
};

MUST_CHECK int control_open(struct control *c, struct err *e);
/* Closes connections that are too slow; *next_ms is lowered to the next such moment. */
void control_tick(struct control *c, uint64_t now_ms, uint64_t *next_ms);
void control_close(struct control *c);

/* ---- requests.c ---- */

struct control_call {
	struct control *control;
	const struct control_request *request;
	int fd; /* borrowed, -1: none */
	bool root;
	struct bundles_request as;
};

/* Does what is asked. *out_json is a JSON text that the caller frees. */
MUST_CHECK int control_answer(struct control_call *call, char **out_json, struct err *e);

#endif
