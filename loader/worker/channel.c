#include "loader/worker/channel.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bundles/base/file.h"
#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/worker/notice.h"
#include "loader/worker/now.h"
#include "loader/worker/stats.h"

enum { MESSAGES_A_TURN = 64 };

_Static_assert(MSG_MAX_FDS == 4, "channel_take() takes as many");

static struct bundle *find(const struct worker *w, uint32_t handle)
{
	for (size_t i = 0; i < w->bundle_count; i++)
		if (bundle_handle(w->bundles[i]) == handle)
			return w->bundles[i];
	return NULL;
}

static int live(void *ctx, uint64_t handle)
{
	return handle <= UINT32_MAX && find(ctx, (uint32_t)handle) != NULL;
}

/* The first bundle with stacks needs the names of functions; a later one may bring modules that were loaded since. */
static void load_kallsyms(struct worker *w)
{
	struct kallsyms *fresh = NULL;
	struct err e = ERR_INIT;

	if (w->config.kallsyms_fd < 0)
		return;
	if (kallsyms_read(w->config.kallsyms_fd, &fresh, &e)) {
		err_wrap(&e, "kernel stacks are shown as addresses");
		log_err(LOG_LEVEL_WARNING, &e);
		return;
	}
	stream_set_kallsyms(w->stream, fresh);
	kallsyms_free(&w->kallsyms);
	w->kallsyms = fresh;
}

static int parse_manifest(int fd, struct manifest **out, struct err *e)
{
	size_t size;

	if (file_check_sealed(fd, BUNDLE_MANIFEST_MAX_BYTES, &size, e))
		return -1;
	if (size == 0)
		return err_set(e, ERR_DAEMON_PROTOCOL, "an empty manifest");
	void *json = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (json == MAP_FAILED)
		return err_errno(e, ERR_IO, "map the manifest");
	int bad = manifest_parse(json, size, out, e);
	munmap(json, size);
	return bad;
}

static void manifest_drop(struct manifest **m)
{
	if (*m)
		manifest_free(m);
}

static int take_bundle(struct worker *w, const struct worker_msg *msg, const int *fds, struct err *e)
{
	__attribute__((cleanup(manifest_drop))) struct manifest *manifest = NULL;
	struct bundle *b = NULL;

	if (msg->bundle == 0 || find(w, msg->bundle))
		return err_set(e, ERR_DAEMON_PROTOCOL, "bundle %u is here already, or none", msg->bundle);
	if (parse_manifest(fds[0], &manifest, e))
		return err_wrap(e, "bundle %u", msg->bundle);
	struct bundle **grown = realloc(w->bundles, (w->bundle_count + 1) * sizeof(struct bundle *));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "%zu bundles", w->bundle_count + 1);
	w->bundles = grown;
	if (bundle_new(w->stream, w->epoll_fd, msg->bundle, &manifest, stats_bundle(w->stats, msg->bundle, live, w), &b,
		       e))
		return -1;
	bundle_hold(b, msg->count == 1);
	w->bundles[w->bundle_count++] = b;
	return 0;
}

static int take_cut(struct worker *w, const struct worker_msg *msg, struct err *e)
{
	struct bundle *old = find(w, msg->bundle);

	if (!old || !find(w, msg->output) || w->cut_since_ns || w->cut_done)
		return err_set(e, ERR_DAEMON_PROTOCOL, "bundle %u takes over from %u, which cannot be", msg->output,
			       msg->bundle);
	/* Nothing of after this moment was read. */
	bundle_hold(old, true);
	w->cut_since_ns = now_ns();
	w->cut_old = msg->bundle;
	w->cut_new = msg->output;
	return 0;
}

void channel_cut(struct worker *w, uint64_t until_ns)
{
	struct bundle *old = find(w, w->cut_old), *new = find(w, w->cut_new);

	if (old && new) {
		uint64_t at_ns = bundle_quiet_ns(old, w->cut_since_ns, until_ns);
		bundle_span(old, 0, at_ns);
		bundle_span(new, at_ns, UINT64_MAX);
	}
	if (old)
		bundle_hold(old, false);
	if (new)
		bundle_hold(new, false);
	w->cut_done = w->cut_old;
	w->cut_since_ns = 0;
}

static int take_output(struct worker *w, const struct worker_msg *msg, int *fds, struct err *e)
{
	struct bundle *b = find(w, msg->bundle);

	if (!b)
		return err_set(e, ERR_DAEMON_PROTOCOL, "an output of bundle %u, which is not here", msg->bundle);
	if (bundle_output(b, msg, fds[0], e))
		return -1;
	fds[0] = -1;
	/* Samples' tables are compiled with their outputs, so only now is it known. */
	if (bundle_wants_kallsyms(b))
		load_kallsyms(w);
	return 0;
}

