/* The stream: records in, lines out to every subscriber that wants them.
 *
 * A type is the table of one event of one bundle. For each type and subscriber a tap says whether the subscriber wants
 * its events at all, and under which conditions; it is made once, when either comes. A record is formatted when the
 * first tap lets it through, and once.
 */
#ifndef OBS_WORKER_STREAM_H
#define OBS_WORKER_STREAM_H

#include <stdint.h>

#include "loader/worker/kallsyms.h"
#include "loader/worker/lost.h"
#include "loader/worker/subscriber.h"
#include "loader/worker/table.h"

struct stream;
struct stream_type;

/* stats is borrowed; host is this machine's name. */
MUST_CHECK int stream_new(struct worker_stats *stats, const char *host, struct stream **out, struct err *e);
void stream_free(struct stream **s);

const char *stream_host(const struct stream *s);
const struct subscriber_env *stream_subscriber_env(const struct stream *s);
void stream_refresh_clock(struct stream *s);
void stream_set_kallsyms(struct stream *s, const struct kallsyms *kallsyms); /* borrowed */

/* Takes the table over on success. losses is borrowed: where the type's losses are counted. The events of an exempt type
 * (obs.lost, whose records are struct lost_record) pass conditions and sampling of every subscriber whose patterns match. */
MUST_CHECK int stream_type_add(struct stream *s, struct table **table, struct losses *losses, bool exempt,
			       struct stream_type **out, struct err *e);
/* What of it a replaying subscriber has not had yet is its loss. */
void stream_type_remove(struct stream *s, struct stream_type **type);
const struct table *stream_type_table(const struct stream_type *type);

/* A subscriber whose request is complete: makes its taps and starts the replay. Borrowed until stream_unsubscribe. */
MUST_CHECK int stream_subscribe(struct stream *s, struct subscriber *subscriber, struct err *e);
void stream_unsubscribe(struct stream *s, struct subscriber *subscriber);

/* One record of at least table_min_size bytes. */
void stream_publish(struct stream *s, struct stream_type *type, const uint8_t *record, uint32_t size);

/* Goes on with replays, as far as queues have room. Returns whether there is more to do at once. */
bool stream_replay(struct stream *s);
bool stream_is_replaying(const struct stream *s);

#endif
