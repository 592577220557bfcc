#include "loader/worker/queue.h"

#include <string.h>
#include <sys/mman.h>

int queue_init(struct queue *q, size_t bytes, struct err *e)
{
	void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (data == MAP_FAILED)
		return err_errno(e, ERR_NOMEM, "queue of %zu bytes", bytes);
	*q = (struct queue){.data = data, .bytes = bytes};
	return 0;
}

void queue_done(struct queue *q)
{
	if (q->data)
		munmap(q->data, q->bytes);
	*q = (struct queue){0};
}

bool queue_put(struct queue *q, const char *text, size_t size)
{
	size_t at = q->head & (q->bytes - 1), first = q->bytes - at;

	if (queue_room(q) < size)
		return false;
	if (size <= first) {
		memcpy(q->data + at, text, size);
	} else {
		memcpy(q->data + at, text, first);
		memcpy(q->data, text + first, size - first);
	}
	q->head += size;
	return true;
}

int queue_pieces(const struct queue *q, struct iovec iov[static 2])
{
	size_t used = queue_used(q), at = q->tail & (q->bytes - 1), first = q->bytes - at;

	if (used == 0)
		return 0;
	iov[0] = (struct iovec){.iov_base = q->data + at, .iov_len = used < first ? used : first};
	if (used <= first)
		return 1;
	iov[1] = (struct iovec){.iov_base = q->data, .iov_len = used - first};
	return 2;
}

void queue_sent(struct queue *q, size_t size)
{
	q->tail += size;
	/* An empty queue starts over, so that a small stream stays in a few warm pages. */
	if (q->tail == q->head)
		q->head = q->tail = 0;
}
