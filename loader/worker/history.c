#include "loader/worker/history.h"

#include <string.h>

struct history {
	uint8_t *data;
	size_t bytes;
	uint64_t oldest, end;
	void (*evict)(void *ctx, uint64_t place, const struct history_entry *entry);
	void *ctx;
};

int history_new(size_t bytes, struct history **out, struct err *e)
{
	OWN(history) struct history *h = calloc(1, sizeof(*h));

	if (h)
		h->data = malloc(bytes);
	if (!h || !h->data)
		return err_errno(e, ERR_NOMEM, "history of %zu bytes", bytes);
	h->bytes = bytes;
	*out = TAKE_PTR(h);
	return 0;
}

void history_free(struct history **h)
{
	if (!*h)
		return;
	free((*h)->data);
	free(*h);
	*h = NULL;
}

void history_on_evict(struct history *h, void (*evict)(void *ctx, uint64_t place, const struct history_entry *entry),
		      void *ctx)
{
	h->evict = evict;
	h->ctx = ctx;
}

static struct history_entry *entry_at(const struct history *h, uint64_t place)
{
	return (struct history_entry *)(h->data + (place & (h->bytes - 1)));
}

const struct history_entry *history_at(const struct history *h, uint64_t place)
{
	return entry_at(h, place);
}

uint64_t history_oldest(const struct history *h)
{
	return h->oldest;
}

uint64_t history_end(const struct history *h)
{
	return h->end;
}

/* Room for bytes at the end, which then does not wrap within them. */
static void make_room(struct history *h, uint32_t bytes)
{
	while (h->bytes - (h->end - h->oldest) < bytes) {
		const struct history_entry *oldest = entry_at(h, h->oldest);
		if (h->evict)
			h->evict(h->ctx, h->oldest, oldest);
		h->oldest += oldest->bytes;
	}
}

static struct history_entry *append(struct history *h, uint32_t bytes)
{
	make_room(h, bytes);
	struct history_entry *entry = entry_at(h, h->end);
	entry->bytes = bytes;
	entry->type = NULL;
	entry->size = 0;
	h->end += bytes;
	return entry;
}

void history_add(struct history *h, const void *type, uint64_t seq, const uint8_t *record, uint32_t size)
{
	/* Whole multiples of 32, so that an entry's head always fits before the end of the ring. */
	uint32_t bytes = ((uint32_t)sizeof(struct history_entry) + size + 31) & ~31U;

	_Static_assert(sizeof(struct history_entry) <= 32, "a head fits in the least entry");
	if (size > h->bytes / 4)
		return;
	size_t to_end = h->bytes - (h->end & (h->bytes - 1));
	if (to_end < bytes)
		append(h, (uint32_t)to_end);
	struct history_entry *entry = append(h, bytes);
	entry->type = type;
	entry->seq = seq;
	entry->size = size;
	memcpy(entry->record, record, size);
}

void history_forget(struct history *h, const void *type)
{
	for (uint64_t place = h->oldest; place != h->end; place += entry_at(h, place)->bytes)
		if (entry_at(h, place)->type == type)
			entry_at(h, place)->type = NULL;
}
