/* Requests to control.sock, from a peer that may be root's or anyone's in its group: whatever they are, there is exactly
 * one answer to each, and it is well-formed. A request is a byte that says what descriptor comes along, the operation (with
 * bit 7: the contents are the packet as it is), the flags, two bytes of the contents' size; then name, newline, argument,
 * newline, and the descriptor's contents. One bundle is installed that the gate refuses; no unpacker starts: installing has
 * tests of its own. */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/monitor/control.h"
#include "tests/fuzz/need.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAW = 0x80, AUDIT_RUNS = 64, HEAD = 5, REQUESTS = 16 };

static char folder[] = "/dev/shm/obs-control-fuzz.XXXXXX";
static struct host {
	struct loop loop;
	struct state state;
	struct audit audit;
	struct clock clock;
	struct worker worker;
	struct bundles bundles;
	struct control control;
	struct sockaddr_un address;
	unsigned runs;
} h = {.loop = LOOP_INIT, .state = STATE_INIT, .audit = AUDIT_INIT, .worker = WORKER_INIT};

static int no_unpacker(void *ctx, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e)
{
	(void)ctx, (void)sock, (void)file_fd, (void)pid, (void)pidfd;
	return err_set(e, ERR_IO, "no unpacker");
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void clean_up(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void open_audit(void)
{
	struct err e = ERR_INIT;

	struct audit_report report;

	/* Whatever was asked, the log is whole, and so is its JSON. */
	if (h.audit.fd >= 0) {
		OWN_FREE char *entries = NULL;
		need(audit_verify(&h.audit, &report, &e) || audit_read(&h.audit, AUDIT_MAX_ENTRIES, &entries, &e));
	}
	audit_close(&h.audit);
	unlinkat(h.state.dir_fd, "audit.log", 0);
	unlinkat(h.state.dir_fd, "audit.json", 0);
	h.audit = (struct audit)AUDIT_INIT;
	need(audit_open(h.state.dir_fd, &h.audit, &e));
}

static void set_up(void)
{
	static char trust_d[sizeof(folder) + 16];
	struct err e = ERR_INIT;

	need(!mkdtemp(folder) || atexit(clean_up));
	snprintf(trust_d, sizeof(trust_d), "%s/trust.d", folder);
	h.address.sun_family = AF_UNIX;
	snprintf(h.address.sun_path, sizeof(h.address.sun_path), "%s/control", folder);
	need(mkdir(trust_d, 0700) || loop_open(&h.loop, &e) || state_open(folder, &h.state, &e));
	need(clock_open(h.state.dir_fd, &h.clock, &e));
	open_audit();
	h.worker.loop = &h.loop;
	need(worker_open(&h.worker, &e));
	h.bundles.state = &h.state;
	h.bundles.audit = &h.audit;
	h.bundles.worker = &h.worker;
	h.bundles.clock = &h.clock;
	h.bundles.admit.config_dir = folder;
	h.bundles.admit.unpacker = (struct admit_unpacker){.spawn = no_unpacker, .timeout_ms = 100};
	h.bundles.host.pin_root = folder;
	bundles_open(&h.bundles);
	h.control.loop = &h.loop;
	h.control.bundles = &h.bundles;
	h.control.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	need(h.control.listen_fd < 0 || bind(h.control.listen_fd, (struct sockaddr *)&h.address, sizeof(h.address)) ||
	     listen(h.control.listen_fd, 8) || control_open(&h.control, &e));
}

/* What requests change, as it was: the same input does the same again. */
static void reset(void)
{
	static const struct err why = {
	    .code = ERR_SIGNATURE_UNTRUSTED, .depth = 1, .frame = {"nobody knows its \x1b signer"}};
	static const char *const files[] = {"revoked", "policy.json", "clock", "state.json"};
	struct state_bundle *stored;
	struct err e = ERR_INIT;
	struct dirent *entry;

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		unlinkat(h.state.dir_fd, files[i], 0);
	DIR *dir = fdopendir(openat(h.state.dir_fd, "trust.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	need(!dir);
	while ((entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	h.clock.newest = 0;
	bundles_close(&h.bundles);
	need(state_add(&h.state, "obs/idle", &stored, &e));
	stored->installed = true;
	stored->serial = stored->highest = 3;
	memset(&stored->digest, 0xab, sizeof(stored->digest));
	memset(&stored->signers[0], 0xcd, sizeof(stored->signers[0]));
	stored->signer_count = 1;
	need(bundle_new_idle("obs/idle", BUNDLE_REFUSED, &why, &h.bundles.bundle[0], &e));
	h.bundles.count = 1;
}

static int make_fd(unsigned kind, const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int fd;

	switch (kind % 5) {
	case 1:
		need(file_sealed("file", data, size, &fd, &e));
		return fd;
	case 2:
		return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 3:
		return open("/dev/null", O_WRONLY | O_CLOEXEC);
	case 4:
		return open(folder, O_PATH | O_CLOEXEC);
	default:
		return -1;
	}
}

/* Up to the newline, which is stepped over. What is too long is cut, without its NUL. */
static void take_text(char *dst, size_t room, const uint8_t **data, size_t *size)
{
	const uint8_t *end = memchr(*data, '\n', *size);
	size_t len = end ? (size_t)(end - *data) : *size;

	memcpy(dst, *data, len < room ? len : room);
	*data += len + (end ? 1 : 0);
	*size -= len + (end ? 1 : 0);
}

struct input {
	const uint8_t *data;
	size_t size;
};

/* False: no answer is due. */
static bool send_request(int sock, struct input *in)
{
	struct control_request r = {
	    .magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .op = in->data[1] & ~RAW, .flags = in->data[2]};
	uint8_t kind = in->data[0], raw = in->data[1] & RAW;
	size_t size = (size_t)in->data[3] << 8 | in->data[4];
	struct err e = ERR_INIT;

	in->data += HEAD;
	in->size -= HEAD;
	if (!raw) {
		take_text(r.name, sizeof(r.name), &in->data, &in->size);
		take_text(r.arg, sizeof(r.arg), &in->data, &in->size);
	}
	if (size > in->size)
		size = in->size;
	OWN_FD int fd = raw ? -1 : make_fd(kind, in->data, size);
	if (raw)
		need(size ? msg_send(sock, in->data, size, NULL, 0, 0, &e) : shutdown(sock, SHUT_WR));
	else
		need(msg_send(sock, &r, sizeof(r), &fd, fd >= 0, 0, &e));
	in->data += size;
	in->size -= size;
	return !raw || size;
}

static void check_json(int fd)
{
	OWN_FREE uint8_t *text = NULL;
	size_t size;
	struct err e = ERR_INIT;

	need(file_check_sealed(fd, 64 << 20, &size, &e));
	need(!(text = malloc(size)) || pread(fd, text, size, 0) != (ssize_t)size);
	json_t *json = json_loadb((char *)text, size, JSON_REJECT_DUPLICATES, NULL);
	need(!json_is_object(json));
	json_decref(json);
}

/* Progress, one final packet, then the end. The peer that said nothing gets no answer. */
static void check_answers(int sock, bool answer_due)
{
	struct control_reply reply;
	enum msg_result result;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];
	unsigned finals = 0;

	while ((result = msg_recv(sock, &reply, sizeof(reply), fds, MSG_DONTWAIT, &e)) == MSG_OK) {
		need(finals || reply.magic != CONTROL_MAGIC || reply.version != CONTROL_VERSION);
		need(!memchr(reply.text, '\0', sizeof(reply.text)));
		need(!memchr(reply.code_name, '\0', sizeof(reply.code_name)));
		if (reply.kind == CONTROL_FINAL) {
			finals++;
			need(reply.code == ERR_NONE && fds[0] < 0);
			need(reply.code == ERR_INTERNAL || (reply.code != ERR_NONE && !reply.code_name[0]));
			if (reply.code == ERR_NONE)
				check_json(fds[0]);
		} else {
			need(reply.kind != CONTROL_PROGRESS);
		}
		for (int i = 0; i < MSG_MAX_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
	}
	need(result != MSG_EOF || finals != answer_due);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.data = data, .size = size};
	struct err e = ERR_INIT;

	if (!h.address.sun_family)
		set_up();
	if (h.runs++ % AUDIT_RUNS == 0)
		open_audit();
	reset();
	for (int i = 0; i < REQUESTS && in.size >= HEAD; i++) {
		OWN_FD int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		need(sock < 0 || connect(sock, (struct sockaddr *)&h.address, sizeof(h.address)));
		bool due = send_request(sock, &in);
		need(loop_wait(&h.loop, 0, &e) || loop_wait(&h.loop, 0, &e));
		check_answers(sock, due);
		need(h.control.connection[0].source.fd >= 0 || h.bundles.count > 1);
	}
	return 0;
}
