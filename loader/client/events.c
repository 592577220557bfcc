#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "bundles/base/json.h"
#include "bundles/base/text.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/pretty.h"
#include "loader/client/resume.h"
#include "loader/client/where.h"

/* A record has at most 32 KiB, of which each byte may become a few characters. */
enum { LINE_MAX_BYTES = 4 << 20, READ_BYTES = 256 << 10 };

struct stream {
	const struct options *o;
	struct pretty pretty;
	char *line; /* what came and is not yet shown */
	size_t used, room;
	uint64_t shown;
	uint64_t seq;     /* of the last event, 0: none yet */
	bool ended;       /* --count reached, or standard output closed */
	bool interrupted; /* the connection ended */
	bool unread;      /* before the daemon had read the request */
	bool resumed;     /* and no event came since */
};

/* How long a reader has to take what is being written when a signal comes. */
enum { PATIENCE_S = 2 };

static volatile sig_atomic_t leaving, leaving_fd;

/* The alarm is for a reader that has stalled: a write waits for it for ever, and goes on after a signal, so that a line is
 * not cut off for one that reads. */
static void leave(int number)
{
	const uint64_t one = 1;

	if (number == SIGALRM)
		_exit(0);
	if (leaving)
		return;
	leaving = 1;
	alarm(PATIENCE_S);
	if (write(leaving_fd, &one, sizeof(one)) < 0)
		return; /* the command has ended */
}

/* Ctrl-C is how one leaves: it makes *out_fd readable, and the command ends between two lines, with status 0. Under nohup a
 * terminal's end is none. */
static int watch_signals(int *out_fd, struct err *e)
{
	const struct sigaction action = {.sa_handler = leave, .sa_flags = SA_RESTART};
	static const int watched[] = {SIGALRM, SIGINT, SIGTERM, SIGHUP};
	struct sigaction hangup;
	sigset_t set;

	*out_fd = eventfd(0, EFD_CLOEXEC);
	if (*out_fd < 0)
		return err_errno(e, ERR_IO, "eventfd");
	leaving_fd = *out_fd;
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(watched); i++) {
		if (watched[i] == SIGHUP && sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN)
			continue;
		sigaddset(&set, watched[i]);
		if (sigaction(watched[i], &action, NULL))
			return err_errno(e, ERR_IO, "signals");
	}
	if (sigprocmask(SIG_UNBLOCK, &set, NULL) || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return err_errno(e, ERR_IO, "signals");
	return 0;
}

/* Beside the stream: events are on standard output. */
static void note(const struct stream *s, const char *text)
{
	if (s->o->json) {
		fputs("{\"warning\":", stderr);
		text_json(stderr, text);
		fputs("}\n", stderr);
	} else {
		fprintf(stderr, "obsload: %s\n", text);
	}
}

/* Numbers of events tell what is missing after an interruption. A string cannot hold this text, since its quotes would be
 * escaped, and the envelope comes before all else. Lines of this connection alone have no number. */
static void take_number(struct stream *s, const char *line, size_t size)
{
	static const char key[] = ",\"seq\":";
	const char *at = memmem(line, size, key, strlen(key));
	uint64_t seq = at ? strtoull(at + strlen(key), NULL, 10) : 0;
	char text[160];

	if (seq == 0)
		return;
	if (s->resumed && s->seq && seq <= s->seq)
		note(s, "events are numbered anew, so what is missing in between is not known");
	if (s->resumed && s->seq && seq > s->seq + 1) {
		snprintf(text, sizeof(text),
			 "between the events %" PRIu64 " and %" PRIu64 ", %" PRIu64 " were lost or not asked for",
			 s->seq, seq, seq - s->seq - 1);
		note(s, text);
	}
	s->resumed = false;
	s->seq = seq;
}

/* The worker says why in a last line. */
static int error_line(const char *line, size_t size, struct err *e)
{
	json_auto_t *answer = NULL;

	if (json_read(line, size, ERR_DAEMON_PROTOCOL, &answer, e))
		return err_wrap(e, "the daemon's error");
	const json_t *error = json_object_get(answer, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));

	if (!code)
		return err_set(e, ERR_DAEMON_PROTOCOL, "the daemon's error has no code");
	return ask_refusal(e, code, 0, message ? message : "", NULL);
}

static bool starts_with(const char *line, size_t size, const char *start)
{
	return size >= strlen(start) && memcmp(line, start, strlen(start)) == 0;
}

/* Told, not counted: --count asks for events. A field of a bundle may have this text too, hence the place: right behind the
 * time. */
static bool is_loss(const char *line, size_t size)
{
	static const char time[] = "{\"time\":\"", loss[] = "\",\"event\":\"obs.lost\"";
	const char *end = starts_with(line, size, time) ? memchr(line + strlen(time), '"', size - strlen(time)) : NULL;

	return end && starts_with(end, size - (size_t)(end - line), loss);
}

