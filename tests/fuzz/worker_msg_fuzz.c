/* Messages of the monitor, in any order, with descriptors of any kind: at worst an error. The input is a count, messages of
 * eight bytes each (op, bundle, output, descriptor, CPUs, count, and two of a ring's producer), and what is left: the
 * contents of rings, samples and kernel symbols. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bundles/base/file.h"
#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/worker/channel.h"
#include "loader/worker/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_history_new(size_t bytes, struct history **out, struct err *e);
int __real_history_new(size_t bytes, struct history **out, struct err *e);
void __wrap_log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void __wrap_log_err(enum log_level level, const struct err *e);

enum { MESSAGES = 24, MESSAGE = 8, RING = 4096, PAGE = 4096, SAMPLE_BYTES = 4096, SHORT = 8 };

static struct text {
	uint8_t *bytes;
	size_t size;
} manifest[2];

/* Rings stand here as files, which epoll does not take. */
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	int rc = __real_epoll_ctl(epoll_fd, op, fd, event);

	return rc && errno == EPERM ? 0 : rc;
}

/* Nobody asks for it here. */
int __wrap_history_new(size_t bytes, struct history **out, struct err *e)
{
	return __real_history_new(bytes / 64, out, e);
}

void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

void __wrap_log_err(enum log_level level, const struct err *e)
{
	(void)level, (void)e;
}

static void need(int failed)
{
	if (failed)
		abort();
}

/* Positions of the consumer and the producer, then the data twice, as the kernel maps it. */
static int make_ring(uint64_t consumer, uint64_t producer, const uint8_t *data, size_t size)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);
	size_t most = size < RING ? size : RING;

	need(fd < 0 || ftruncate(fd, 2 * PAGE + 2 * RING));
	need(pwrite(fd, &consumer, sizeof(consumer), 0) < 0 || pwrite(fd, &producer, sizeof(producer), PAGE) < 0);
	need(pwrite(fd, data, most, 2 * PAGE) < 0 || pwrite(fd, data, most, 2 * PAGE + RING) < 0);
	return fd;
}

static int make_fd(const uint8_t *in, const uint8_t *data, size_t size)
{
	uint64_t producer = (uint64_t)in[6] << 8 | in[7];
	struct err e = ERR_INIT;
	int fd = -1;

	switch (in[3] % 8) {
	case 1:
	case 2:
		need(file_sealed("manifest", manifest[in[3] % 2].bytes, manifest[in[3] % 2].size, &fd, &e));
		return fd;
	case 3:
	case 4:
		need(file_sealed("sample", data, size < SAMPLE_BYTES ? size : SAMPLE_BYTES, &fd, &e));
		return fd;
	case 5:
		return make_ring(0, producer, data, size);
	case 6: /* records over the end of the data */
		return make_ring(RING - 64, RING - 64 + producer, data, size);
	case 7:
		need(file_sealed("empty", data, 0, &fd, &e));
		return fd;
	default:
		return -1;
	}
}

static void send_one(int sock, const uint8_t *in, const uint8_t *rest, size_t rest_size)
{
	struct worker_msg msg = {.op = in[0] % 16,
				 .bundle = in[1] % 4,
				 .output = in[2] % 8,
				 .ring_bytes = in[2] & 0x20   ? 3 * RING
					       : in[2] & 0x40 ? 64
							      : RING,
				 .cpus = in[4] % 8,
				 .count = in[5]};
	struct err e = ERR_INIT;
	int fds[2] = {make_fd(in, rest, rest_size), -1};

	memset(msg.name, 'n', in[3] & 0x40 ? sizeof(msg.name) : 8);
	memset(msg.action, 'a', in[3] & 0x80 ? sizeof(msg.action) : 4);
	if (fds[0] >= 0 && in[4] & 0x40)
		need((fds[1] = dup(fds[0])) < 0);
	need(msg_send(sock, &msg, in[4] & 0x80 ? sizeof(msg) - SHORT : sizeof(msg), fds,
		      (size_t)(fds[0] >= 0) + (fds[1] >= 0), MSG_DONTWAIT, &e));
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* What worker_run does in a turn, at the pace of the input. */
static int turn(struct worker *w, uint64_t *now)
{
	struct err e = ERR_INIT;
	bool leaves = w->leaving != NULL;

	*now += 1000000000;
	if (channel_receive(w, &e))
		return -1;
	if (w->cut_since_ns && *now % 2)
		channel_cut(w, w->cut_since_ns + 1000000);
	for (size_t i = 0; i < w->bundle_count; i++) {
		bundle_consume(w->bundles[i], RING);
		bundle_step_samples(w->bundles[i], 16, channel_sample_done, w);
		bundle_tell_losses(w->bundles[i], *now, leaves);
	}
	stream_replay(w->stream);
	for (size_t i = 0; i < w->bundle_count; i++)
		bundle_release(w->bundles[i]);
	for (size_t i = 0; leaves && i < w->bundle_count; i++)
		if (w->bundles[i] == w->leaving) {
			w->bundles[i] = w->bundles[--w->bundle_count];
			bundle_free(&w->leaving);
			break;
		}
	if (channel_flush(w, &e))
		return -1;
	return w->stop || w->monitor_gone ? -1 : 0;
}

static void hear(int sock)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];

	while (msg_recv(sock, &msg, sizeof(msg), fds, MSG_DONTWAIT, &e) == MSG_OK)
		need(msg.op != WORKER_OUTPUT_DONE && msg.op != WORKER_CUT_DONE && msg.op != WORKER_READY);
}

static void run(struct worker *w, int sock, const uint8_t *messages, size_t count, const uint8_t *rest,
		size_t rest_size)
{
	struct err e = ERR_INIT;
	uint64_t now = 1;

	need(channel_say_ready(w, &e));
	for (size_t i = 0; i < count; i++) {
		send_one(sock, messages + MESSAGE * i, rest, rest_size);
		now += messages[MESSAGE * i + 5] & 1;
		if (turn(w, &now))
			return;
		hear(sock);
	}
	need(shutdown(sock, SHUT_WR));
	while (turn(w, &now) == 0)
		hear(sock);
}

static void read_manifests(void)
{
	static const char *const files[] = {"tests/golden/manifest.json", "tests/fuzz/worker_msg.json"};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		need(file_read(files[i], 1 << 20, ERR_LIMIT, &manifest[i].bytes, &manifest[i].size, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct worker_config config = {.host = "h"};
	struct worker *w = NULL;
	struct err e = ERR_INIT;
	int pair[2];

	if (!manifest[0].bytes)
		read_manifests();
	if (size < 1 || size < 1 + MESSAGE * (size_t)(data[0] % MESSAGES))
		return 0;
	size_t count = data[0] % MESSAGES;
	const uint8_t *rest = data + 1 + MESSAGE * count;
	size_t rest_size = size - 1 - MESSAGE * count;
	need(msg_pair(pair, &e));
	config.monitor_fd = pair[1];
	config.events_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	config.stats_fd = memfd_create("stats", MFD_CLOEXEC);
	config.kallsyms_fd = memfd_create("kallsyms", MFD_CLOEXEC);
	need(write(config.kallsyms_fd, rest, rest_size) != (ssize_t)rest_size);
	need(config.events_fd < 0 || ftruncate(config.stats_fd, sizeof(struct worker_stats)) ||
	     worker_new(&config, &w, &e));
	run(w, pair[0], data + 1, count, rest, rest_size);
	worker_free(&w);
	close(pair[0]);
	close(pair[1]);
	close(config.events_fd);
	close(config.stats_fd);
	close(config.kallsyms_fd);
	return 0;
}
