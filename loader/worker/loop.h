/* The worker: one thread, one epoll, everything it owns. */
#ifndef OBS_WORKER_LOOP_H
#define OBS_WORKER_LOOP_H

#include <stdbool.h>

#include "loader/worker/bundle.h"
#include "loader/worker/server.h"

struct worker_config {
	int monitor_fd, events_fd, stats_fd;
	int kallsyms_fd;          /* -1: none */
	unsigned max_subscribers; /* 0: the default */
	const char *host;
};

struct worker {
	int epoll_fd;
	struct worker_config config;
	struct worker_stats *stats;
	struct stream *stream;
	struct server *server;
	struct kallsyms *kallsyms;
	struct bundle **bundles;
	size_t bundle_count;
	/* obs.bundle events, which belong to no bundle here */
	struct stream_type *notice_type;
	struct losses notice_losses;
	struct worker_bundle_stats notice_stats;
	/* OUTPUT_DONE messages that the socket had no room for */
	struct done_message {
		uint32_t bundle, output;
	} * done;
	size_t done_count, done_room;
	bool stop, monitor_gone;
	/* One serial takes over from another at an instant in the window that begins here; 0: none does. */
	uint64_t cut_since_ns;
	uint32_t cut_old, cut_new;
	uint32_t cut_done; /* to be told; 0: nothing */
	/* A bundle that the monitor removed: read to its end before anything else is heard of the monitor, so that it comes
	 * in order. Until leave_by_ns at the readers' pace. */
	struct bundle *leaving;
	bool leaving_has_more;
	uint64_t leave_by_ns; /* 0: it has only just been removed */
};

/* Descriptors of config are borrowed. */
MUST_CHECK int worker_new(const struct worker_config *config, struct worker **out, struct err *e);
void worker_free(struct worker **w);

/* Serves until the monitor says STOP (0), is gone, or breaks the protocol (-1). */
MUST_CHECK int worker_run(struct worker *w, struct err *e);

#endif