static int show(struct stream *s, const char *line, size_t size, struct err *e)
{
	if (starts_with(line, size, "{\"error\":"))
		return error_line(line, size, e);
	take_number(s, line, size);
	if (s->o->json)
		fwrite(line, 1, size, stdout);
	else
		pretty_event(&s->pretty, stdout, line, size);
	if (!is_loss(line, size))
		s->shown++;
	if (s->o->count && s->shown >= s->o->count)
		s->ended = true;
	return 0;
}

static int show_lines(struct stream *s, struct err *e)
{
	char *start = s->line, *newline;
	size_t left = s->used;

	while (!s->ended && !leaving && (newline = memchr(start, '\n', left))) {
		size_t size = (size_t)(newline - start) + 1;
		if (show(s, start, size, e))
			return -1;
		start += size;
		left -= size;
	}
	memmove(s->line, start, left);
	s->used = left;
	/* A full pipe or closed terminal: fflush tells. EPIPE is an end like any other. */
	if (fflush(stdout)) {
		if (errno != EPIPE)
			return err_errno(e, ERR_IO, "standard output");
		s->ended = true;
	}
	return 0;
}

static int grow(struct stream *s, struct err *e)
{
	if (s->room - s->used >= READ_BYTES)
		return 0;
	if (s->room >= LINE_MAX_BYTES)
		return err_set(e, ERR_DAEMON_PROTOCOL, "a line of more than %d bytes", LINE_MAX_BYTES);
	size_t room = s->room ? 2 * s->room : 2 * (size_t)READ_BYTES;
	char *grown = realloc(s->line, room);
	if (!grown)
		return err_set(e, ERR_NOMEM, "%zu bytes of events", room);
	s->line = grown;
	s->room = room;
	return 0;
}

static int receive(struct stream *s, int sock, struct err *e)
{
	if (grow(s, e))
		return -1;
	ssize_t n = read(sock, s->line + s->used, s->room - s->used);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n < 0 && errno != ECONNRESET)
		return err_errno(e, ERR_IO, "events");
	if (n <= 0) {
		s->interrupted = true;
		s->unread |= n < 0; /* a socket is reset when it is closed with bytes in it */
		return 0;
	}
	s->used += (size_t)n;
	return show_lines(s, e);
}

/* Until --count, a signal, a closed standard output, or the end of the connection. */
static int follow(struct stream *s, int sock, int signals, struct err *e)
{
	struct pollfd polled[] = {
	    {.fd = sock, .events = POLLIN},
	    {.fd = signals, .events = POLLIN},
	    {.fd = STDOUT_FILENO, .events = 0}, /* POLLERR when a pipe's reader goes, even while no event comes */
	};

	while (!s->ended && !s->interrupted) {
		if (poll(polled, ARRAY_LEN(polled), -1) < 0) {
			if (errno == EINTR)
				continue;
			return err_errno(e, ERR_IO, "poll");
		}
		if (polled[1].revents || polled[2].revents & (POLLERR | POLLHUP))
			return 0;
		if (polled[0].revents && receive(s, sock, e))
			return -1;
	}
	return 0;
}

/* What the next worker had sent before we came is asked for: its memory is new, so nothing comes twice. Not with samples,
 * which would be all of it. */
static int request_again(const struct options *o, int argc, char **argv, char **out, struct err *e)
{
	struct options again = *o;

	again.last = o->sample > 1 ? 0 : WHERE_MAX_LAST;
	return where_request(&again, argc, argv, out, e);
}

static int resume(struct stream *s, const char *request, int signals, int *sock, struct err *e)
{
	note(s, "the stream was interrupted: connecting again");
	close(*sock);
	if (resume_stream(s->o->run_dir, request, signals, sock, e))
		return -1;
	s->ended = *sock < 0;
	if (!s->ended)
		note(s, "the stream goes on");
	s->used = 0; /* a line that was cut off */
	s->interrupted = s->unread = false;
	s->resumed = true;
	return 0;
}

int command_events(const struct options *o, int argc, char **argv, struct err *e)
{
	OWN_FREE char *request = NULL;
	OWN_FREE char *again = NULL;
	OWN_FD int sock = -1;
	OWN_FD int signals = -1;
	struct stream s = {.o = o};
	struct term term = term_of(STDOUT_FILENO);

	if (where_request(o, argc, argv, &request, e) || request_again(o, argc, argv, &again, e) ||
	    ask_connect(o->run_dir, "events.sock", SOCK_STREAM, &sock, e) || watch_signals(&signals, e))
		return -1;
	/* A refusal (too many subscribers) may have closed the socket: its line is still there to be read. */
	s.unread = send(sock, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request);
	if (s.unread && errno != EPIPE)
		return err_errno(e, ERR_IO, "events request");
	pretty_init(&s.pretty, &term);
	int result = follow(&s, sock, signals, e);
	while (result == 0 && s.interrupted) {
		result = resume(&s, s.unread ? request : again, signals, &sock, e);
		if (result == 0)
			result = follow(&s, sock, signals, e);
	}
	free(s.line);
	return result;
}
