#include "loader/ipc/msg.h"

#include <string.h>
#include <sys/socket.h>

union fd_space {
	char bytes[CMSG_SPACE(MSG_MAX_FDS * sizeof(int))];
	struct cmsghdr align;
};

int msg_send(int sock, const void *data, size_t size, const int *fds, size_t fd_count, int flags, struct err *e)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union fd_space space = {0};

	if (fd_count > MSG_MAX_FDS)
		return err_set(e, ERR_INTERNAL, "%zu descriptors in one message", fd_count);
	if (fd_count) {
		msg.msg_control = space.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
	}
	for (;;) {
		ssize_t n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
		if (n == (ssize_t)size)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, ERR_IO, "sendmsg");
		return err_set(e, ERR_IO, "sendmsg sent %zd of %zu bytes", n, size);
	}
}

/* Takes every descriptor of the message; past MSG_MAX_FDS they are closed and counted. */
static size_t take_fds(struct msghdr *msg, int fds[static MSG_MAX_FDS])
{
	size_t count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (count < MSG_MAX_FDS)
				fds[count] = fd;
			else
				close(fd);
			count++;
		}
	}
	return count;
}

enum msg_result msg_recv(int sock, void *data, size_t size, int fds[static MSG_MAX_FDS], int flags, struct err *e)
{
	struct iovec iov = {.iov_base = data, .iov_len = size};
	union fd_space space;
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space.bytes, .msg_controllen = sizeof(space.bytes)};
	ssize_t n;

	for (int i = 0; i < MSG_MAX_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return MSG_AGAIN;
		err_errno(e, ERR_IO, "recvmsg");
		return errno == ECONNRESET ? MSG_EOF : MSG_BAD;
	}
	size_t count = take_fds(&msg, fds);
	if (n == 0 && count == 0)
		return MSG_EOF;
	if ((size_t)n == size && count <= MSG_MAX_FDS && !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return MSG_OK;
	for (int i = 0; i < MSG_MAX_FDS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
	err_set(e, ERR_DAEMON_PROTOCOL, "message of %zd bytes with %zu descriptors where %zu bytes are due", n, count,
		size);
	return MSG_BAD;
}

int msg_pair(int pair[static 2], struct err *e)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return err_errno(e, ERR_IO, "socketpair");
	return 0;
}
