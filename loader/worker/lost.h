/* Losses of one bundle: counted at once, told in the stream as obs.lost at most once a second for each source, with the
 * sum since it was last told.
 */
#ifndef OBS_WORKER_LOST_H
#define OBS_WORKER_LOST_H

#include <obs/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "bundles/manifest.h"
#include "loader/ipc/worker.h"

/* The record of an obs.lost event. */
struct lost_record {
	struct obs_header header;
	uint64_t count;
	uint32_t source; /* enum loss_source */
	uint32_t reserved;
};

/* Its field table. */
extern const struct manifest_field lost_fields[];
extern const size_t lost_field_count;
extern const struct manifest_enum lost_enum;

struct losses {
	struct worker_bundle_stats *stats;
	uint64_t pending[LOSS_SOURCE_COUNT];
	uint64_t kernel_seen[LOSS_SOURCE_COUNT]; /* of the totals: told, or pending */
	uint64_t told_ns[LOSS_SOURCE_COUNT];     /* monotonic */
};

/* stats is borrowed, and says what an earlier worker has told. */
void losses_init(struct losses *l, struct worker_bundle_stats *stats);

static inline void losses_add(struct losses *l, enum loss_source source, uint64_t count)
{
	l->stats->lost[source] += count;
	l->pending[source] += count;
}

/* Fills *record with a loss that is due to be told; false: none. Call until false. With flush, all are due. */
bool losses_take(struct losses *l, uint64_t now_ns, bool flush, struct lost_record *record);

/* The source that stands for a slot of the programs' drop counters (enum obs_loss). */
enum loss_source lost_source_of_slot(enum obs_loss slot);

/* What the kernel side counted of a bundle so far is `totals` (by enum loss_source; 0 where the caller does not know): adds
 * what is new since it was last seen, or told by an earlier worker. */
void losses_kernel(struct losses *l, const uint64_t totals[static LOSS_SOURCE_COUNT]);

/* What obs.lost would have told a subscriber that had no room for it: told later, as sums. */
enum { HELD_BUNDLES = 16 };

struct held {
	size_t count;
	struct held_bundle {
		char name[2 * MANIFEST_NAME_MAX + 2]; /* of the last, if it had to take in several bundles: empty */
		uint64_t lost[LOSS_SOURCE_COUNT];
	} bundles[HELD_BUNDLES];
};

void held_add(struct held *h, const char *bundle, const struct lost_record *record);

/* Writes a line of obs.lost that only one subscriber is told, without seq; bundle "": without one. */
enum { LOST_LINE_MAX = 4096 };
struct json_clock;
char *lost_private_line(struct json_clock *clock, const char *host_json, const char *bundle, enum loss_source source,
			uint64_t count, char p[static LOST_LINE_MAX]);

#endif
