/* The event socket: accepts subscribers, serves their sockets, lets go of those that end. */
#ifndef OBS_WORKER_SERVER_H
#define OBS_WORKER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "loader/worker/stream.h"

enum {
	SERVER_SUBSCRIBERS = 64, /* unless told otherwise */
	SERVER_SUBSCRIBERS_MOST = 1024,
	/* Connections beyond, which only get to know that there is no place. Past these they are closed without a word. */
	SERVER_REFUSALS = 16,
};

struct server;

/* Both descriptors and stream are borrowed. listener: non-blocking, listening. Sockets of subscribers are added to epoll_fd
 * with their struct subscriber as data; the listener is the caller's to watch. */
MUST_CHECK int server_new(int listener, int epoll_fd, unsigned max_subscribers, struct stream *stream,
			  struct worker_stats *stats, struct server **out, struct err *e);
void server_free(struct server **s);

void server_accept(struct server *s, uint64_t now_ns);

/* What epoll said about a subscriber's socket. */
void server_ready(struct server *s, struct subscriber *subscriber, uint32_t events, uint64_t now_ns);

/* Sends what is queued, and forgets the dead: no struct subscriber of an earlier epoll answer is valid afterwards. */
void server_flush(struct server *s);
void server_tick(struct server *s, uint64_t now_ns, bool flush); /* flush: as subscriber_tick() */

/* True: there is no subscriber, nor one who waits to become it. */
bool server_is_alone(const struct server *s);
/* True: nothing is left to be sent. */
bool server_is_drained(const struct server *s);

#endif
