#include "loader/client/resume.h"

#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "loader/client/ask.h"

/* The daemon waits up to 10 seconds before it starts a worker again, and up to 30 for a monitor. */
enum { RESUME_MS = 60000, PAUSE_FIRST_MS = 100, PAUSE_MOST_MS = 5000, LOOK_MS = 100 };

/* A worker closes connections unread when it has no place for them, and none to tell why; one that dies, at most once. */
enum { CLOSED_MOST = 5 };

enum outcome { OUTCOME_SERVED, OUTCOME_CLOSED, OUTCOME_LATE, OUTCOME_LEFT /* by the user */ };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Until the socket (-1: none) has something, or the user leaves, or the time is over. */
static bool user_leaves(int sock, int signals, int timeout_ms, bool *has_something)
{
	struct pollfd polled[] = {
	    {.fd = sock, .events = POLLIN},
	    {.fd = signals, .events = POLLIN},
	    {.fd = STDOUT_FILENO, .events = 0},
	};

	if (poll(polled, ARRAY_LEN(polled), timeout_ms) <= 0)
		return false;
	*has_something = polled[0].revents != 0;
	return polled[1].revents || polled[2].revents & (POLLERR | POLLHUP);
}

/* A connection that nobody accepts looks like one that is served: but the request is still in it. */
static enum outcome wait_for_service(int sock, int signals, uint64_t end_ms)
{
	while (now_ms() < end_ms) {
		bool has_something = false;
		int unread = 0;
		char byte;

		if (user_leaves(sock, signals, LOOK_MS, &has_something))
			return OUTCOME_LEFT;
		if (has_something)
			return recv(sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0 ? OUTCOME_SERVED : OUTCOME_CLOSED;
		if (ioctl(sock, SIOCOUTQ, &unread) == 0 && unread == 0)
			return OUTCOME_SERVED;
	}
	return OUTCOME_LATE;
}

/* One attempt. */
static int attempt(const char *run_dir, const char *request, int signals, uint64_t end_ms, int *out_sock,
		   enum outcome *out, struct err *e)
{
	struct err why = ERR_INIT;
	OWN_FD int sock = -1;

	*out = OUTCOME_LATE;
	if (ask_connect(run_dir, "events.sock", SOCK_STREAM | SOCK_NONBLOCK, &sock, &why)) {
		if (why.errnum == EAGAIN)
			return 0; /* as many wait already as the socket lets wait */
		if (why.code == ERR_DAEMON_ABSENT)
			return err_set(e, ERR_DAEMON_FAILED,
				       "the daemon ended the stream, and does not listen any more");
		if (e)
			*e = why;
		return err_wrap(e, "the stream was interrupted");
	}
	if (send(sock, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
		*out = errno == EPIPE ? OUTCOME_CLOSED : OUTCOME_LATE;
		return 0;
	}
	*out = wait_for_service(sock, signals, end_ms);
	if (*out == OUTCOME_SERVED)
		*out_sock = TAKE_FD(sock);
	return 0;
}

int resume_stream(const char *run_dir, const char *request, int signals, int *out_sock, struct err *e)
{
	uint64_t end_ms = now_ms() + RESUME_MS;
	int pause_ms = PAUSE_FIRST_MS, closed = 0;

	*out_sock = -1;
	while (now_ms() < end_ms) {
		enum outcome outcome;
		bool unused;
		if (user_leaves(-1, signals, pause_ms, &unused))
			return 0;
		if (attempt(run_dir, request, signals, end_ms, out_sock, &outcome, e))
			return -1;
		if (outcome == OUTCOME_SERVED || outcome == OUTCOME_LEFT)
			return 0;
		if (outcome == OUTCOME_CLOSED && ++closed == CLOSED_MOST)
			return err_set(e, ERR_REQUEST_BUSY, "the daemon closes connections without a word");
		pause_ms = pause_ms * 2 < PAUSE_MOST_MS ? pause_ms * 2 : PAUSE_MOST_MS;
	}
	return err_set(e, ERR_DAEMON_FAILED,
		       "the stream was interrupted, and no worker of the daemon has served it again for %d seconds",
		       RESUME_MS / 1000);
}
