/* Reads a BPF ring buffer by mmap alone (Documentation/bpf/ringbuf.rst): no bpf() call, so that an unprivileged process
 * may do it on any kernel. One reader a ring.
 *
 * The kernel writes the positions, the headers and, through verified programs, the records. They are not hostile, but
 * every length is checked against what the kernel says is there, so that a defect on either side ends in an error and
 * not in a read past the mapping.
 */
#ifndef OBS_WORKER_RING_H
#define OBS_WORKER_RING_H

#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

struct ring;

/* Maps the ring of map fd, which stays the caller's; bytes is the map's max_entries (a power of two, whole pages). */
MUST_CHECK int ring_open(int map_fd, uint32_t bytes, struct ring **out, struct err *e);
void ring_free(struct ring **ring);

typedef void (*ring_each)(void *ctx, const uint8_t *record, uint32_t size);

/* Calls each() for the committed records, in order, until the ring is empty, a record is still being written, or about
 * max_bytes are read. record is readable for size bytes until each() returns. Returns the bytes consumed, with record
 * headers and discarded records; 0: nothing there. -1: the ring's contents make no sense (ERR_IO). */
MUST_CHECK int64_t ring_consume(struct ring *ring, uint64_t max_bytes, ring_each each, void *ctx, struct err *e);

/* The same of all that is there, without consuming it. */
MUST_CHECK int ring_peek(const struct ring *ring, ring_each each, void *ctx, struct err *e);

/* Gives the room of what was consumed back to the kernel. Until then a reader that takes over finds those records again. */
void ring_release(struct ring *ring);

size_t ring_bytes(const struct ring *ring);

#endif
