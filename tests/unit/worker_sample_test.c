#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <obs/event.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/worker/history.h"
#include "loader/worker/sample.h"

enum { KEY = 8, VALUE = 24, CPUS = 2, ENTRIES = 4, ENTRY = KEY + CPUS * VALUE };

/* value: u64 amount, u32 length, u16 port, s16 level, 8 chars */
#define FIELD(n, o, s, k, f)                                                                                           \
	{                                                                                                              \
		.name = (char *)(n), .offset = (o), .size = (s), .kind = (k), .format = (f), .enum_index = -1,         \
		.length_field = -1                                                                                     \
	}

static struct manifest_field value_fields[] = {
    FIELD("amount", 0, 8, FIELD_UINT, FORMAT_BYTES), FIELD("length", 8, 4, FIELD_UINT, FORMAT_PLAIN),
    FIELD("port", 12, 2, FIELD_UINT, FORMAT_PORT),   FIELD("level", 14, 2, FIELD_INT, FORMAT_PLAIN),
    FIELD("text", 16, 8, FIELD_CHARS, FORMAT_PLAIN),
};

struct world {
	struct manifest_output output;
	struct worker_sample *map;
	struct sample *sample;
	int fd;
};

static void open_sample(struct world *w, bool only_changed, bool clear, bool is_array, uint32_t cpus)
{
	struct sample_shape shape = {
	    .output = &w->output, .key_size = 6, .value_size = 24, .cpus = cpus, .is_array = is_array};
	size_t size = sizeof(struct worker_sample) + ENTRIES * ENTRY;
	struct err e = ERR_INIT;

	*w = (struct world){.output = {.kind = OUTPUT_SAMPLE,
				       .map = (char *)"m",
				       .only_changed = only_changed,
				       .clear = clear,
				       .value_fields = value_fields,
				       .value_field_count = ARRAY_LEN(value_fields)}};
	value_fields[4].length_field = 1;
	w->fd = memfd_create("sample", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->fd, (off_t)size), 0);
	w->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	*w->map = (struct worker_sample){
	    .time_ns = 77, .entries = 2, .key_size = KEY, .value_size = VALUE, .cpus = cpus, .left_out = 3};
	assert_int_equal(sample_new(w->fd, &shape, &w->sample, &e), 0);
	w->map->data[0] = 1;
	w->map->data[KEY + cpus * VALUE] = 2;
}

static void close_sample(struct world *w)
{
	sample_free(&w->sample);
	munmap(w->map, sizeof(struct worker_sample) + ENTRIES * ENTRY);
	close(w->fd);
}

static unsigned take(struct world *w)
{
	struct err e = ERR_INIT;
	unsigned count = 0;
	uint32_t size;

	assert_int_equal(sample_begin(w->sample, &e), 0);
	while (sample_next(w->sample, &size))
		count++;
	assert_false(sample_active(w->sample));
	return count;
}

static void set(struct world *w, unsigned entry, unsigned cpu, uint32_t offset, const void *value, size_t size)
{
	memcpy(w->map->data + entry * ENTRY + KEY + cpu * VALUE + offset, value, size);
}

static void per_cpu_values_become_one(void **state)
{
	struct world w;
	struct err e = ERR_INIT;
	const uint64_t big = UINT64_MAX - 1, one = 5;
	const int16_t low = -30000;
	const uint32_t four = 4;
	const uint16_t port = 443;
	uint32_t size;
	int16_t level;
	uint64_t amount;

	(void)state;
	open_sample(&w, false, false, false, CPUS);
	set(&w, 0, 0, 0, &big, 8);
	set(&w, 0, 1, 0, &one, 8);
	set(&w, 0, 1, 8, &four, 4);
	set(&w, 0, 0, 14, &low, 2);
	set(&w, 0, 1, 14, &low, 2);
	set(&w, 0, 1, 12, &port, 2);
	set(&w, 0, 1, 16, "curl", 4);
	assert_int_equal(sample_begin(w.sample, &e), 0);
	assert_int_equal(sample_left_out(w.sample), 3);
	const uint8_t *record = sample_next(w.sample, &size);
	assert_non_null(record);
	assert_int_equal(size, 16 + KEY + VALUE);
	struct obs_header header;
	memcpy(&header, record, sizeof(header));
	assert_int_equal(header.time_ns, 77);
	assert_int_equal(record[sample_key_offset()], 1);
	const uint8_t *value = record + sample_value_offset(6);
	memcpy(&amount, value, 8);
	assert_true(amount == UINT64_MAX); /* not wrapped */
	memcpy(&level, value + 14, 2);
	assert_int_equal(level, INT16_MIN);
	assert_memory_equal(value + 8, &four, 4); /* a length is no amount */
	assert_memory_equal(value + 12, &port, 2);
	assert_memory_equal(value + 16, "curl\0\0\0\0", 8);
	assert_non_null(sample_next(w.sample, &size));
	assert_null(sample_next(w.sample, &size));
	close_sample(&w);
}

