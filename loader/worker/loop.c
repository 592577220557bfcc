#include "loader/worker/loop.h"

#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "loader/worker/channel.h"
#include "loader/worker/notice.h"
#include "loader/worker/stats.h"

enum {
	EVENTS = 64,
	TICK_MS = 100, /* also the longest that a record waits in a ring: programs wake us by bytes pending only */
	NS_PER_MS = 1000000,
	RING_BYTES_A_TURN = 32 << 10, /* about what a socket's buffer takes as lines, so that a quick reader keeps up */
	SAMPLE_ENTRIES_A_TURN = 256,
	SAMPLE_TURN_MS = 1, /* a big sample is spread out in time: it must not flood queues that events need */
	STOP_MS = 1000,
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int watch(const struct worker *w, int fd, void *tag, struct err *e)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};

	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		return err_errno(e, ERR_IO, "epoll");
	return 0;
}

int worker_new(const struct worker_config *config, struct worker **out, struct err *e)
{
	OWN(worker) struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return err_errno(e, ERR_NOMEM, "worker");
	w->config = *config;
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->epoll_fd < 0)
		return err_errno(e, ERR_IO, "epoll");
	if (stats_map(config->stats_fd, &w->stats, e))
		return -1;
	w->stats->started_ns = now_ns();
	w->notice_losses.stats = &w->notice_stats;
	if (stream_new(w->stats, config->host, &w->stream, e) ||
	    notice_type_add(w->stream, &w->notice_losses, &w->notice_type, e) ||
	    server_new(config->events_fd, w->epoll_fd, config->max_subscribers, w->stream, w->stats, &w->server, e))
		return -1;
	/* Addresses of our own fields tell the two from subscribers, rings have none. */
	if (watch(w, config->monitor_fd, &w->config.monitor_fd, e) ||
	    watch(w, config->events_fd, &w->config.events_fd, e))
		return -1;
	*out = TAKE_PTR(w);
	return 0;
}

void worker_free(struct worker **worker)
{
	struct worker *w = *worker;

	if (!w)
		return;
	server_free(&w->server);
	for (size_t i = 0; i < w->bundle_count; i++)
		bundle_free(&w->bundles[i]);
	free(w->bundles);
	stream_free(&w->stream);
	kallsyms_free(&w->kallsyms);
	stats_unmap(&w->stats);
	free(w->done);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	free(w);
	*worker = NULL;
}

static int dispatch(struct worker *w, const struct epoll_event *events, int count, uint64_t now, struct err *e)
{
	for (int i = 0; i < count; i++) {
		void *tag = events[i].data.ptr;
		if (tag == &w->config.monitor_fd) {
			if (channel_receive(w, e))
				return -1;
		} else if (tag == &w->config.events_fd) {
			server_accept(w->server, now);
		} else if (tag) { /* none: rings, which are read anyway */
			server_ready(w->server, tag, events[i].events, now);
		}
	}
	return 0;
}

/* Reads rings and samples, and sends. Returns how long to wait before the next turn. */
static int turn(struct worker *w)
{
	bool rings = false, samples = false;

	for (size_t i = 0; i < w->bundle_count; i++) {
		rings |= bundle_consume(w->bundles[i], RING_BYTES_A_TURN);
		samples |= bundle_step_samples(w->bundles[i], SAMPLE_ENTRIES_A_TURN, channel_sample_done, w);
	}
	bool replays = stream_replay(w->stream);
	server_flush(w->server);
	if (rings || replays)
		return 0;
	return samples ? SAMPLE_TURN_MS : TICK_MS;
}

static void tick(struct worker *w, uint64_t now, bool flush)
{
	stream_refresh_clock(w->stream);
	for (size_t i = 0; i < w->bundle_count; i++)
		bundle_tell_losses(w->bundles[i], now, flush);
	server_tick(w->server, now);
}

/* What is queued is sent for a while; rings keep what they have for the next worker. */
static int finish(struct worker *w, struct err *e)
{
	struct epoll_event events[EVENTS];
	uint64_t now = now_ns(), end = now + (uint64_t)STOP_MS * NS_PER_MS;

	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->config.monitor_fd, NULL);
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->config.events_fd, NULL);
	tick(w, now, true);
	for (;;) {
		server_flush(w->server);
		now = now_ns();
		if (server_is_drained(w->server) || now >= end)
			return 0;
		int count = epoll_wait(w->epoll_fd, events, EVENTS, (int)((end - now) / NS_PER_MS) + 1);
		if (count < 0 && errno != EINTR)
			return err_errno(e, ERR_IO, "epoll_wait");
		for (int i = 0; i < count; i++)
			if (events[i].data.ptr)
				server_ready(w->server, events[i].data.ptr, events[i].events, now);
	}
}

int worker_run(struct worker *w, struct err *e)
{
	struct epoll_event events[EVENTS];
	uint64_t ticked = 0;
	int wait = 0;

	if (channel_say_ready(w, e))
		return err_wrap(e, "tell the monitor");
	while (!w->stop && !w->monitor_gone) {
		int count = epoll_wait(w->epoll_fd, events, EVENTS, wait);
		uint64_t now = now_ns();
		if (count < 0 && errno != EINTR)
			return err_errno(e, ERR_IO, "epoll_wait");
		if (dispatch(w, events, count, now, e))
			return -1;
		wait = turn(w);
		if (now - ticked >= (uint64_t)TICK_MS * NS_PER_MS) {
			tick(w, now, false);
			ticked = now;
		}
		if (channel_flush(w, e))
			return err_wrap(e, "tell the monitor");
	}
	if (finish(w, e))
		return -1;
	return w->monitor_gone ? err_set(e, ERR_DAEMON_ABSENT, "the monitor is gone") : 0;
}
