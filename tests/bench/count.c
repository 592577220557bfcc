/* count OFFSET:TEXT [SOCKET REQUEST]: counts the lines that have TEXT at OFFSET, of standard input or of a subscription,
 * at as little cost as there can be, until its end or SIGTERM. Other lines go to standard output as they are; at last comes
 * {"lines":N,"bytes":N,"seconds":S}, the seconds between the first and the last read. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 20, NS_PER_S = 1000000000 };

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int subscribe(const char *path, const char *request)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at)) || dprintf(fd, "%s\n", request) < 0) {
		fprintf(stderr, "count: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return fd;
}

struct counter {
	size_t offset;
	const char *text;
	size_t length;
	uint64_t lines;
};

/* Returns how many bytes were whole lines. */
static size_t count(struct counter *c, const char *data, size_t size)
{
	const char *p = data, *end = data + size, *newline;

	while ((newline = memchr(p, '\n', (size_t)(end - p)))) {
		size_t line = (size_t)(newline - p);
		if (line >= c->offset + c->length && memcmp(p + c->offset, c->text, c->length) == 0)
			c->lines++;
		else
			fwrite(p, 1, line + 1, stdout);
		p = newline + 1;
	}
	return (size_t)(p - data);
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_term};
	uint64_t first = 0, last = 0, bytes = 0;
	char *data = malloc(ROOM), *colon = argc > 1 ? strchr(argv[1], ':') : NULL;
	size_t used = 0;

	if (!colon || !data || (argc != 2 && argc != 4)) {
		fprintf(stderr, "usage: count OFFSET:TEXT [SOCKET REQUEST]\n");
		return 2;
	}
	struct counter c = {.offset = strtoul(argv[1], NULL, 10), .text = colon + 1, .length = strlen(colon + 1)};
	int fd = argc == 4 ? subscribe(argv[2], argv[3]) : STDIN_FILENO;

	sigaction(SIGTERM, &act, NULL);
	while (!stop) {
		ssize_t n = read(fd, data + used, ROOM - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		last = now_ns();
		first = first ? first : last;
		bytes += (uint64_t)n;
		used += (size_t)n;
		size_t done = count(&c, data, used);
		if (done == 0 && used == ROOM) {
			fprintf(stderr, "count: a line is longer than %d bytes\n", ROOM);
			return 1;
		}
		memmove(data, data + done, used - done);
		used -= done;
	}
	printf("{\"lines\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", c.lines, bytes,
	       (double)(last - first) / NS_PER_S);
	free(data);
	return 0;
}
