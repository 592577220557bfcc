#include "loader/worker/subscriber.h"

#include <string.h>
#include <sys/socket.h>

enum {
	NS_PER_MS = 1000000,
	SAMPLED_EVERY_NS = 1000000000,
	DISCARD_ROUNDS = 32,
	SEND_BUFFER = 256 << 10, /* the kernel doubles it, and gives no more than net.core.wmem_max allows */
};

int subscriber_new(int fd, uint64_t now_ns, struct subscriber **out, struct err *e)
{
	int wanted = SEND_BUFFER;
	OWN(subscriber) struct subscriber *s = calloc(1, sizeof(*s));

	if (!s)
		return err_errno(e, ERR_NOMEM, "subscriber");
	s->fd = -1;
	s->input = malloc(REQUEST_MAX_BYTES + 1);
	if (!s->input)
		return err_errno(e, ERR_NOMEM, "request");
	if (queue_init(&s->queue, SUBSCRIBER_QUEUE_BYTES, e))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
	s->fd = fd;
	s->deadline_ns = now_ns + (uint64_t)SUBSCRIBER_REQUEST_MS * NS_PER_MS;
	*out = TAKE_PTR(s);
	return 0;
}

void subscriber_free(struct subscriber **subscriber)
{
	struct subscriber *s = *subscriber;

	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	free(s->input);
	request_free(&s->request);
	queue_done(&s->queue);
	free(s);
	*subscriber = NULL;
}

void subscriber_refuse(struct subscriber *s, const struct err *e, uint64_t now_ns)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES], line[sizeof(text) * JSON_TEXT_GROWTH + 256], *p = line;

	err_text(e, text, sizeof(text));
	p = stpcpy(p, "{\"error\":{\"code\":\"");
	p = stpcpy(p, err_name(e->code));
	p = stpcpy(p, "\",\"message\":");
	p = json_put_string(p, (const uint8_t *)text, strlen(text));
	memcpy(p, "}}\n", 3);
	/* A queue without room for it is that of a subscriber that does not read anyway. */
	if (!queue_put(&s->queue, line, (size_t)(p + 3 - line)))
		s->lost++;
	s->state = SUBSCRIBER_CLOSING;
	s->deadline_ns = now_ns + (uint64_t)SUBSCRIBER_CLOSING_MS * NS_PER_MS;
}

/* The line is complete, with or without its newline. */
static bool take_request(struct subscriber *s, size_t size, uint64_t now_ns)
{
	struct err e = ERR_INIT;

	if (request_parse(s->input, size, &s->request, &e)) {
		subscriber_refuse(s, &e, now_ns);
		return false;
	}
	free(s->input);
	s->input = NULL;
	s->state = SUBSCRIBER_LIVE;
	return true;
}

/* Looks for a whole line in what has come, of which the last `fresh` bytes are new. */
static bool check_input(struct subscriber *s, size_t fresh, uint64_t now_ns)
{
	struct err e = ERR_INIT;
	const char *newline = memchr(s->input + s->input_size - fresh, '\n', fresh);
	size_t size = newline ? (size_t)(newline - s->input) : s->input_size;

	if (size > REQUEST_MAX_BYTES) {
		err_set(&e, ERR_REQUEST_TOO_LARGE, "the request is longer than %d bytes", REQUEST_MAX_BYTES);
		subscriber_refuse(s, &e, now_ns);
		return false;
	}
	if (newline && size + 1 < s->input_size) {
		err_set(&e, ERR_REQUEST_INVALID, "bytes follow the request's line: a connection carries one request");
		subscriber_refuse(s, &e, now_ns);
		return false;
	}
	if (newline || s->input_over)
		return take_request(s, size, now_ns);
	return false;
}

