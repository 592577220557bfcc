#include "loader/worker/server.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "loader/ipc/log.h"

struct server {
	int listener, epoll_fd;
	unsigned max;
	struct stream *stream;
	struct worker_stats *stats;
	struct subscriber **subscribers; /* room for max + SERVER_REFUSALS */
	size_t count;
	bool accept_again; /* accept failed for want of something: try at the next tick */
};

int server_new(int listener, int epoll_fd, unsigned max_subscribers, struct stream *stream, struct worker_stats *stats,
	       struct server **out, struct err *e)
{
	OWN(server) struct server *s = calloc(1, sizeof(*s));

	if (!s)
		return err_errno(e, ERR_NOMEM, "server");
	s->listener = listener;
	s->epoll_fd = epoll_fd;
	s->max = max_subscribers ? max_subscribers : SERVER_SUBSCRIBERS;
	if (s->max > SERVER_SUBSCRIBERS_MOST)
		s->max = SERVER_SUBSCRIBERS_MOST;
	s->stream = stream;
	s->stats = stats;
	stats->subscribers = 0;
	s->subscribers = calloc(s->max + SERVER_REFUSALS, sizeof(struct subscriber *));
	if (!s->subscribers)
		return err_errno(e, ERR_NOMEM, "%u subscribers", s->max);
	*out = TAKE_PTR(s);
	return 0;
}

static void forget(struct server *s, size_t index)
{
	stream_unsubscribe(s->stream, s->subscribers[index]);
	subscriber_free(&s->subscribers[index]);
	s->subscribers[index] = s->subscribers[--s->count];
	s->stats->subscribers = s->count;
}

void server_free(struct server **server)
{
	struct server *s = *server;

	if (!s)
		return;
	while (s->count)
		forget(s, s->count - 1);
	free(s->subscribers);
	free(s);
	*server = NULL;
}

static void admit(struct server *s, int fd, uint64_t now_ns)
{
	struct epoll_event watch = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
	OWN(subscriber) struct subscriber *sub = NULL;
	struct err e = ERR_INIT;

	if (s->count >= s->max + SERVER_REFUSALS || subscriber_new(fd, now_ns, &sub, &e)) {
		close(fd);
		s->stats->subscribers_refused++;
		return;
	}
	watch.data.ptr = sub;
	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &watch)) {
		s->stats->subscribers_refused++;
		return;
	}
	if (s->count >= s->max) {
		err_set(&e, ERR_REQUEST_BUSY, "%u subscribers are connected, as many as are served", s->max);
		subscriber_refuse(sub, &e, now_ns);
		s->stats->subscribers_refused++;
	}
	s->subscribers[s->count++] = TAKE_PTR(sub);
	s->stats->subscribers = s->count;
	s->stats->subscribers_total++;
}

void server_accept(struct server *s, uint64_t now_ns)
{
	s->accept_again = false;
	/* A few at a time: who connects in a loop must not keep the events waiting. */
	for (int i = 0; i < SERVER_REFUSALS; i++) {
		int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			admit(s, fd, now_ns);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		s->accept_again = errno != EAGAIN && errno != EWOULDBLOCK;
		return;
	}
	s->accept_again = true;
}

static void subscribe(struct server *s, struct subscriber *sub, uint64_t now_ns)
{
	struct err e = ERR_INIT;

	if (stream_subscribe(s->stream, sub, &e))
		subscriber_refuse(sub, &e, now_ns);
}

void server_ready(struct server *s, struct subscriber *sub, uint32_t events, uint64_t now_ns)
{
	if (events & EPOLLOUT)
		sub->blocked = false;
	if ((events & (EPOLLIN | EPOLLRDHUP)) && subscriber_read(sub, now_ns))
		subscribe(s, sub, now_ns);
	/* Both directions are closed: the peer is gone. Closing only its sending side is no HUP. */
	if (events & (EPOLLHUP | EPOLLERR))
		sub->state = SUBSCRIBER_DEAD;
}

void server_flush(struct server *s)
{
	const struct subscriber_env *env = stream_subscriber_env(s->stream);

	for (size_t i = 0; i < s->count;) {
		struct subscriber *sub = s->subscribers[i];
		if (sub->state == SUBSCRIBER_CLOSING || (queue_used(&sub->queue) && !sub->blocked))
			subscriber_flush(sub, env);
		if (sub->state == SUBSCRIBER_DEAD)
			forget(s, i);
		else
			i++;
	}
}

void server_tick(struct server *s, uint64_t now_ns, bool flush)
{
	const struct subscriber_env *env = stream_subscriber_env(s->stream);

	for (size_t i = 0; i < s->count; i++)
		subscriber_tick(s->subscribers[i], env, now_ns, flush);
	if (s->accept_again)
		server_accept(s, now_ns);
}

bool server_is_alone(const struct server *s)
{
	return s->count == 0 && !s->accept_again;
}

bool server_is_drained(const struct server *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (queue_used(&s->subscribers[i]->queue))
			return false;
	return true;
}