static void only_changed_leaves_out_what_is_as_before(void **state)
{
	struct world w;
	const uint64_t one = 1;

	(void)state;
	open_sample(&w, true, false, false, CPUS);
	assert_int_equal(take(&w), 2);
	assert_int_equal(take(&w), 0);
	set(&w, 1, 1, 0, &one, 8);
	assert_int_equal(take(&w), 1);
	/* A new key, and the old ones in another order. */
	w.map->entries = 3;
	memcpy(w.map->data + 2 * ENTRY, w.map->data, ENTRY);
	w.map->data[0] = 9;
	assert_int_equal(take(&w), 1);
	w.map->entries = 0;
	assert_int_equal(take(&w), 0);
	w.map->entries = 1;
	assert_int_equal(take(&w), 1);
	close_sample(&w);
}

static void zeros_of_a_fresh_array_or_a_cleared_map_are_no_change(void **state)
{
	struct world w;
	const uint64_t one = 1;

	(void)state;
	open_sample(&w, true, false, true, CPUS);
	assert_int_equal(take(&w), 0);
	set(&w, 0, 0, 0, &one, 8);
	assert_int_equal(take(&w), 1);
	assert_int_equal(take(&w), 0);
	close_sample(&w);
	open_sample(&w, true, true, false, CPUS);
	set(&w, 0, 0, 0, &one, 8);
	assert_int_equal(take(&w), 1);
	assert_int_equal(take(&w), 1); /* counted again since it was cleared */
	close_sample(&w);
}

static void garbled_header_is_refused(void **state)
{
	struct world w;
	struct err e = ERR_INIT;

	(void)state;
	open_sample(&w, false, false, false, CPUS);
	w.map->entries = ENTRIES + 1;
	assert_int_equal(sample_begin(w.sample, &e), -1);
	assert_int_equal(e.code, ERR_DAEMON_PROTOCOL);
	w.map->entries = 1;
	w.map->key_size = 16;
	assert_int_equal(sample_begin(w.sample, &e), -1);
	w.map->key_size = KEY;
	w.map->cpus = 1;
	assert_int_equal(sample_begin(w.sample, &e), -1);
	w.map->cpus = CPUS;
	assert_int_equal(sample_begin(w.sample, &e), 0);
	assert_int_equal(sample_begin(w.sample, &e), -1); /* before the last was done */
	close_sample(&w);
}

/* What was found while it was copied in counts, whatever the memory says afterwards. */
static void header_that_changes_meanwhile_changes_nothing(void **state)
{
	struct world w;
	struct err e = ERR_INIT;
	uint32_t size;

	(void)state;
	open_sample(&w, false, false, false, CPUS);
	assert_int_equal(sample_begin(w.sample, &e), 0);
	w.map->entries = UINT32_MAX;
	w.map->value_size = UINT32_MAX;
	assert_non_null(sample_next(w.sample, &size));
	assert_non_null(sample_next(w.sample, &size));
	assert_null(sample_next(w.sample, &size));
	close_sample(&w);
}

static void history_forgets_the_oldest_and_keeps_order(void **state)
{
	OWN(history) struct history *h = NULL;
	struct err e = ERR_INIT;
	uint8_t record[300];
	uint64_t expected, at;
	int type = 0, other = 0;

	(void)state;
	assert_int_equal(history_new(4096, &h, &e), 0);
	for (uint64_t seq = 1; seq <= 1000; seq++) {
		memset(record, (int)seq, sizeof(record));
		history_add(h, seq % 2 ? &type : &other, seq, record, (uint32_t)(seq * 7 % sizeof(record)));
	}
	history_add(h, &type, 2000, record, 2000); /* too long to be kept */
	expected = 0;
	for (at = history_oldest(h); at != history_end(h); at = history_after(h, at)) {
		const struct history_entry *entry = history_at(h, at);
		if (!entry->type)
			continue; /* padding before the end of the ring */
		if (expected)
			assert_int_equal(entry->seq, expected);
		expected = entry->seq + 1;
		assert_int_equal(entry->size, entry->seq * 7 % sizeof(record));
		for (uint32_t i = 0; i < entry->size; i++)
			assert_int_equal(entry->record[i], (uint8_t)entry->seq);
	}
	assert_int_equal(expected, 1001);
	assert_true(history_end(h) - history_oldest(h) <= 4096);
	for (at = history_end(h); at != history_oldest(h);) {
		const struct history_entry *entry = history_at(h, at = history_before(h, at));
		if (entry->type)
			assert_int_equal(entry->seq, --expected);
	}
	history_forget(h, &type);
	for (at = history_oldest(h); at != history_end(h); at = history_after(h, at))
		assert_ptr_not_equal(history_at(h, at)->type, &type);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(per_cpu_values_become_one),
	    cmocka_unit_test(only_changed_leaves_out_what_is_as_before),
	    cmocka_unit_test(zeros_of_a_fresh_array_or_a_cleared_map_are_no_change),
	    cmocka_unit_test(garbled_header_is_refused),
	    cmocka_unit_test(header_that_changes_meanwhile_changes_nothing),
	    cmocka_unit_test(history_forgets_the_oldest_and_keeps_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
