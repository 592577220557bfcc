#include "loader/monitor/parent.h"

#include <poll.h>
#include <sys/socket.h>

enum { ANSWER_MS = 10000 };

static int receive(struct parent *p, uint32_t op, struct supervisor_reply *reply, int *out_fd, struct err *e)
{
	struct pollfd poll_fd = {.fd = p->sock, .events = POLLIN};
	int fds[MSG_MAX_FDS], n;

	do
		n = poll(&poll_fd, 1, ANSWER_MS);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor does not answer");
	if (msg_recv(p->sock, reply, sizeof(*reply), fds, MSG_DONTWAIT, e) != MSG_OK)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor is gone");
	for (int i = 1; i < MSG_MAX_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (out_fd)
		*out_fd = fds[0];
	else if (fds[0] >= 0)
		close(fds[0]);
	if (reply->op != op)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor answers another request");
	return 0;
}

static int ask(struct parent *p, const struct supervisor_request *request, const int *fds, size_t fd_count,
	       pid_t *out_pid, int *out_fd, struct err *e)
{
	struct supervisor_reply reply = {0};
	struct err why = ERR_INIT;
	OWN_FD int fd = -1;

	if (p->broken)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor is gone");
	/* What was not sent is not answered; that nobody reads it is another matter. Answers that the clients of this user leave
	 * unread can keep descriptors from being sent (ETOOMANYREFS). */
	if (msg_send(p->sock, request, sizeof(*request), fds, fd_count, 0, &why)) {
		p->broken = why.errnum == EPIPE || why.errnum == ECONNRESET;
		if (e)
			*e = why;
		return -1;
	}
	if (receive(p, request->op, &reply, &fd, e)) {
		p->broken = true;
		return -1;
	}
	if (reply.errnum) {
		errno = reply.errnum;
		return err_errno(e, ERR_DAEMON_FAILED, "the supervisor");
	}
	if (out_fd && fd < 0)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor sent no descriptor");
	if (out_fd)
		*out_fd = TAKE_FD(fd);
	if (out_pid)
		*out_pid = reply.pid;
	return 0;
}

int parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_SPAWN_WORKER};

	if (ask(p, &request, fds, fd_count, pid, pidfd, e))
		return err_wrap(e, "starting the worker");
	return 0;
}

int parent_spawn_unpacker(struct parent *p, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_SPAWN_UNPACKER};
	const int fds[] = {sock, file_fd};

	if (ask(p, &request, fds, ARRAY_LEN(fds), pid, pidfd, e))
		return err_wrap(e, "starting the unpacker");
	return 0;
}

int parent_kill(struct parent *p, pid_t pid, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_KILL, .pid = pid};
	struct err failed = ERR_INIT;

	if (ask(p, &request, NULL, 0, NULL, NULL, &failed) && failed.errnum != ESRCH) {
		if (e)
			*e = failed;
		return err_wrap(e, "killing process %d", pid);
	}
	return 0;
}

int parent_packet_socket(struct parent *p, int *out_fd, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_PACKET_SOCKET};

	if (ask(p, &request, NULL, 0, NULL, out_fd, e))
		return err_wrap(e, "packet socket");
	return 0;
}

int parent_perf_event(struct parent *p, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_PERF_EVENT, .perf = *perf};

	if (ask(p, &request, &file_fd, file_fd >= 0, NULL, out_fd, e))
		return err_wrap(e, "perf event");
	return 0;
}

int parent_ready(struct parent *p, struct err *e)
{
	const struct supervisor_request request = {.op = SUPERVISOR_READY};

	return ask(p, &request, NULL, 0, NULL, NULL, e);
}
