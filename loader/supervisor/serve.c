#include "loader/supervisor/serve.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/supervisor.h"
#include "loader/supervisor/notify.h"
#include "loader/supervisor/perf.h"

/* One worker, and unpackers one at a time; a few more while dead ones wait to be reaped. */
enum { UNPACKERS_AT_ONCE = 4, WORKERS_AT_ONCE = 2 };

static int spawn(struct server *s, enum child_kind kind, const int *fds, size_t fd_count, const char *const *args,
		 struct supervisor_reply *reply, int *out_fd)
{
	size_t most = kind == CHILD_WORKER ? WORKERS_AT_ONCE : UNPACKERS_AT_ONCE;
	struct err e = ERR_INIT;
	pid_t pid;

	if (children_count(&s->children, kind) >= most) {
		reply->errnum = EAGAIN;
		return 0;
	}
	if (children_spawn(&s->children, kind, fds, fd_count, args, &pid, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		reply->errnum = e.errnum ? e.errnum : EIO;
		return 0;
	}
	reply->pid = pid;
	*out_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*out_fd < 0) {
		reply->errnum = errno;
		kill(pid, SIGKILL);
	}
	return 0;
}

static int spawn_worker(struct server *s, const int *fds, struct supervisor_reply *reply, int *out_fd)
{
	char most[16];
	const char *args[] = {"obsload-worker", s->max_subscribers ? "--max-subscribers" : NULL, most, NULL};

	snprintf(most, sizeof(most), "%u", s->max_subscribers);
	if (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)
		return -1;
	return spawn(s, CHILD_WORKER, fds, MSG_MAX_FDS, args, reply, out_fd);
}

static int spawn_unpacker(struct server *s, const int *fds, struct supervisor_reply *reply, int *out_fd)
{
	const char *args[] = {"obsload-unpacker", NULL};

	if (fds[0] < 0 || fds[1] < 0)
		return -1;
	return spawn(s, CHILD_UNPACKER, fds, 2, args, reply, out_fd);
}

static int answer(struct server *s, const struct supervisor_request *request, const int *fds,
		  struct supervisor_reply *reply, int *out_fd)
{
	struct err e = ERR_INIT;

	switch (request->op) {
	case SUPERVISOR_SPAWN_WORKER:
		return spawn_worker(s, fds, reply, out_fd);
	case SUPERVISOR_SPAWN_UNPACKER:
		return spawn_unpacker(s, fds, reply, out_fd);
	case SUPERVISOR_KILL:
		if (children_kill(&s->children, request->pid, SIGKILL))
			reply->errnum = errno;
		return 0;
	case SUPERVISOR_PACKET_SOCKET:
		*out_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (*out_fd < 0)
			reply->errnum = errno;
		return 0;
	case SUPERVISOR_PERF_EVENT:
		*out_fd = perf_open(&request->perf, fds[0]);
		if (*out_fd < 0)
			reply->errnum = errno;
		return 0;
	case SUPERVISOR_READY:
		s->was_ready = true;
		if (notify_send("READY=1", &e)) {
			log_err(LOG_LEVEL_WARNING, &e);
			reply->errnum = e.errnum;
		}
		return 0;
	default:
		return -1;
	}
}

int serve_request(struct server *s)
{
	struct supervisor_request request;
	struct supervisor_reply reply = {0};
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS], out_fd = -1, rc;
	enum msg_result result = msg_recv(s->sock, &request, sizeof(request), fds, MSG_DONTWAIT, &e);

	if (result == MSG_AGAIN)
		return 0;
	if (result == MSG_EOF) {
		/* It is dying: SIGCHLD tells the rest. A socket at its end would keep poll awake. */
		close(TAKE_FD(s->sock));
		return 0;
	}
	if (result == MSG_BAD) {
		log_err(LOG_LEVEL_ERROR, &e);
		return -1;
	}
	reply.op = request.op;
	rc = answer(s, &request, fds, &reply, &out_fd);
	for (int i = 0; i < MSG_MAX_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (rc)
		log_line(LOG_LEVEL_ERROR, "the monitor sent a request that is none (%u)", request.op);
	else if (msg_send(s->sock, &reply, sizeof(reply), &out_fd, out_fd >= 0, MSG_DONTWAIT, &e))
		rc = -1;
	if (out_fd >= 0)
		close(out_fd);
	return rc;
}
