#include "loader/monitor/control.h"

#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "bundles/base/file.h"
#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"

enum { PROGRESS_MS = 100, FINAL_MS = 2000, DENIED_LOG_MS = 60000, GROUPS_MAX = 65536 };

/* ---- who asks ---- */

static bool in_group(int sock, const struct ucred *peer, gid_t group)
{
	socklen_t size = 0;

	if (group == 0)
		return false;
	if (peer->gid == group)
		return true;
	/* Supplementary groups, as they were when it connected. */
	if (getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE ||
	    size > GROUPS_MAX * sizeof(gid_t))
		return false;
	OWN_FREE gid_t *groups = calloc(1, size);
	if (!groups || getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &size))
		return false;
	for (size_t i = 0; i < size / sizeof(gid_t); i++)
		if (groups[i] == group)
			return true;
	return false;
}

/* For the audit log only: a process can choose its name. */
static void peer_name(pid_t pid, char *dst, size_t size)
{
	char path[64];
	OWN_FREE uint8_t *text = NULL;
	size_t length;
	struct err e = ERR_INIT;

	dst[0] = '\0';
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	if (file_read(path, 64, ERR_IO, &text, &length, &e))
		return;
	snprintf(dst, size, "%.*s", (int)strcspn((char *)text, "\n"), (char *)text);
}

static bool identify(const struct control *c, int sock, struct audit_who *who)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return false;
	who->known = true;
	who->uid = peer.uid;
	who->pid = peer.pid;
	peer_name(peer.pid, who->comm, sizeof(who->comm));
	return peer.uid == 0 || in_group(sock, &peer, c->group);
}

/* ---- answers ---- */

static void send_reply(int sock, struct control_reply *reply, int fd, bool wait)
{
	struct pollfd room = {.fd = sock, .events = POLLOUT};
	struct err e = ERR_INIT;

	reply->magic = CONTROL_MAGIC;
	reply->version = CONTROL_VERSION;
	/* A peer that does not read what it asked for gets no more of our time. */
	if (wait && poll(&room, 1, FINAL_MS) <= 0)
		return;
	if (msg_send(sock, reply, sizeof(*reply), &fd, fd >= 0, MSG_DONTWAIT, &e) && wait && e.errnum != EPIPE)
		log_err(LOG_LEVEL_INFO, &e);
}

static void send_error(int sock, const struct err *e)
{
	struct control_reply reply = {.kind = CONTROL_FINAL, .code = e->code, .errnum = e->errnum};
	struct err log_error = ERR_INIT;
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	OWN_FD int log = -1;

	snprintf(reply.code_name, sizeof(reply.code_name), "%s", err_name(e->code));
	snprintf(reply.text, sizeof(reply.text), "%.*s", (int)sizeof(reply.text) - 1, err_text(e, text, sizeof(text)));
	if (e->log[0] && file_sealed("obsload-log", e->log, strlen(e->log), &log, &log_error))
		log_err(LOG_LEVEL_WARNING, &log_error);
	send_reply(sock, &reply, log, true);
}

static void send_json(int sock, const char *json)
{
	struct control_reply reply = {.kind = CONTROL_FINAL};
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;

	if (file_sealed("obsload-answer", json, strlen(json), &fd, &e)) {
		err_wrap(&e, "done, but its answer");
		send_error(sock, &e);
		return;
	}
	send_reply(sock, &reply, fd, true);
}

static void progress(void *ctx, const char *what, unsigned step, unsigned steps)
{
	struct connection *conn = ctx;
	struct control_reply reply = {.kind = CONTROL_PROGRESS, .step = step, .steps = steps};
	uint64_t now = loop_now_ms();

	/* Few enough that the final packet has room, whoever reads them or not. */
	if (now - conn->progress_ms < PROGRESS_MS)
		return;
	conn->progress_ms = now;
	snprintf(reply.text, sizeof(reply.text), "%s", what);
	send_reply(conn->source.fd, &reply, -1, false);
}

/* ---- connections ---- */

static void drop(struct connection *conn)
{
	loop_remove(conn->control->loop, &conn->source);
	close(conn->source.fd);
	conn->source.fd = -1;
}

static bool padded(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	for (size_t i = len; i < size; i++)
		if (text[i])
			return false;
	return len < size;
}

static int check_request(const struct control_request *r, struct err *e)
{
	if (r->magic != CONTROL_MAGIC || r->version != CONTROL_VERSION)
		return err_set(e, ERR_DAEMON_PROTOCOL, "the request is of version %u, the daemon speaks %u", r->version,
			       CONTROL_VERSION);
	if (r->op < CONTROL_INSTALL || r->op >= CONTROL_OP_COUNT || (r->flags & ~(uint32_t)CONTROL_ALLOW_DOWNGRADE) ||
	    !padded(r->name, sizeof(r->name)) || !padded(r->arg, sizeof(r->arg)))
		return err_set(e, ERR_DAEMON_PROTOCOL, "the request makes no sense (%u)", r->op);
	return 0;
}

