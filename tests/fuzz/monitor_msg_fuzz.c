/* Messages of a worker that was taken over: whatever they are, only the worker ends, and it gets no descriptor but those it
 * may ask for, read-only. Each message is eight bytes: how it is sent, op, bundle, output, pid, kind, and two of size; the
 * worker's life goes on until it sends what is none. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/monitor/worker.h"
#include "tests/fuzz/need.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd,
			       struct err *e);
int __wrap_parent_kill(struct parent *p, pid_t pid, struct err *e);
void __wrap_log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

enum { MESSAGE = 8, HANDLE = 7 };
/* how: a gift of a descriptor or several, another size, first a takeover to answer, the end of the socket behind it, and
 * nothing is heard after it */
enum { GIFT = 1, SIZED = 2, TAKEOVER = 4, END = 8, MANY = 16, DEAF = 32 };

static struct host {
	struct loop loop;
	struct worker worker;
	int theirs;
	unsigned killed, lives;
} h = {.loop = LOOP_INIT, .worker = WORKER_INIT, .theirs = -1};

int __wrap_parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd, struct err *e)
{
	(void)p, (void)e;
	need(fd_count != 3);
	h.theirs = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	*pidfd = eventfd(0, EFD_CLOEXEC);
	need(h.theirs < 0 || *pidfd < 0);
	*pid = 1;
	h.lives++;
	return 0;
}

int __wrap_parent_kill(struct parent *p, pid_t pid, struct err *e)
{
	(void)p, (void)e;
	need(pid != 1);
	h.killed++;
	return 0;
}

void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

static void started(void *ctx)
{
	(void)ctx;
}

static void sample_done(void *ctx, uint32_t bundle, uint32_t output)
{
	(void)ctx, (void)bundle, (void)output;
}

static bool begin(void)
{
	uint64_t next = UINT64_MAX;

	if (h.worker.pid)
		return true;
	if (h.theirs >= 0)
		close(h.theirs);
	h.theirs = -1;
	worker_tick(&h.worker, UINT64_MAX - 1, &next); /* without the pause after a death */
	return h.worker.pid != 0;
}

static void send_one(const uint8_t *in, const uint8_t *rest, size_t rest_size)
{
	struct worker_msg msg = {.op = in[1], .bundle = in[2], .output = in[3], .kind = in[5]};
	uint8_t how = in[0];
	struct err e = ERR_INIT;
	int gifts[3] = {-1, -1, -1};
	size_t size = sizeof(msg), gift_count = how & GIFT ? (how & MANY ? 3 : 1) : 0;

	msg.pid = in[4] == 1 ? getpid() : in[4] == 2 ? INT32_MAX : in[4] == 3 ? INT32_MIN : (int8_t)in[4];
	memcpy(msg.name, rest, rest_size < sizeof(msg.name) ? rest_size : sizeof(msg.name));
	if (how & SIZED)
		size = ((size_t)in[6] << 8 | in[7]) % (sizeof(msg) + 1);
	for (size_t i = 0; i < gift_count; i++)
		gifts[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
	/* A full socket, or one that the monitor has closed, is no concern of ours. */
	if (size && msg_send(h.theirs, &msg, size, gifts, gift_count, MSG_DONTWAIT, &e))
		need(e.errnum != EAGAIN && e.errnum != EPIPE && e.errnum != ECONNRESET);
	for (size_t i = 0; i < gift_count; i++)
		close(gifts[i]);
	if (how & END)
		close(TAKE_FD(h.theirs));
}

static void check_descriptor(int fd, const struct worker_msg *answer)
{
	struct stat st;

	need(answer->op != WORKER_OPENED || answer->errnum);
	need((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY || (fcntl(fd, F_GETFL) & O_PATH));
	need(fstat(fd, &st) || !S_ISREG(st.st_mode));
}

static void hear(void)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];

	while (h.theirs >= 0 && msg_recv(h.theirs, &msg, sizeof(msg), fds, MSG_DONTWAIT, &e) == MSG_OK)
		for (int i = 0; i < MSG_MAX_FDS; i++) {
			if (fds[i] < 0)
				continue;
			need(i);
			check_descriptor(fds[i], &msg);
			close(fds[i]);
		}
}

/* The answers must be there before: else a second goes by. */
static void take_over(const uint8_t *in)
{
	struct worker_msg done = {.op = WORKER_CUT_DONE, .bundle = in[2] & 1 ? HANDLE : in[2]};
	struct err e = ERR_INIT;
	unsigned lives = h.lives;

	if (h.theirs < 0 || !h.worker.ready)
		return;
	if (msg_send(h.theirs, &done, sizeof(done), NULL, 0, MSG_DONTWAIT, &e) == 0 && done.bundle != HANDLE)
		close(TAKE_FD(h.theirs));
	bool cut = worker_cut(&h.worker, HANDLE, HANDLE + 1);
	need(cut && (done.bundle != HANDLE || h.lives != lives));
}

static void set_up(void)
{
	struct err e = ERR_INIT;

	h.worker.loop = &h.loop;
	h.worker.started = started;
	h.worker.sample_done = sample_done;
	h.worker.events_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	need(loop_open(&h.loop, &e) || worker_open(&h.worker, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;

	if (!h.worker.loop)
		set_up();
	while (size >= MESSAGE) {
		need(!begin());
		if (data[0] & TAKEOVER)
			take_over(data);
		if (!h.worker.pid)
			break;
		send_one(data, data + MESSAGE, size - MESSAGE);
		/* An end that we have closed may be held for a moment by who walks all open files of the host, as BPF does. */
		for (int i = 0; (i < 2 || h.theirs < 0) && h.worker.pid; i++) {
			need(loop_wait(&h.loop, 0, &e));
			if (!(data[0] & DEAF))
				hear();
		}
		data += MESSAGE;
		size -= MESSAGE;
	}
	need(h.killed + (h.worker.pid != 0) != h.lives);
	/* No life outlasts its input. */
	if (h.theirs >= 0)
		close(TAKE_FD(h.theirs));
	while (h.worker.pid)
		need(loop_wait(&h.loop, 0, &e));
	return 0;
}
