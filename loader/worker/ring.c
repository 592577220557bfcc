#include "loader/worker/ring.h"

#include <linux/bpf.h>
#include <stdbool.h>
#include <sys/mman.h>

struct ring {
	uint64_t *consumer;       /* page 0, ours to write */
	const uint64_t *producer; /* page 1 */
	const uint8_t *data;      /* from page 2, mapped twice in a row: no record is split */
	size_t page, bytes;
	uint64_t at; /* what is consumed, and not yet released */
};

int ring_open(int map_fd, uint32_t bytes, struct ring **out, struct err *e)
{
	long page = sysconf(_SC_PAGESIZE);
	OWN(ring) struct ring *r = NULL;

	if (bytes < (uint32_t)page || (bytes & (bytes - 1)))
		return err_set(e, ERR_DAEMON_PROTOCOL, "ring of %u bytes", bytes);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_errno(e, ERR_NOMEM, "ring");
	r->page = (size_t)page;
	r->bytes = bytes;
	void *consumer = mmap(NULL, r->page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (consumer == MAP_FAILED)
		return err_errno(e, ERR_IO, "map the consumer's page of a ring");
	r->consumer = consumer;
	void *producer = mmap(NULL, r->page + 2 * r->bytes, PROT_READ, MAP_SHARED, map_fd, page);
	if (producer == MAP_FAILED)
		return err_errno(e, ERR_IO, "map %u bytes of a ring", bytes);
	r->producer = producer;
	r->data = (const uint8_t *)producer + r->page;
	r->at = *r->consumer;
	*out = TAKE_PTR(r);
	return 0;
}

void ring_free(struct ring **ring)
{
	struct ring *r = *ring;

	if (!r)
		return;
	if (r->consumer)
		munmap(r->consumer, r->page);
	if (r->producer)
		munmap((void *)r->producer, r->page + 2 * r->bytes);
	free(r);
	*ring = NULL;
}

static int64_t walk(const struct ring *r, uint64_t max_bytes, ring_each each, void *ctx, struct err *e)
{
	uint64_t start = r->at, at = start;
	/* Sequentially consistent, against the producer that looks whether we have caught up before it wakes us. */
	uint64_t end = __atomic_load_n(r->producer, __ATOMIC_SEQ_CST);

	if (end - at > r->bytes)
		return err_set(e, ERR_IO, "ring positions %llu and %llu lie further apart than its %zu bytes",
			       (unsigned long long)at, (unsigned long long)end, r->bytes);
	while (at != end && at - start < max_bytes) {
		const uint8_t *record = r->data + (at & (r->bytes - 1));
		uint32_t header = __atomic_load_n((const uint32_t *)record, __ATOMIC_ACQUIRE);
		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		uint32_t size = header & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);
		uint64_t whole = ((uint64_t)size + BPF_RINGBUF_HDR_SZ + 7) & ~7ULL;
		if (whole > end - at)
			return err_set(e, ERR_IO, "a ring's record of %u bytes is longer than what is in the ring",
				       size);
		if (!(header & BPF_RINGBUF_DISCARD_BIT))
			each(ctx, record + BPF_RINGBUF_HDR_SZ, size);
		at += whole;
	}
	return (int64_t)(at - start);
}

int64_t ring_consume(struct ring *r, uint64_t max_bytes, ring_each each, void *ctx, struct err *e)
{
	int64_t bytes = walk(r, max_bytes, each, ctx, e);

	if (bytes > 0)
		r->at += (uint64_t)bytes;
	return bytes;
}

int ring_peek(const struct ring *r, ring_each each, void *ctx, struct err *e)
{
	return walk(r, UINT64_MAX, each, ctx, e) < 0 ? -1 : 0;
}

void ring_release(struct ring *r)
{
	/* Not for each record: the cache line travels between the CPUs each time. */
	if (*r->consumer != r->at)
		__atomic_store_n(r->consumer, r->at, __ATOMIC_SEQ_CST);
}

size_t ring_bytes(const struct ring *r)
{
	return r->bytes;
}
