/* Stands in for the worker, in an installation of the tests' own: sends whatever it likes to the monitor, and looks at what it
 * gets. Each life has another seed. Counts and findings go to the log, which is its standard error. */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loader/ipc/msg.h"
#include "loader/ipc/supervisor.h"
#include "loader/ipc/worker.h"

enum { GIFT_FIRST = 4, GIFT_LAST = 5, HEAR_EVERY = 16, TELL_EVERY = 100 };

static uint64_t seed;

static uint64_t dice(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void make_message(struct worker_msg *msg)
{
	uint8_t *bytes = (uint8_t *)msg;

	for (size_t i = 0; i < sizeof(*msg); i++)
		bytes[i] = (uint8_t)dice();
	if (dice() % 8192)
		msg->op = WORKER_READY + (uint32_t)(dice() % 3);
	if (dice() % 8192) {
		msg->pid = (int32_t)(dice() % 5000) + 1;
		msg->kind = (uint32_t)(dice() % 2) + WORKER_OPEN_MAPS;
	}
}

/* What a descriptor may be: a ring or a read-only file. Nothing of bpf but maps, no socket, no folder. */
static bool allowed(int fd, const struct worker_msg *msg)
{
	char link[64], path[512];
	struct stat st;
	bool read_only = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	if (n < 0 || fstat(fd, &st))
		return false;
	path[n] = '\0';
	if (msg->op == WORKER_OPENED)
		return read_only && S_ISREG(st.st_mode);
	if (msg->op == WORKER_OUTPUT && strcmp(path, "anon_inode:bpf-map") == 0)
		return true;
	/* Samples cannot be written to, manifests cannot change. */
	return (msg->op == WORKER_OUTPUT || msg->op == WORKER_BUNDLE) && strncmp(path, "/memfd:", 7) == 0 &&
	       (read_only || (fcntl(fd, F_GET_SEALS) & F_SEAL_WRITE));
}

static bool hear(void)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];
	enum msg_result result;

	while ((result = msg_recv(WORKER_FD_MONITOR, &msg, sizeof(msg), fds, MSG_DONTWAIT, &e)) == MSG_OK) {
		for (int i = 0; i < MSG_MAX_FDS; i++) {
			if (fds[i] < 0)
				continue;
			if (!allowed(fds[i], &msg))
				fprintf(stderr, "evil worker: got a descriptor that it should not have, with op %u\n",
					msg.op);
			close(fds[i]);
		}
	}
	return result == MSG_AGAIN;
}

int main(void)
{
	struct timespec now;
	struct err e = ERR_INIT;
	unsigned sent = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seed = ((uint64_t)now.tv_nsec << 20 ^ (uint64_t)getpid()) | 1;
	fprintf(stderr, "evil worker: seed %llu\n", (unsigned long long)seed);
	for (;;) {
		struct worker_msg msg;
		int gift = GIFT_FIRST + (int)(dice() % (GIFT_LAST - GIFT_FIRST + 1));
		bool gives = dice() % 4096 == 0;
		size_t size = dice() % 4096 ? sizeof(msg) : dice() % sizeof(msg);
		make_message(&msg);
		if (msg_send(WORKER_FD_MONITOR, &msg, size, &gift, gives, 0, &e))
			break;
		/* It is killed before it could tell in the end. */
		if (++sent % TELL_EVERY == 0)
			fprintf(stderr, "evil worker: %d sent\n", TELL_EVERY);
		/* It does not always read what it is sent. */
		if (sent % HEAR_EVERY == 0 && dice() % 4 && !hear())
			break;
	}
	return 0;
}
