/* Counters that the monitor reads for status, and that a restarted worker goes on from: struct worker_stats in a memfd.
 */
#ifndef OBS_WORKER_STATS_H
#define OBS_WORKER_STATS_H

#include <stddef.h>

#include "bundles/base/err.h"
#include "loader/ipc/worker.h"

/* Maps the memfd; refuses one that is too small (ERR_DAEMON_PROTOCOL). */
MUST_CHECK int stats_map(int fd, struct worker_stats **out, struct err *e);
void stats_unmap(struct worker_stats **s);

/* The bundle's slot: as an earlier worker left it, or fresh. NULL: the slot belongs to another bundle that is live, as
 * live() tells; the caller then counts in memory of its own. */
struct worker_bundle_stats *stats_bundle(struct worker_stats *s, uint32_t handle,
					 int (*live)(void *ctx, uint64_t handle), void *ctx);

extern const char *const loss_source_names[LOSS_SOURCE_COUNT];

#endif
