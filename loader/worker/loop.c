#include "loader/worker/loop.h"

#include <limits.h>
#include <string.h>
#include <sys/epoll.h>

#include "loader/worker/channel.h"
#include "loader/worker/notice.h"
#include "loader/worker/now.h"
#include "loader/worker/stats.h"

enum {
	EVENTS = 64,
	TICK_MS = 100,  /* also the longest that a record waits in a ring: programs wake us by bytes pending only */
	ALONE_MS = 500, /* the same while nobody waits for it: waking up is most of what an idle host spends */
	NS_PER_MS = 1000000,
	RING_BYTES_A_TURN = 32 << 10, /* about what a socket's buffer takes as lines, so that a quick reader keeps up */
	SAMPLE_ENTRIES_A_TURN = 256,
	SAMPLE_TURN_MS = 1, /* a big sample is spread out in time: it must not flood queues that events need */
	STOP_MS = 1000,
	LEAVE_MS = 1000,
	CUT_MS = 10, /* long enough for a pause between two events, short for the rings */
};

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
	losses_init(&w->notice_losses, &w->notice_stats);
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
		bool ring = bundle_consume(w->bundles[i], RING_BYTES_A_TURN);
		bool sample = bundle_step_samples(w->bundles[i], SAMPLE_ENTRIES_A_TURN, channel_sample_done, w);
		if (w->bundles[i] == w->leaving)
			w->leaving_has_more = ring || sample;
		rings |= ring;
		samples |= sample;
	}
	bool replays = stream_replay(w->stream);
	server_flush(w->server);
	for (size_t i = 0; i < w->bundle_count; i++)
		bundle_release(w->bundles[i]);
	if (rings || replays)
		return 0;
	if (samples)
		return SAMPLE_TURN_MS;
	return server_is_alone(w->server) ? ALONE_MS : TICK_MS;
}

static void tick(struct worker *w, uint64_t now, bool flush)
{
	for (size_t i = 0; i < w->bundle_count; i++)
		bundle_tell_losses(w->bundles[i], now, flush);
	server_tick(w->server, now, flush);
}

/* Hears the monitor, or lets it wait while a bundle leaves. */
static int listen_to_monitor(struct worker *w, bool on, struct err *e)
{
	struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.ptr = &w->config.monitor_fd};

	if (epoll_ctl(w->epoll_fd, EPOLL_CTL_MOD, w->config.monitor_fd, &event))
		return err_errno(e, ERR_IO, "epoll");
	return 0;
}

/* Lets the leaving bundle go when it is at its end, and when nobody is served from the history any more, which forgets it.
 * When its time is up, what is left is read at once, and queues that cannot take it count it as lost. */
static int leave(struct worker *w, uint64_t now, int *wait, struct err *e)
{
	if (w->leave_by_ns == 0) {
		w->leave_by_ns = now + (uint64_t)LEAVE_MS * NS_PER_MS;
		if (listen_to_monitor(w, false, e))
			return -1;
	}
	if ((w->leaving_has_more || stream_is_replaying(w->stream)) && now < w->leave_by_ns)
		return 0;
	bundle_consume(w->leaving, UINT64_MAX);
	bundle_step_samples(w->leaving, UINT_MAX, channel_sample_done, w);
	bundle_tell_losses(w->leaving, now, true);
	for (size_t i = 0; i < w->bundle_count; i++) {
		if (w->bundles[i] == w->leaving) {
			w->bundles[i] = w->bundles[--w->bundle_count];
			break;
		}
	}
	bundle_free(&w->leaving);
	*wait = 0; /* its last lines are still to be sent */
	return listen_to_monitor(w, true, e);
}

static bool step_samples(struct worker *w, unsigned max_entries)
{
	bool more = false;

	for (size_t i = 0; i < w->bundle_count; i++)
		more |= bundle_step_samples(w->bundles[i], max_entries, channel_sample_done, w);
	return more;
}

/* Samples are finished, since maps that are cleared have them no more, and what is queued is sent for a while; rings keep
 * what they have for the next worker. */
static int finish(struct worker *w, struct err *e)
{
	struct epoll_event events[EVENTS];
	uint64_t now = now_ns(), end = now + (uint64_t)STOP_MS * NS_PER_MS, hurry = now + (end - now) / 2;
	bool samples = true;

	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->config.monitor_fd, NULL);
	epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, w->config.events_fd, NULL);
	for (;;) {
		stream_refresh_clock(w->stream);
		if (samples) {
			samples = step_samples(w, now < hurry ? SAMPLE_ENTRIES_A_TURN : UINT_MAX);
			tick(w, now, !samples);
		}
		server_flush(w->server);
		now = now_ns();
		if (!samples && (server_is_drained(w->server) || now >= end))
			return 0;
		int most = samples || now >= end ? SAMPLE_TURN_MS : (int)((end - now) / NS_PER_MS) + 1;
		int count = epoll_wait(w->epoll_fd, events, EVENTS, most);
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
		bool due = now - ticked >= (uint64_t)TICK_MS * NS_PER_MS;
		if (count < 0 && errno != EINTR)
			return err_errno(e, ERR_IO, "epoll_wait");
		/* Before anything is read: in a wait the host may have slept, which only one of the two clocks counts. */
		if (wait || due)
			stream_refresh_clock(w->stream);
		if (dispatch(w, events, count, now, e))
			return -1;
		bool cutting = w->cut_since_ns != 0;
		if (cutting && (now >= w->cut_since_ns + (uint64_t)CUT_MS * NS_PER_MS)) {
			channel_cut(w, now);
			cutting = false;
		}
		wait = turn(w);
		if (cutting && wait > 1)
			wait = 1;
		if (w->leaving && leave(w, now, &wait, e))
			return -1;
		if (due) {
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
