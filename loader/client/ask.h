/* One request to the daemon and its answer (loader/ipc/control.h). */
#ifndef OBS_CLIENT_ASK_H
#define OBS_CLIENT_ASK_H

#include "loader/client/options.h"
#include "loader/ipc/control.h"

struct json_t; /* jansson's */

enum { ASK_ANSWER_MAX_BYTES = 64 << 20 };

/* ERR_USAGE if name or arg are longer than a request holds; both may be NULL. */
MUST_CHECK int ask_request(enum control_op op, const char *name, const char *arg, struct control_request *out,
			   struct err *e);

/* A file to send, "-" is standard input: copied into a sealed memfd, which is all that the daemon takes, so that a slow pipe or
 * file system delays nobody but its reader. A regular file is read from its start. More than limit bytes is an error of code
 * too_large. */
MUST_CHECK int ask_open(const char *path, size_t limit, enum err_code too_large, int *out_fd, struct err *e);

/* Names the file that the daemon refused. Why it could not be asked stays as it is. Returns -1. */
int ask_refused(const char *path, struct err *e);

/* Sends the request with fd (-1: none), shows progress on a terminal, and waits for the answer. A refusal becomes the
 * daemon's own error: its code, text and log. With --json the answer is written to standard output as it is and *out stays
 * NULL; else *out is a JSON object that the caller owns. */
MUST_CHECK int ask(const struct options *o, const struct control_request *request, int fd, struct json_t **out,
		   struct err *e);

/* Connects to run_dir/name. ERR_DAEMON_ABSENT where nobody listens, ERR_DAEMON_DENIED without permission. */
MUST_CHECK int ask_connect(const char *run_dir, const char *name, int type, int *out_fd, struct err *e);

/* The error that the daemon describes. An unknown code of a newer daemon becomes ERR_DAEMON_FAILED with the code in its
 * text. log may be NULL. Returns -1. */
int ask_refusal(struct err *e, const char *code, int errnum, const char *text, const char *log);

#endif
