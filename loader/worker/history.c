#include "loader/worker/history.h"

#include <string.h>

struct history {
	uint8_t *data;
	size_t bytes;
	uint64_t oldest, end;
	uint32_t newest_bytes;
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

/* Whole multiples of 32, so that an entry's head always fits before the end of the ring. */
static uint32_t entry_bytes(uint32_t size)
{
	_Static_assert(sizeof(struct history_entry) <= 32, "a head fits in the least entry");
	return ((uint32_t)sizeof(struct history_entry) + size + 31) & ~31U;
}

uint64_t history_after(const struct history *h, uint64_t place)
{
	return place + entry_bytes(entry_at(h, place)->size);
}

uint64_t history_before(const struct history *h, uint64_t place)
{
	return place - (place == h->end ? h->newest_bytes : entry_at(h, place)->before);
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
		h->oldest = history_after(h, h->oldest);
	}
}

static struct history_entry *append(struct history *h, uint32_t size)
{
	uint32_t bytes = entry_bytes(size);

	make_room(h, bytes);
	struct history_entry *entry = entry_at(h, h->end);
	*entry = (struct history_entry){.before = h->newest_bytes, .size = size};
	h->newest_bytes = bytes;
	h->end += bytes;
	return entry;
}

void history_add(struct history *h, const void *type, uint64_t seq, const uint8_t *record, uint32_t size)
{
	if (size > h->bytes / 4)
		return;
	size_t to_end = h->bytes - (h->end & (h->bytes - 1));
	if (to_end < entry_bytes(size))
		append(h, (uint32_t)(to_end - sizeof(struct history_entry)));
	struct history_entry *entry = append(h, size);
	entry->type = type;
	entry->seq = seq;
	memcpy(entry->record, record, size);
}

void history_forget(struct history *h, const void *type)
{
	for (uint64_t place = h->oldest; place != h->end; place = history_after(h, place))
		if (entry_at(h, place)->type == type)
			entry_at(h, place)->type = NULL;
}
