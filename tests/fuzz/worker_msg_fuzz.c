/* Messages of the monitor, in any order, with descriptors of any kind: at worst an error. Each message is four bytes (op,
 * bundle, output, descriptor); what is left is the contents of samples. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/worker/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES = 16, SAMPLE_BYTES = 4096 };

static uint8_t *manifest;
static size_t manifest_size;

static int make_fd(unsigned kind, const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int fd = -1;

	switch (kind % 4) {
	case 0:
		return -1;
	case 1:
		if (file_sealed("manifest", manifest, manifest_size, &fd, &e))
			abort();
		return fd;
	case 2:
		if (file_sealed("sample", data, size < SAMPLE_BYTES ? size : SAMPLE_BYTES, &fd, &e))
			abort();
		return fd;
	default: /* a ring of 4 KiB whose records are the input */
		fd = memfd_create("ring", MFD_CLOEXEC);
		if (fd < 0 || ftruncate(fd, 4 * 4096) || pwrite(fd, data, size < 8192 ? size : 8192, 4096) < 0)
			abort();
		return fd;
	}
}

static int feed(struct worker *w, const uint8_t *in, const uint8_t *rest, size_t rest_size)
{
	struct worker_msg msg = {
	    .op = in[0] % 10, .bundle = in[1] % 4, .output = in[2] % 4, .ring_bytes = 4096, .cpus = in[2] >> 6};
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS] = {-1, -1, -1, -1};

	memset(msg.name, in[3], in[3] & 0x40 ? sizeof(msg.name) : 8);
	fds[0] = make_fd(in[3], rest, rest_size);
	int bad = channel_take(w, &msg, fds, &e);
	for (int i = 0; i < MSG_MAX_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (size_t i = 0; i < w->bundle_count; i++) {
		bundle_consume(w->bundles[i], 4096);
		bundle_step_samples(w->bundles[i], 64, channel_sample_done, w);
		bundle_tell_losses(w->bundles[i], 1, true);
	}
	return bad;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct worker_config config = {.kallsyms_fd = -1, .host = "h"};
	struct worker *w = NULL;
	struct err e = ERR_INIT;
	int pair[2];

	if (!manifest && file_read("tests/golden/manifest.json", 1 << 20, ERR_LIMIT, &manifest, &manifest_size, &e))
		abort();
	if (size < 1 || size < 1 + 4 * (size_t)(data[0] % MESSAGES))
		return 0;
	if (msg_pair(pair, &e))
		abort();
	config.monitor_fd = pair[1];
	config.events_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	config.stats_fd = memfd_create("stats", MFD_CLOEXEC);
	if (config.events_fd < 0 || ftruncate(config.stats_fd, sizeof(struct worker_stats)) ||
	    worker_new(&config, &w, &e))
		abort();
	size_t count = data[0] % MESSAGES;
	const uint8_t *rest = data + 1 + 4 * count;
	for (size_t i = 0; i < count; i++)
		if (feed(w, data + 1 + 4 * i, rest, size - 1 - 4 * count))
			break;
	worker_free(&w);
	close(pair[0]);
	close(pair[1]);
	close(config.events_fd);
	close(config.stats_fd);
	return 0;
}
