/* Recent records, raw, for "last": a byte ring that forgets the oldest. A place is a number that only grows.
 */
#ifndef OBS_WORKER_HISTORY_H
#define OBS_WORKER_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

enum { HISTORY_BYTES = 4 << 20 };

struct history_entry {
	uint32_t before; /* bytes of the whole entry before this one */
	uint32_t size;   /* of the record, or of the padding */
	uint64_t seq;
	const void *type; /* NULL: forgotten, or padding */
	uint8_t record[];
};

struct history;

/* bytes: a power of two. evict, which may be NULL, is called for every entry that is about to be overwritten, also for
 * those without a type. */
MUST_CHECK int history_new(size_t bytes, struct history **out, struct err *e);
void history_free(struct history **h);
void history_on_evict(struct history *h, void (*evict)(void *ctx, uint64_t place, const struct history_entry *entry),
		      void *ctx);

/* A record of more than a quarter of the ring is not kept. */
void history_add(struct history *h, const void *type, uint64_t seq, const uint8_t *record, uint32_t size);

/* Entries of type stay but lose it. */
void history_forget(struct history *h, const void *type);

/* for (place = history_oldest(h); place != history_end(h); place = history_after(h, place)), or back from the end to the
 * oldest with history_before. */
uint64_t history_oldest(const struct history *h);
uint64_t history_end(const struct history *h);
uint64_t history_after(const struct history *h, uint64_t place);
uint64_t history_before(const struct history *h, uint64_t place);
const struct history_entry *history_at(const struct history *h, uint64_t place);

#endif
