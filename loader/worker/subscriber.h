/* One connection of a subscriber: its request, its bounded queue, what it lost. Knows nothing of events. Its socket is
 * watched edge-triggered, so that a busy stream costs no epoll call.
 *
 *   REQUEST -> LIVE -> (CLOSING ->) DEAD
 *
 * A subscriber that does not read loses its own events: while the queue is full they are counted, and as soon as half of
 * the queue is free one obs.lost line with their number takes their place in the stream. Events that are obs.lost themselves
 * are no more of them: what they tell is held, and told behind that line.
 */
#ifndef OBS_WORKER_SUBSCRIBER_H
#define OBS_WORKER_SUBSCRIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"
#include "loader/ipc/worker.h"
#include "loader/worker/json.h"
#include "loader/worker/lost.h"
#include "loader/worker/queue.h"
#include "loader/worker/request.h"

enum {
	SUBSCRIBER_QUEUE_BYTES = 1 << 20,
	SUBSCRIBER_REQUEST_MS = 5000, /* for the whole line */
	SUBSCRIBER_CLOSING_MS = 1000, /* for the client to take the error line */
};

enum subscriber_state { SUBSCRIBER_REQUEST, SUBSCRIBER_LIVE, SUBSCRIBER_CLOSING, SUBSCRIBER_DEAD };

struct subscriber {
	int fd;
	enum subscriber_state state;
	uint64_t deadline_ns; /* REQUEST, CLOSING; monotonic */
	char *input;          /* REQUEST: room for REQUEST_MAX_BYTES + 1 */
	size_t input_size;
	bool input_over, blocked, half_closed;
	struct request *request; /* LIVE */
	struct queue queue;
	uint64_t lost;    /* events since the last obs.lost line */
	struct held held; /* of obs.lost events since then */
	uint64_t sampled; /* left out by "sample" since the last obs.lost line */
	uint64_t sampled_told_ns;
	uint32_t sample_at; /* counts up to request->sample */
	/* "last": until the cursor is at its end, events come from the history only */
	bool replaying;
	uint64_t cursor; /* place in the history: of the first entry that is still to be sent */
	uint32_t wanted; /* so many older ones are searched for, back from seek */
	uint64_t seek;
	uint64_t replay_seq; /* last seq at the time of the request: later ones are sampled */
};

/* What lines of the subscriber's own need. */
struct subscriber_env {
	struct json_clock *clock;
	const char *host_json;
	struct worker_stats *stats;
};

/* Takes fd over on success. */
MUST_CHECK int subscriber_new(int fd, uint64_t now_ns, struct subscriber **out, struct err *e);
void subscriber_free(struct subscriber **s);

/* Reads what is there. True when the request has become complete: s->request is set and the state LIVE. Everything wrong
 * ends in an error line and CLOSING, an end of the connection in DEAD. */
bool subscriber_read(struct subscriber *s, uint64_t now_ns);

/* Sends as much as the socket takes, and tells losses where there is room. */
void subscriber_flush(struct subscriber *s, const struct subscriber_env *env);

/* Deadlines, and losses that were not told yet; flush: also those that are told at intervals. */
void subscriber_tick(struct subscriber *s, const struct subscriber_env *env, uint64_t now_ns, bool flush);

/* Queues the error's line and closes as soon as it is sent. */
void subscriber_refuse(struct subscriber *s, const struct err *e, uint64_t now_ns);

/* Something was lost and is not told yet: until it is, nothing is queued. */
static inline bool subscriber_in_gap(const struct subscriber *s)
{
	return s->lost || s->held.count;
}

/* Queues one line; false: no room, or in a gap. The caller then counts it in lost or held. */
bool subscriber_offer(struct subscriber *s, const char *line, size_t size);

#endif
