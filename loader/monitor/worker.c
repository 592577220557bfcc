#include "loader/monitor/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "loader/ipc/log.h"

enum {
	BACKOFF_FIRST_MS = 100,
	BACKOFF_MOST_MS = 10000,
	HEALTHY_MS = 30000,
	STOP_MS = 2500, /* a second for a bundle that leaves, one for what is queued */
	QUEUE_MAX = 16384,
	OPEN_WINDOW_MS = 1000,
	CUT_MS = 5000, /* it may have to be given a processor first, and its end costs more than the wait */
	OPENS_A_WINDOW = 2000,
	MESSAGES_A_TURN = 64,
};

/* What the socket has no room for yet, oldest first. */
struct worker_queue {
	struct worker_queue *next;
	struct worker_msg msg;
	int fd;
};

static void queue_clear(struct worker *w)
{
	while (w->queue) {
		struct worker_queue *next = w->queue->next;
		if (w->queue->fd >= 0)
			close(w->queue->fd);
		free(w->queue);
		w->queue = next;
	}
}

int worker_open(struct worker *w, struct err *e)
{
	OWN_FD int fd = memfd_create("obsload-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, sizeof(struct worker_stats)))
		return err_errno(e, ERR_IO, "counters of the worker");
	/* A worker that could shrink it would kill the monitor with SIGBUS. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		return err_errno(e, ERR_IO, "seals of the worker's counters");
	w->stats = mmap(NULL, sizeof(struct worker_stats), PROT_READ, MAP_SHARED, fd, 0);
	if (w->stats == MAP_FAILED) {
		w->stats = NULL;
		return err_errno(e, ERR_NOMEM, "counters of the worker");
	}
	w->stats_fd = TAKE_FD(fd);
	return 0;
}

static void forget(struct worker *w)
{
	loop_remove(w->loop, &w->sock_source);
	loop_remove(w->loop, &w->pidfd_source);
	if (w->sock >= 0)
		close(w->sock);
	if (w->pidfd >= 0)
		close(w->pidfd);
	w->sock = w->pidfd = w->sock_source.fd = w->pidfd_source.fd = -1;
	w->pid = 0;
	w->ready = false;
	w->cutting = 0;
	queue_clear(w);
}

static void schedule(struct worker *w)
{
	uint64_t now = loop_now_ms();

	if (now - w->started_ms > HEALTHY_MS)
		w->backoff_ms = 0;
	w->backoff_ms = w->backoff_ms ? w->backoff_ms * 2 : BACKOFF_FIRST_MS;
	if (w->backoff_ms > BACKOFF_MOST_MS)
		w->backoff_ms = BACKOFF_MOST_MS;
	w->start_at_ms = now + w->backoff_ms;
}

static void lost(struct worker *w, const char *why)
{
	struct err e = ERR_INIT;

	if (!w->pid)
		return;
	if (!w->stopping)
		log_line(LOG_LEVEL_ERROR, "worker %d: %s; programs stay attached", w->pid, why);
	if (parent_kill(w->parent, w->pid, &e))
		log_err(LOG_LEVEL_WARNING, &e);
	forget(w);
	w->restarts++;
	schedule(w);
}

/* ---- sending ---- */

static void watch_room(struct worker *w, bool on)
{
	struct err e = ERR_INIT;

	if (loop_change(w->loop, &w->sock_source, on ? EPOLLIN | EPOLLOUT : EPOLLIN, &e))
		log_err(LOG_LEVEL_ERROR, &e);
}

/* 1: no room. -1: the worker is lost. */
static int send_now(struct worker *w, const struct worker_msg *msg, int fd)
{
	struct err e = ERR_INIT;

	if (msg_send(w->sock, msg, sizeof(*msg), &fd, fd >= 0, MSG_DONTWAIT, &e) == 0)
		return 0;
	if (e.errnum == EAGAIN || e.errnum == ETOOMANYREFS)
		return 1;
	lost(w, "its socket is broken");
	return -1;
}

static void enqueue(struct worker *w, const struct worker_msg *msg, int fd)
{
	struct worker_queue **end = &w->queue;
	size_t count = 0;

	for (; *end; end = &(*end)->next)
		count++;
	struct worker_queue *item = count < QUEUE_MAX ? calloc(1, sizeof(*item)) : NULL;
	if (item) {
		item->msg = *msg;
		item->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	if (!item || (fd >= 0 && item->fd < 0)) {
		free(item);
		lost(w, "it does not take its messages");
		return;
	}
	*end = item;
	if (count == 0)
		watch_room(w, true);
}

static void flush(struct worker *w)
{
	while (w->queue) {
		struct worker_queue *item = w->queue;
		if (send_now(w, &item->msg, item->fd))
			return;
		w->queue = item->next;
		if (item->fd >= 0)
			close(item->fd);
		free(item);
	}
	watch_room(w, false);
}

void worker_send(struct worker *w, const struct worker_msg *msg, int fd)
{
	if (!w->pid)
		return;
	if (w->queue || send_now(w, msg, fd) == 1)
		enqueue(w, msg, fd);
}

/* ---- what it asks for ---- */

/* A read-only descriptor of /proc/<pid>/<kind>: of procfs alone, whatever serves the process's own files. */
static int open_for(pid_t pid, uint32_t kind)
{
	static const char *const names[] = {[WORKER_OPEN_MAPS] = "maps", [WORKER_OPEN_CGROUP] = "cgroup"};
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, names[kind]);
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

static bool may_open(struct worker *w)
{
	uint64_t now = loop_now_ms();

	if (now - w->open_window_ms >= OPEN_WINDOW_MS) {
		w->open_window_ms = now;
		w->open_count = 0;
	}
	return w->open_count++ < OPENS_A_WINDOW;
}

static int serve_open(struct worker *w, const struct worker_msg *asked)
{
	struct worker_msg answer = {.op = WORKER_OPENED, .pid = asked->pid, .kind = asked->kind};
	OWN_FD int fd = -1;

	if (asked->pid <= 0 || asked->kind < WORKER_OPEN_MAPS || asked->kind > WORKER_OPEN_CGROUP)
		return -1;
	if (may_open(w))
		fd = open_for(asked->pid, asked->kind);
	else
		errno = EAGAIN;
	answer.errnum = fd < 0 ? errno : 0;
	worker_send(w, &answer, fd);
	return 0;
}

static int take(struct worker *w, const struct worker_msg *msg)
{
	switch (msg->op) {
	case WORKER_READY:
		w->ready = true;
		return 0;
	case WORKER_OUTPUT_DONE:
		w->sample_done(w->ctx, msg->bundle, msg->output);
		return 0;
	case WORKER_OPEN:
		return serve_open(w, msg);
	case WORKER_CUT_DONE:
		if (msg->bundle == 0 || msg->bundle != w->cutting)
			return -1;
		w->cutting = 0;
		return 0;
	default:
		return -1;
	}
}

static void receive(struct worker *w)
{
	for (int i = 0; i < MESSAGES_A_TURN && w->pid; i++) {
		struct worker_msg msg;
		struct err e = ERR_INIT;
		int fds[MSG_MAX_FDS];
		bool sent_fds = false;
		enum msg_result result = msg_recv(w->sock, &msg, sizeof(msg), fds, MSG_DONTWAIT, &e);

		if (result == MSG_AGAIN)
			return;
		if (result == MSG_EOF) {
			lost(w, "it ended");
			return;
		}
		if (result == MSG_BAD) {
			lost(w, "it sent a message that is none");
			return;
		}
		for (int k = 0; k < MSG_MAX_FDS; k++) {
			if (fds[k] >= 0) {
				close(fds[k]);
				sent_fds = true;
			}
		}
		if (sent_fds || take(w, &msg)) {
			lost(w, "it sent a message that is none");
			return;
		}
	}
}

static void sock_ready(void *ctx, uint32_t events)
{
	struct worker *w = ctx;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		receive(w);
	if (w->pid && (events & EPOLLOUT))
		flush(w);
}

static void pidfd_ready(void *ctx, uint32_t events)
{
	struct worker *w = ctx;

	(void)events;
	lost(w, "it died");
}

/* ---- its life ---- */

static int start(struct worker *w, struct err *e)
{
	int pair[2];

	if (msg_pair(pair, e))
		return -1;
	OWN_FD int mine = pair[0];
	OWN_FD int theirs = pair[1];
	const int fds[] = {theirs, w->events_fd, w->stats_fd, w->kallsyms_fd};
	if (parent_spawn_worker(w->parent, fds, w->kallsyms_fd >= 0 ? 4 : 3, &w->pid, &w->pidfd, e))
		return -1;
	w->sock = TAKE_FD(mine);
	w->sock_source = (struct source){.fd = w->sock, .ready = sock_ready, .ctx = w};
	w->pidfd_source = (struct source){.fd = w->pidfd, .ready = pidfd_ready, .ctx = w};
	w->started_ms = loop_now_ms();
	w->start_at_ms = UINT64_MAX;
	if (loop_add(w->loop, &w->sock_source, EPOLLIN, e) || loop_add(w->loop, &w->pidfd_source, EPOLLIN, e))
		return -1;
	w->started(w->ctx);
	return 0;
}

void worker_tick(struct worker *w, uint64_t now_ms, uint64_t *next_ms)
{
	struct err e = ERR_INIT;

	if (w->pid || w->stopping)
		return;
	if (now_ms >= w->start_at_ms && start(w, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		if (w->pid)
			lost(w, "it could not be set up");
		else
			schedule(w);
	}
	if (!w->pid)
		*next_ms = loop_sooner(*next_ms, w->start_at_ms);
}

bool worker_wait(struct worker *w, uint64_t deadline_ms)
{
	uint64_t now = loop_now_ms(), next = deadline_ms;

	if (now >= deadline_ms)
		return false;
	worker_tick(w, now, &next);
	struct pollfd ends[] = {
	    {.fd = w->sock, .events = (short)(w->queue ? POLLIN | POLLOUT : POLLIN)},
	    {.fd = w->pidfd, .events = POLLIN},
	};
	/* Descriptors of -1, while none runs, are passed over. */
	if (poll(ends, ARRAY_LEN(ends), (int)(next - now)) <= 0)
		return true;
	if (ends[0].revents)
		sock_ready(w, (uint32_t)ends[0].revents); /* the bits are epoll's */
	if (w->pid && ends[1].revents)
		lost(w, "it died");
	return true;
}

bool worker_cut(struct worker *w, uint32_t old, uint32_t held)
{
	const struct worker_msg msg = {.op = WORKER_CUT, .bundle = old, .output = held};
	uint64_t deadline = loop_now_ms() + CUT_MS;
	unsigned life = w->restarts;

	if (!w->ready)
		return false;
	w->cutting = old;
	worker_send(w, &msg, -1);
	while (w->cutting && worker_wait(w, deadline))
		;
	/* It answers late, or never. */
	bool done = !w->cutting && w->restarts == life;
	if (w->cutting)
		lost(w, "it does not let one serial take over from the other");
	return done;
}

const struct worker_bundle_stats *worker_bundle_stats_of(const struct worker *w, uint32_t handle)
{
	const struct worker_bundle_stats *slot = &w->stats->bundle[handle % WORKER_STATS_SLOTS];

	return slot->bundle == handle ? slot : NULL;
}

void worker_close(struct worker *w)
{
	const struct worker_msg stop = {.op = WORKER_STOP};
	uint64_t deadline = loop_now_ms() + STOP_MS;
	struct err e = ERR_INIT;

	w->stopping = true;
	/* Samples among them may be of maps that were cleared. */
	while (w->queue && worker_wait(w, deadline))
		;
	if (w->pid && msg_send(w->sock, &stop, sizeof(stop), NULL, 0, MSG_DONTWAIT, &e) == 0) {
		struct pollfd gone = {.fd = w->pidfd, .events = POLLIN};
		if (poll(&gone, 1, STOP_MS) <= 0)
			log_line(LOG_LEVEL_WARNING, "worker %d does not end: killing it", w->pid);
	}
	if (w->pid)
		lost(w, "");
	if (w->stats)
		munmap((void *)(uintptr_t)w->stats, sizeof(struct worker_stats));
	w->stats = NULL;
	if (w->stats_fd >= 0)
		close(w->stats_fd);
	w->stats_fd = -1;
}
