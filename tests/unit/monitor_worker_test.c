/* A worker that was taken over: whatever it sends, only itself ends, and it gets no descriptor but those that it may ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/monitor/worker.h"

#ifdef OBS_VALGRIND
enum { MESSAGES = 20000 };
#else
enum { MESSAGES = 1000000 };
#endif
enum { BURST = 48 };

static struct host {
	struct loop loop;
	struct worker worker;
	int theirs; /* the worker's end; -1: it was given up */
	unsigned started, killed, samples_done;
	uint64_t random;
} h = {.loop = LOOP_INIT, .worker = WORKER_INIT, .theirs = -1};

/* ---- the supervisor ---- */

int __wrap_parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd,
			       struct err *e);
int __wrap_parent_spawn_worker(struct parent *p, const int *fds, size_t fd_count, pid_t *pid, int *pidfd, struct err *e)
{
	(void)p, (void)e;
	assert_in_range(fd_count, 3, 4);
	h.theirs = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
	*pidfd = eventfd(0, EFD_CLOEXEC);
	*pid = 1;
	assert_true(h.theirs >= 0 && *pidfd >= 0);
	return 0;
}

int __wrap_parent_kill(struct parent *p, pid_t pid, struct err *e);
int __wrap_parent_kill(struct parent *p, pid_t pid, struct err *e)
{
	(void)p, (void)e;
	assert_int_equal(pid, 1);
	h.killed++;
	return 0;
}

/* A line for each life, which nobody reads. */
void __wrap_log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

static void started(void *ctx)
{
	(void)ctx;
	h.started++;
}

static void sample_done(void *ctx, uint32_t bundle, uint32_t output)
{
	(void)ctx, (void)bundle, (void)output;
	h.samples_done++;
}

/* ---- the worker ---- */

/* xorshift64: the same messages in each run. */
static uint64_t dice(void)
{
	h.random ^= h.random << 13;
	h.random ^= h.random >> 7;
	h.random ^= h.random << 17;
	return h.random;
}

/* Mostly what a worker may send, with what it may not: so that it lives long enough to be heard. */
static void make_message(struct worker_msg *msg)
{
	static const uint32_t ops[] = {WORKER_READY, WORKER_OUTPUT_DONE, WORKER_OPEN, WORKER_OPEN};
	uint64_t words[sizeof(*msg) / sizeof(uint64_t) + 1];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = dice();
	memcpy(msg, words, sizeof(*msg));
	if (dice() % 64)
		msg->op = ops[dice() % 4];
	if (dice() % 32) {
		msg->pid = dice() % 4 ? getpid() : (int32_t)(dice() % 5000) + 1;
		msg->kind = (uint32_t)(dice() % 2) + WORKER_OPEN_MAPS;
	}
}

static bool send_one(void)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	OWN_FD int gift = -1;
	size_t size = sizeof(msg);

	make_message(&msg);
	if (dice() % 256 == 0)
		size = dice() % sizeof(msg);
	if (dice() % 256 == 0)
		gift = open("/dev/null", O_RDWR | O_CLOEXEC);
	return msg_send(h.theirs, &msg, size, &gift, gift >= 0, MSG_DONTWAIT, &e) == 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Read-only, and what was asked for. */
static void check_descriptor(int fd, const struct worker_msg *answer)
{
	char link[64], path[512];
	struct stat st;

	assert_int_equal(answer->op, WORKER_OPENED);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(fd, F_GETFL) & O_PATH, 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	assert_true(n > 0);
	path[n] = '\0';
	assert_int_equal(strncmp(path, "/proc/", 6), 0);
	assert_true(ends_with(path, answer->kind == WORKER_OPEN_MAPS ? "/maps" : "/cgroup"));
}

static unsigned hear(void)
{
	unsigned opened = 0;

	for (;;) {
		struct worker_msg msg;
		struct err e = ERR_INIT;
		int fds[MSG_MAX_FDS];
		if (msg_recv(h.theirs, &msg, sizeof(msg), fds, MSG_DONTWAIT, &e) != MSG_OK)
			return opened;
		for (int i = 0; i < MSG_MAX_FDS; i++) {
			if (fds[i] < 0)
				continue;
			assert_int_equal(i, 0);
			check_descriptor(fds[i], &msg);
			close(fds[i]);
			opened++;
		}
	}
}

static size_t descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void start(void)
{
	uint64_t next = UINT64_MAX;

	if (h.theirs >= 0)
		close(h.theirs);
	h.theirs = -1;
	worker_tick(&h.worker, UINT64_MAX - 1, &next); /* without the pause after a death */
	assert_true(h.worker.pid);
}

static void worker_taken_over_ends_only_itself(void **state)
{
	struct err e = ERR_INIT;
	unsigned opened = 0, sent = 0, lives = 0;

	(void)state;
	h.random = 88172645463325252ULL;
	start();
	size_t before = descriptors();
	while (sent < MESSAGES) {
		if (!h.worker.pid) {
			assert_int_equal(h.killed, ++lives);
			hear();
			start();
		}
		for (int i = 0; i < BURST && send_one(); i++)
			sent++;
		/* Everything that it sent, and what was queued for it. */
		for (int i = 0; i < 4 && h.worker.pid; i++) {
			assert_int_equal(loop_wait(&h.loop, 0, &e), 0);
			opened += hear();
		}
	}
	print_message("%u messages, %u lives, %u descriptors handed out, %u samples taken in\n", sent, lives, opened,
		      h.samples_done);
	assert_true(lives > MESSAGES / 200);
	assert_true(opened > 100);
	assert_true(h.samples_done > 1000);
	while (h.worker.pid && h.worker.queue) {
		assert_int_equal(loop_wait(&h.loop, 0, &e), 0);
		hear();
	}
	if (!h.worker.pid)
		start();
	assert_int_equal(descriptors(), before);
	close(h.theirs);
}

static int set_up(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	h.worker.loop = &h.loop;
	h.worker.started = started;
	h.worker.sample_done = sample_done;
	h.worker.events_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return loop_open(&h.loop, &e) || worker_open(&h.worker, &e) ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	worker_close(&h.worker);
	close(h.worker.events_fd);
	loop_close(&h.loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(worker_taken_over_ends_only_itself)};

	return cmocka_run_group_tests(tests, set_up, end);
}
