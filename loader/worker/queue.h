/* A bounded queue of bytes between events and a socket. */
#ifndef OBS_WORKER_QUEUE_H
#define OBS_WORKER_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "bundles/base/err.h"

struct queue {
	char *data;
	size_t bytes;        /* a power of two */
	uint64_t head, tail; /* written, sent */
};

/* bytes: a power of two. The pages are used only as they fill. */
MUST_CHECK int queue_init(struct queue *q, size_t bytes, struct err *e);
void queue_done(struct queue *q);

static inline size_t queue_used(const struct queue *q)
{
	return (size_t)(q->head - q->tail);
}

static inline size_t queue_room(const struct queue *q)
{
	return q->bytes - queue_used(q);
}

/* All of text or, where there is no room, nothing and false. */
bool queue_put(struct queue *q, const char *text, size_t size);

/* What is to be sent, in at most two pieces; returns how many. */
int queue_pieces(const struct queue *q, struct iovec iov[static 2]);
void queue_sent(struct queue *q, size_t size);

#endif
