/* What an unpacker says that was taken over by the archive it read: the monitor ends up with files that could be a bundle's,
 * or with a code that the unpacker may give. Each message is a byte of kind, one of descriptor, two of size, a path ended by
 * newline, and bytes of that size. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/unpacker.h"
#include "loader/monitor/admit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 4, KIND_RAW = 7 };

static struct input {
	const uint8_t *data;
	size_t size;
	unsigned killed, files;
} input;

static void need(int failed)
{
	if (failed)
		abort();
}

static int make_fd(unsigned kind, const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int fd = -1;

	switch (kind % 6) {
	case 0:
	case 1:
		need(file_sealed("file", data, size, &fd, &e));
		return fd;
	case 2: /* not sealed */
		fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		need(fd < 0 || write(fd, data, size) != (ssize_t)size);
		return fd;
	case 3: /* could be cut short */
		fd = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		need(fd < 0 || write(fd, data, size) != (ssize_t)size ||
		     fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SEAL));
		return fd;
	case 4:
		return open("/dev/zero", O_RDONLY | O_CLOEXEC);
	default:
		return -1;
	}
}

/* Up to the newline, which is stepped over. What is too long is cut, without its NUL. */
static void take_text(struct input *in, char *dst, size_t room)
{
	const uint8_t *end = memchr(in->data, '\n', in->size);
	size_t len = end ? (size_t)(end - in->data) : in->size;

	memcpy(dst, in->data, len < room ? len : room);
	in->data += len + (end ? 1 : 0);
	in->size -= len + (end ? 1 : 0);
}

static bool send_one(struct input *in, int sock)
{
	struct unpacker_msg msg = {0};
	struct err e = ERR_INIT;
	uint8_t kind = in->data[0] % (KIND_RAW + 1), fd_kind = in->data[1];
	size_t size = (size_t)in->data[2] << 8 | in->data[3];

	in->data += HEAD;
	in->size -= HEAD;
	msg.kind = kind;
	msg.count = fd_kind & 0x80 ? (uint32_t)size : in->files;
	take_text(in, kind == UNPACKER_FAILED ? msg.code_name : msg.path,
		  kind == UNPACKER_FAILED ? sizeof(msg.code_name) : sizeof(msg.path));
	if (size > in->size)
		size = in->size;
	if (kind == UNPACKER_FAILED)
		memcpy(msg.text, in->data, size < sizeof(msg.text) ? size : sizeof(msg.text));
	/* Descriptors come with files; others only if they ask for them. */
	int fds[2] = {kind == UNPACKER_FILE || (fd_kind & 0x40) ? make_fd(fd_kind & 0x3f, in->data, size) : -1, -1};
	if (fds[0] >= 0 && (fd_kind & 0x40))
		fds[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
	in->files += kind == UNPACKER_FILE;
	int failed = msg_send(sock, &msg, kind == KIND_RAW ? size % sizeof(msg) + 1 : sizeof(msg), fds,
			      fds[1] >= 0 ? 2 : fds[0] >= 0, MSG_DONTWAIT, &e);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	in->data += size;
	in->size -= size;
	return failed;
}

static int spawn(void *ctx, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e)
{
	struct input *in = ctx;

	(void)file_fd, (void)e;
	*pid = 1;
	*pidfd = eventfd(1, EFD_CLOEXEC); /* it ended */
	need(*pidfd < 0);
	while (in->size >= HEAD && !send_one(in, sock))
		;
	return 0;
}

static void kill_it(void *ctx, pid_t pid)
{
	need(pid != 1);
	((struct input *)ctx)->killed++;
}

/* Without a signer nobody is trusted: the gate says so, whatever the files are. */
static void check_gate(struct bundle_files **files)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(verified_bundle) struct verified_bundle *bundle = NULL;
	struct gate_seen seen = {0};
	struct err e = ERR_INIT;

	need(trust_new(&trust, &e));
	const struct gate gate = {.trust = trust, .now = 1800000000};
	need(!gate_verify(&gate, files, &bundle, &seen, &e) || bundle || seen.name[0]);
	need(err_status(e.code) != err_status(ERR_SIGNATURE_MISSING) && e.code != ERR_MANIFEST_MISSING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct admit_unpacker unpacker = {.spawn = spawn, .kill = kill_it, .ctx = &input, .timeout_ms = 100};
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *tar = NULL;
	struct err e = ERR_INIT;
	size_t tar_size;

	input = (struct input){.data = data, .size = size};
	if (admit_unpack(&unpacker, -1, &files, &e)) {
		need(files || e.code == ERR_INTERNAL || input.killed != 1);
		need(strncmp(err_name(e.code), "archive.", 8) != 0 && strncmp(err_name(e.code), "system.", 7) != 0);
		return 0;
	}
	need(input.killed);
	/* Whoever sent them, they could stand in an archive. */
	if (files->count)
		need(archive_write(files, 0, &tar, &tar_size, &e));
	check_gate(&files);
	return 0;
}
