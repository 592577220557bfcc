/* The worker's life as the monitor sees it: started through the supervisor, told what to read, started again when it
 * dies, never trusted. */
#ifndef OBS_MONITOR_WORKER_H
#define OBS_MONITOR_WORKER_H

#include "loader/ipc/worker.h"
#include "loader/monitor/loop.h"
#include "loader/monitor/parent.h"

struct worker_queue;

struct worker {
	struct loop *loop;
	struct parent *parent;
	/* A fresh worker knows nothing: called to hand it every bundle and output. */
	void (*started)(void *ctx);
	/* The worker has taken in a sample (WORKER_OUTPUT_DONE). */
	void (*sample_done)(void *ctx, uint32_t bundle, uint32_t output);
	void *ctx;
	int events_fd, kallsyms_fd; /* borrowed; kallsyms_fd may be -1 */

	int stats_fd;
	const struct worker_stats *stats; /* written by the worker: numbers, not facts */
	int sock, pidfd;
	pid_t pid;        /* 0: none runs */
	uint32_t cutting; /* bundle that another takes over from; 0: none, or it is done */
	bool ready, stopping;
	struct source sock_source, pidfd_source;
	struct worker_queue *queue;
	uint64_t started_ms, start_at_ms;
	unsigned backoff_ms, restarts;
	uint64_t open_window_ms;
	unsigned open_count; /* in this window */
};

#define WORKER_INIT                                                                                                    \
	{                                                                                                              \
		.stats_fd = -1, .sock = -1, .pidfd = -1, .events_fd = -1, .kallsyms_fd = -1                            \
	}

/* Makes the counters; the worker starts with the first worker_tick. */
MUST_CHECK int worker_open(struct worker *w, struct err *e);
/* Starts it when it is due. *next_ms is lowered to when to call again. A start that fails is tried again later. */
void worker_tick(struct worker *w, uint64_t now_ms, uint64_t *next_ms);
/* Sends or queues; fd (-1: none) stays the caller's. Nothing happens while no worker runs: it will be told all. */
void worker_send(struct worker *w, const struct worker_msg *msg, int fd);
/* For who cannot go on without it: takes its messages, and starts it when it is due, until something has come of it. False:
 * the moment is there. Nobody else is served meanwhile. */
bool worker_wait(struct worker *w, uint64_t deadline_ms);
/* Lets the held bundle take over from old at one instant, and waits for it, for a second at most: false if it did not
 * come to that. */
bool worker_cut(struct worker *w, uint32_t old, uint32_t held);
/* Counters of a bundle by its handle, or NULL. */
const struct worker_bundle_stats *worker_bundle_stats_of(const struct worker *w, uint32_t handle);
/* Asks it to finish, waits for at most two and a half seconds, kills it. */
void worker_close(struct worker *w);

#endif
