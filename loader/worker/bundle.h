/* One bundle as the worker sees it: its manifest, a type for each event, its outputs.
 *
 * An event whose table cannot be compiled costs the bundle only that event: the reason is logged once, and each of its
 * records counts as a loss of the parser.
 */
#ifndef OBS_WORKER_BUNDLE_H
#define OBS_WORKER_BUNDLE_H

#include "bundles/manifest.h"
#include "loader/ipc/worker.h"
#include "loader/worker/stream.h"

struct bundle;

/* Takes the manifest over on success. stats: NULL where the bundle has no slot. Its rings are added to epoll_fd, without
 * data and edge-triggered: a wake-up only says that there is something to read. */
MUST_CHECK int bundle_new(struct stream *stream, int epoll_fd, uint32_t handle, struct manifest **manifest,
			  struct worker_bundle_stats *stats, struct bundle **out, struct err *e);
void bundle_free(struct bundle **b);

uint32_t bundle_handle(const struct bundle *b);
const char *bundle_name(const struct bundle *b);
bool bundle_wants_kallsyms(struct bundle *b); /* once, as soon as a table of it has stacks */

/* An output's descriptor: a ring of ring_bytes, or a sample's memfd with values of so many CPUs. Takes fd over on success.
 * ERR_DAEMON_PROTOCOL if there is no such output, or it has one already. */
MUST_CHECK int bundle_output(struct bundle *b, const struct worker_msg *msg, int fd, struct err *e);

/* A fresh sample of an output. */
MUST_CHECK int bundle_sample(struct bundle *b, uint32_t output, struct err *e);

/* The monitor's total of runs that the kernel skipped. */
void bundle_missed(struct bundle *b, uint64_t total);

/* Reads every ring, about max_bytes of each. True: there is more. A ring whose contents make no sense is closed. */
bool bundle_consume(struct bundle *b, uint64_t max_bytes);

/* A bundle that is held keeps its records in the rings. */
void bundle_hold(struct bundle *b, bool on);
/* Records of before from_ns and from until_ns on are dropped: another serial tells them. */
void bundle_span(struct bundle *b, uint64_t from_ns, uint64_t until_ns);
/* The middle of the longest time in between of which no record is in the rings. */
uint64_t bundle_quiet_ns(const struct bundle *b, uint64_t since_ns, uint64_t until_ns);

/* What was consumed is sent, or counted as lost: it need not be found by a worker that takes over. */
void bundle_release(const struct bundle *b);

/* Publishes at most max_entries of each sample. done() is told of each output whose sample is at its end. True: there is
 * more. */
bool bundle_step_samples(struct bundle *b, unsigned max_entries,
			 void (*done)(void *ctx, uint32_t handle, uint32_t output), void *ctx);

/* Publishes obs.lost for losses that are due. */
void bundle_tell_losses(struct bundle *b, uint64_t now_ns, bool flush);

#endif
