/* connections hold COUNT: opens so many TCP connections to itself on loopback, says "open", closes them at the end of its
 * standard input. connections rate COUNT SECONDS: opens and closes COUNT a second, one after the other.
 * Prints {"connections":N,"seconds":S}: the time to open them, or the time of it all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A source address has about 28,000 ports: take a new one before that. */
enum { NS_PER_S = 1000000000, PER_ADDRESS = 5000 };

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void must(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "connections: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static int listener(struct sockaddr_in *at)
{
	socklen_t size = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	must(fd, "socket");
	must(bind(fd, (struct sockaddr *)at, size), "bind");
	must(listen(fd, 4096), "listen");
	must(getsockname(fd, (struct sockaddr *)at, &size), "getsockname");
	return fd;
}

static void open_one(int accepting, const struct sockaddr_in *to, uint64_t index, int fd[static 2])
{
	const int on = 1;
	const struct sockaddr_in from = {.sin_family = AF_INET,
					 .sin_addr.s_addr =
					     htonl(INADDR_LOOPBACK + 1 + (uint32_t)(index / PER_ADDRESS % 200))};

	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(fd[0], "socket");
	must(setsockopt(fd[0], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)), "IP_BIND_ADDRESS_NO_PORT");
	must(bind(fd[0], (const struct sockaddr *)&from, sizeof(from)), "bind");
	must(connect(fd[0], (const struct sockaddr *)to, sizeof(*to)), "connect");
	fd[1] = accept(accepting, NULL, NULL);
	must(fd[1], "accept");
}

/* Opens `count` from the index `first` on, tells its parent, and keeps them until the parent is gone. */
static void hold_some(uint64_t first, uint64_t count, int done, int end)
{
	struct sockaddr_in at;
	char byte = 0;
	int fd[2], accepting = listener(&at);

	for (uint64_t i = 0; i < count; i++)
		open_one(accepting, &at, first + i, fd);
	must((int)write(done, &byte, 1), "write");
	must((int)read(end, &byte, 1), "read");
	_exit(0);
}

/* In processes of as many as the limit of open files allows, which not even root may raise everywhere. */
static void hold(uint64_t count)
{
	struct rlimit files;
	int done[2], end[2];
	char byte;

	must(getrlimit(RLIMIT_NOFILE, &files), "limit of open files");
	files.rlim_cur = files.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &files), "limit of open files");
	must(pipe2(done, O_NONBLOCK), "pipe");
	must(pipe(end), "pipe");
	uint64_t start = now_ns(), most = (files.rlim_cur - 64) / 2;
	for (uint64_t i = 0; i < count; i += most) {
		pid_t child = fork();
		must(child, "fork");
		if (child == 0) {
			close(done[0]);
			close(end[1]);
			hold_some(i, count - i < most ? count - i : most, done[1], end[0]);
		}
		/* One that failed has said why, and is gone. */
		while (read(done[0], &byte, 1) != 1)
			must(waitpid(child, NULL, WNOHANG) == 0 ? usleep(1000) : -1,
			     "a process that opens connections");
	}
	printf("{\"connections\":%" PRIu64 ",\"seconds\":%.6f}\n", count, (double)(now_ns() - start) / NS_PER_S);
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	close(end[1]);
	while (wait(NULL) > 0)
		;
}

static void rate(uint64_t a_second, double seconds)
{
	uint64_t start = now_ns(), count = (uint64_t)((double)a_second * seconds);
	struct sockaddr_in at;
	int fd[2], accepting = listener(&at);

	for (uint64_t i = 0; i < count; i++) {
		uint64_t due = start + i * NS_PER_S / a_second;
		const struct timespec when = {.tv_sec = (time_t)(due / NS_PER_S), .tv_nsec = (long)(due % NS_PER_S)};
		if (due > now_ns())
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
		open_one(accepting, &at, i, fd);
		close(fd[0]);
		close(fd[1]);
	}
	printf("{\"connections\":%" PRIu64 ",\"seconds\":%.6f}\n", count, (double)(now_ns() - start) / NS_PER_S);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "hold") == 0)
		hold(strtoull(argv[2], NULL, 10));
	else if (argc == 4 && strcmp(argv[1], "rate") == 0)
		rate(strtoull(argv[2], NULL, 10), strtod(argv[3], NULL));
	else
		return fprintf(stderr, "usage: connections hold COUNT | rate COUNT SECONDS\n"), 2;
	return 0;
}