static int take_remove(struct worker *w, uint32_t handle, struct err *e)
{
	struct bundle *b = find(w, handle);

	if (!b || w->leaving)
		return err_set(e, ERR_DAEMON_PROTOCOL, "bundle %u is to go, but is not here", handle);
	w->leaving = b;
	w->leave_by_ns = 0;
	return 0;
}

static int take_sample(const struct worker *w, const struct worker_msg *msg, struct err *e)
{
	struct bundle *b = find(w, msg->bundle);

	if (!b)
		return err_set(e, ERR_DAEMON_PROTOCOL, "a sample of bundle %u, which is not here", msg->bundle);
	return bundle_sample(b, msg->output, e);
}

static int take_missed(const struct worker *w, const struct worker_msg *msg, struct err *e)
{
	struct bundle *b = find(w, msg->bundle);

	if (!b)
		return err_set(e, ERR_DAEMON_PROTOCOL, "skipped runs of bundle %u, which is not here", msg->bundle);
	bundle_missed(b, msg->count);
	return 0;
}

int channel_take(struct worker *w, const struct worker_msg *msg, int fds[static 4], struct err *e)
{
	size_t count = 0, due = msg->op == WORKER_BUNDLE || msg->op == WORKER_OUTPUT;

	while (count < MSG_MAX_FDS && fds[count] >= 0)
		count++;
	if (count != due)
		return err_set(e, ERR_DAEMON_PROTOCOL, "message %u with %zu descriptors", msg->op, count);
	switch (msg->op) {
	case WORKER_BUNDLE:
		return take_bundle(w, msg, fds, e);
	case WORKER_OUTPUT:
		return take_output(w, msg, fds, e);
	case WORKER_SAMPLE:
		return take_sample(w, msg, e);
	case WORKER_MISSED:
		return take_missed(w, msg, e);
	case WORKER_CUT:
		return take_cut(w, msg, e);
	case WORKER_REMOVE:
		return take_remove(w, msg->bundle, e);
	case WORKER_NOTICE:
		return notice_publish(w->stream, w->notice_type, msg, e);
	case WORKER_STOP:
		w->stop = true;
		return 0;
	default:
		/* WORKER_OPENED too: nothing was asked for. */
		return err_set(e, ERR_DAEMON_PROTOCOL, "unexpected message %u", msg->op);
	}
}

int channel_receive(struct worker *w, struct err *e)
{
	for (int i = 0; i < MESSAGES_A_TURN && !w->stop && !w->leaving; i++) {
		struct worker_msg msg;
		int fds[MSG_MAX_FDS], bad;

		switch (msg_recv(w->config.monitor_fd, &msg, sizeof(msg), fds, MSG_DONTWAIT, e)) {
		case MSG_AGAIN:
			return 0;
		case MSG_EOF:
			w->monitor_gone = true;
			return 0;
		case MSG_BAD:
			return err_wrap(e, "the monitor");
		case MSG_OK:
			break;
		}
		bad = channel_take(w, &msg, fds, e);
		for (int k = 0; k < MSG_MAX_FDS; k++)
			if (fds[k] >= 0)
				close(fds[k]);
		if (bad)
			return err_wrap(e, "the monitor");
	}
	return 0;
}

/* 1: no room now. */
static int say(const struct worker *w, const struct worker_msg *msg, struct err *e)
{
	if (msg_send(w->config.monitor_fd, msg, sizeof(*msg), NULL, 0, MSG_DONTWAIT, e) == 0)
		return 0;
	return e->errnum == EAGAIN || e->errnum == EWOULDBLOCK ? 1 : -1;
}

int channel_say_ready(struct worker *w, struct err *e)
{
	const struct worker_msg msg = {.op = WORKER_READY};

	return say(w, &msg, e) ? -1 : 0;
}

void channel_sample_done(void *ctx, uint32_t bundle, uint32_t output)
{
	struct worker *w = ctx;

	if (w->done_count == w->done_room) {
		struct done_message *grown = realloc(w->done, (w->done_room + 64) * sizeof(*grown));
		if (!grown) {
			/* Without it the monitor would never sample this output again: better a fresh start. */
			w->monitor_gone = true;
			return;
		}
		w->done = grown;
		w->done_room += 64;
	}
	w->done[w->done_count++] = (struct done_message){.bundle = bundle, .output = output};
}

int channel_flush(struct worker *w, struct err *e)
{
	if (w->cut_done) {
		const struct worker_msg msg = {.op = WORKER_CUT_DONE, .bundle = w->cut_done};
		int result = say(w, &msg, e);
		if (result)
			return result > 0 ? 0 : -1;
		w->cut_done = 0;
	}
	while (w->done_count) {
		const struct done_message *next = &w->done[w->done_count - 1];
		const struct worker_msg msg = {
		    .op = WORKER_OUTPUT_DONE, .bundle = next->bundle, .output = next->output};
		int result = say(w, &msg, e);
		if (result > 0)
			return 0;
		if (result < 0)
			return -1;
		w->done_count--;
	}
	return 0;
}
