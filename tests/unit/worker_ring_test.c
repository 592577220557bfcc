#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <sys/resource.h>

#include "loader/worker/ring.h"
#include "tests/unit/worker_feed.h"

enum { RING = 64 << 10, SIZE = 64 };

struct seen {
	unsigned count;
	uint8_t last[SIZE];
	uint32_t last_size;
};

static void each(void *ctx, const uint8_t *record, uint32_t size)
{
	struct seen *seen = ctx;

	seen->count++;
	seen->last_size = size;
	memcpy(seen->last, record, size < SIZE ? size : SIZE);
}

static void records_arrive_in_order(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE] = {0};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), 0);
	for (unsigned i = 0; i < 5; i++) {
		record[0] = (uint8_t)i;
		assert_int_equal(feed_put(&feed, record, 1, false), 0);
		assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), SIZE + 8);
		assert_int_equal(seen.last[0], i);
	}
	assert_int_equal(seen.count, 5);
	assert_int_equal(seen.last_size, SIZE);
	feed_close(&feed);
}

static void records_past_the_end_wrap_whole(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE];

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	/* 72 bytes do not divide 64 KiB: some record lies across the end. */
	for (unsigned i = 0; i < 5000; i++) {
		memset(record, (int)i, sizeof(record));
		assert_int_equal(feed_put(&feed, record, 1, false), 0);
		assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), SIZE + 8);
		ring_release(ring);
		assert_memory_equal(seen.last, record, SIZE);
	}
	assert_int_equal(seen.count, 5000);
	feed_close(&feed);
}

static void discarded_record_is_skipped(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE] = {7};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(feed_put(&feed, record, 3, true), 0);
	assert_int_equal(feed_put(&feed, record, 1, false), 0);
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), 4 * (SIZE + 8));
	assert_int_equal(seen.count, 1);
	feed_close(&feed);
}

static void budget_stops_and_goes_on(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE] = {0};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(feed_put(&feed, record, 100, false), 0);
	assert_int_equal(ring_consume(ring, 10 * (SIZE + 8), each, &seen, &e), 10 * (SIZE + 8));
	assert_int_equal(seen.count, 10);
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), 90 * (SIZE + 8));
	assert_int_equal(seen.count, 100);
	feed_close(&feed);
}

static void full_ring_has_room_again_once_released(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE] = {0};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(feed_put(&feed, record, 2000, false), 0);
	assert_true(ring_consume(ring, UINT64_MAX, each, &seen, &e) > RING - SIZE - 8);
	unsigned first = seen.count;
	assert_in_range(first, RING / (SIZE + 8) - 1, RING / (SIZE + 8));
	ring_release(ring);
	assert_int_equal(feed_put(&feed, record, 10, false), 0);
	assert_true(ring_consume(ring, UINT64_MAX, each, &seen, &e) > 0);
	assert_int_equal(seen.count, first + 10);
	feed_close(&feed);
}

static void second_reader_goes_on_where_the_first_released(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL, *second = NULL;
	uint8_t record[SIZE] = {1};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(feed_put(&feed, record, 2, false), 0);
	assert_true(ring_consume(ring, 1, each, &seen, &e) > 0);
	ring_release(ring);
	assert_true(ring_consume(ring, 1, each, &seen, &e) > 0);
	assert_int_equal(seen.count, 2);
	ring_free(&ring);
	assert_int_equal(ring_open(feed.map, RING, &second, &e), 0);
	assert_true(ring_consume(second, UINT64_MAX, each, &seen, &e) > 0);
	assert_int_equal(seen.count, 3);
	feed_close(&feed);
}

static void peek_consumes_nothing(void **state)
{
	struct feed feed;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint8_t record[SIZE] = {1};

	(void)state;
	if (!feed_open(&feed, RING, SIZE, 0))
		skip();
	assert_int_equal(ring_open(feed.map, RING, &ring, &e), 0);
	assert_int_equal(feed_put(&feed, record, 2, false), 0);
	assert_int_equal(ring_peek(ring, each, &seen, &e), 0);
	assert_int_equal(seen.count, 2);
	assert_true(ring_consume(ring, 1, each, &seen, &e) > 0);
	assert_int_equal(ring_peek(ring, each, &seen, &e), 0);
	assert_int_equal(seen.count, 4);
	assert_true(ring_consume(ring, UINT64_MAX, each, &seen, &e) > 0);
	assert_int_equal(seen.count, 5);
	feed_close(&feed);
}

static void wrong_size_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct ring *ring = NULL;
	int fd = memfd_create("no ring", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ring_open(fd, 1000, &ring, &e), -1);
	assert_int_equal(e.code, ERR_DAEMON_PROTOCOL);
	assert_null(ring);
	close(fd);
}

/* A ring made of plain memory, where the test is the kernel. */
struct fake {
	int fd;
	uint8_t *producer; /* page with its position, then the data */
};

static void fake_open(struct fake *f, uint32_t bytes)
{
	f->fd = memfd_create("ring", MFD_CLOEXEC);
	assert_int_equal(ftruncate(f->fd, 4096 * 2 + 2 * (off_t)bytes), 0);
	f->producer = mmap(NULL, 4096 + 2 * (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 4096);
	assert_true(f->producer != MAP_FAILED);
}

static void busy_record_stops_reading(void **state)
{
	struct fake fake;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint32_t header = 16 | BPF_RINGBUF_BUSY_BIT;

	(void)state;
	fake_open(&fake, 4096);
	assert_int_equal(ring_open(fake.fd, 4096, &ring, &e), 0);
	*(uint64_t *)fake.producer = 24;
	memcpy(fake.producer + 4096, &header, sizeof(header));
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), 0);
	header = 16;
	memcpy(fake.producer + 4096, &header, sizeof(header));
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), 24);
	assert_int_equal(seen.count, 1);
	munmap(fake.producer, 4096 + 8192);
	close(fake.fd);
}

static void record_longer_than_the_ring_is_an_error(void **state)
{
	struct fake fake;
	struct seen seen = {0};
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	uint32_t header = 4000;

	(void)state;
	fake_open(&fake, 4096);
	assert_int_equal(ring_open(fake.fd, 4096, &ring, &e), 0);
	*(uint64_t *)fake.producer = 24;
	memcpy(fake.producer + 4096, &header, sizeof(header));
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	*(uint64_t *)fake.producer = 5000;
	assert_int_equal(ring_consume(ring, UINT64_MAX, each, &seen, &e), -1);
	assert_int_equal(seen.count, 0);
	munmap(fake.producer, 4096 + 8192);
	close(fake.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(records_arrive_in_order),
	    cmocka_unit_test(records_past_the_end_wrap_whole),
	    cmocka_unit_test(discarded_record_is_skipped),
	    cmocka_unit_test(budget_stops_and_goes_on),
	    cmocka_unit_test(full_ring_has_room_again_once_released),
	    cmocka_unit_test(second_reader_goes_on_where_the_first_released),
	    cmocka_unit_test(peek_consumes_nothing),
	    cmocka_unit_test(wrong_size_is_refused),
	    cmocka_unit_test(busy_record_stops_reading),
	    cmocka_unit_test(record_longer_than_the_ring_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