static bool read_request(struct subscriber *s, uint64_t now_ns)
{
	while (s->state == SUBSCRIBER_REQUEST && !s->input_over) {
		ssize_t n = recv(s->fd, s->input + s->input_size, REQUEST_MAX_BYTES + 1 - s->input_size, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return false;
		if (n < 0) {
			s->state = SUBSCRIBER_DEAD;
			return false;
		}
		s->input_over = n == 0;
		s->input_size += (size_t)n;
		if (check_input(s, (size_t)n, now_ns))
			return true;
	}
	return false;
}

/* After the request nothing but the end may come. Reading it all matters also when closing: a socket that is closed with
 * unread bytes tells its peer "connection reset" in place of the end. */
static void read_rest(struct subscriber *s, uint64_t now_ns)
{
	struct err e = ERR_INIT;
	char bytes[4096];

	for (int round = 0; round < DISCARD_ROUNDS && !s->input_over; round++) {
		ssize_t n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
			s->state = SUBSCRIBER_DEAD;
		if (n < 0)
			return;
		s->input_over = n == 0;
		if (n > 0 && s->state == SUBSCRIBER_LIVE) {
			err_set(&e, ERR_REQUEST_INVALID, "bytes follow the request: a connection carries one request");
			subscriber_refuse(s, &e, now_ns);
		}
	}
}

bool subscriber_read(struct subscriber *s, uint64_t now_ns)
{
	bool complete = false;

	if (s->state == SUBSCRIBER_REQUEST)
		complete = read_request(s, now_ns);
	if (s->state == SUBSCRIBER_LIVE || s->state == SUBSCRIBER_CLOSING)
		read_rest(s, now_ns);
	/* What came behind the line in another packet makes the whole request invalid. */
	return complete && s->state == SUBSCRIBER_LIVE;
}

bool subscriber_offer(struct subscriber *s, const char *line, size_t size)
{
	return !subscriber_in_gap(s) && queue_put(&s->queue, line, size);
}

/* False: no room for it. */
static bool tell(struct subscriber *s, const struct subscriber_env *env, const char *bundle, enum loss_source source,
		 uint64_t *count)
{
	char line[LOST_LINE_MAX];

	if (*count == 0)
		return true;
	char *end = lost_private_line(env->clock, env->host_json, bundle, source, *count, line);
	if (!queue_put(&s->queue, line, (size_t)(end - line)))
		return false;
	*count = 0;
	return true;
}

static void tell_lost(struct subscriber *s, const struct subscriber_env *env)
{
	if (!subscriber_in_gap(s) || s->state != SUBSCRIBER_LIVE || queue_used(&s->queue) > s->queue.bytes / 2 ||
	    !tell(s, env, "", LOSS_SUBSCRIBER, &s->lost))
		return;
	for (; s->held.count; s->held.count--) {
		struct held_bundle *held = &s->held.bundles[s->held.count - 1];
		for (unsigned i = 0; i < LOSS_SOURCE_COUNT; i++)
			if (!tell(s, env, held->name, i, &held->lost[i]))
				return;
	}
}

void subscriber_flush(struct subscriber *s, const struct subscriber_env *env)
{
	if (s->state == SUBSCRIBER_DEAD)
		return;
	tell_lost(s, env);
	while (!s->blocked && queue_used(&s->queue)) {
		struct iovec iov[2];
		struct msghdr msg = {.msg_iov = iov};
		msg.msg_iovlen = (size_t)queue_pieces(&s->queue, iov);
		ssize_t n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			s->blocked = true;
			break;
		}
		if (n < 0) {
			s->state = SUBSCRIBER_DEAD;
			return;
		}
		queue_sent(&s->queue, (size_t)n);
		env->stats->sent_bytes += (uint64_t)n;
		tell_lost(s, env);
	}
	if (s->state != SUBSCRIBER_CLOSING || queue_used(&s->queue))
		return;
	if (!s->half_closed)
		shutdown(s->fd, SHUT_WR);
	s->half_closed = true;
	if (s->input_over)
		s->state = SUBSCRIBER_DEAD;
}

void subscriber_tick(struct subscriber *s, const struct subscriber_env *env, uint64_t now_ns, bool flush)
{
	struct err e = ERR_INIT;

	if (s->state == SUBSCRIBER_REQUEST && now_ns >= s->deadline_ns) {
		err_set(&e, ERR_REQUEST_TIMEOUT, "no whole line within %d ms", SUBSCRIBER_REQUEST_MS);
		subscriber_refuse(s, &e, now_ns);
	} else if (s->state == SUBSCRIBER_CLOSING && now_ns >= s->deadline_ns) {
		s->state = SUBSCRIBER_DEAD;
	} else if (s->state == SUBSCRIBER_LIVE && s->sampled && !subscriber_in_gap(s) &&
		   (flush || s->sampled_told_ns == 0 || now_ns - s->sampled_told_ns >= SAMPLED_EVERY_NS)) {
		if (tell(s, env, "", LOSS_SAMPLING, &s->sampled))
			s->sampled_told_ns = now_ns;
	}
	subscriber_flush(s, env);
}