static int serve(struct connection *conn, const struct control_request *request, int fd, char **json, struct err *e)
{
	struct control_call call = {
	    .control = conn->control,
	    .request = request,
	    .fd = fd,
	    .root = conn->who.uid == 0,
	    .as = {.who = &conn->who,
		   .allow_downgrade = request->flags & CONTROL_ALLOW_DOWNGRADE,
		   .progress = progress,
		   .progress_ctx = conn},
	};

	if (check_request(request, e))
		return -1;
	return control_answer(&call, json, e);
}

static void connection_ready(void *ctx, uint32_t events)
{
	struct connection *conn = ctx;
	struct control_request request;
	struct err e = ERR_INIT;
	OWN_FREE char *json = NULL;
	int fds[MSG_MAX_FDS];
	enum msg_result result = msg_recv(conn->source.fd, &request, sizeof(request), fds, MSG_DONTWAIT, &e);

	(void)events;
	if (result == MSG_AGAIN)
		return;
	if (result == MSG_OK) {
		if (serve(conn, &request, fds[0], &json, &e))
			send_error(conn->source.fd, &e);
		else if (json)
			send_json(conn->source.fd, json);
		for (int i = 0; i < MSG_MAX_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	} else if (result == MSG_BAD) {
		if (e.code != ERR_DAEMON_PROTOCOL)
			err_set(&e, ERR_DAEMON_PROTOCOL, "the request cannot be received");
		send_error(conn->source.fd, &e);
	}
	drop(conn);
}

static struct connection *free_connection(struct control *c)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		if (c->connection[i].source.fd < 0)
			return &c->connection[i];
	return NULL;
}

static void deny(struct control *c, int sock, const struct audit_who *who)
{
	uint64_t now = loop_now_ms();
	struct err e = ERR_INIT;

	err_set(&e, ERR_DAEMON_DENIED, "uid %u may not control this daemon", who->uid);
	send_error(sock, &e);
	c->denied++;
	if (c->denied_log_ms && now - c->denied_log_ms < DENIED_LOG_MS)
		return;
	c->denied_log_ms = now;
	log_line(LOG_LEVEL_WARNING, "uid %u, pid %d (%s) was denied control; %u in all", who->uid, who->pid, who->comm,
		 c->denied);
}

static void accept_one(void *ctx, uint32_t events)
{
	struct control *c = ctx;
	struct audit_who who = {.known = false};
	struct err e = ERR_INIT;
	OWN_FD int sock = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (sock < 0)
		return;
	if (!identify(c, sock, &who)) {
		deny(c, sock, &who);
		return;
	}
	struct connection *conn = free_connection(c);
	if (!conn) {
		err_set(&e, ERR_REQUEST_BUSY, "%d requests are under way", CONTROL_CONNECTIONS);
		send_error(sock, &e);
		return;
	}
	*conn = (struct connection){.control = c,
				    .who = who,
				    .deadline_ms = loop_now_ms() + CONTROL_RECEIVE_MS,
				    .source = {.fd = sock, .ready = connection_ready, .ctx = conn}};
	if (loop_add(c->loop, &conn->source, EPOLLIN, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		conn->source.fd = -1;
		return;
	}
	TAKE_FD(sock);
}

int control_open(struct control *c, struct err *e)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		c->connection[i].source.fd = -1;
	c->started_ms = loop_now_ms();
	c->source = (struct source){.fd = c->listen_fd, .ready = accept_one, .ctx = c};
	return loop_add(c->loop, &c->source, EPOLLIN, e);
}

/* Its packet came while we were at another's request: it is not its sender who is late. */
static bool waits_for_us(const struct connection *conn)
{
	struct pollfd readable = {.fd = conn->source.fd, .events = POLLIN};

	return poll(&readable, 1, 0) == 1 && (readable.revents & POLLIN);
}

void control_tick(struct control *c, uint64_t now_ms, uint64_t *next_ms)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++) {
		struct connection *conn = &c->connection[i];
		if (conn->source.fd < 0)
			continue;
		if (now_ms >= conn->deadline_ms) {
			struct err e = ERR_INIT;
			if (waits_for_us(conn))
				continue;
			err_set(&e, ERR_REQUEST_TIMEOUT, "no request within %d ms", CONTROL_RECEIVE_MS);
			send_error(conn->source.fd, &e);
			drop(conn);
		} else {
			*next_ms = loop_sooner(*next_ms, conn->deadline_ms);
		}
	}
}

void control_close(struct control *c)
{
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		if (c->connection[i].source.fd >= 0)
			drop(&c->connection[i]);
	loop_remove(c->loop, &c->source);
}
