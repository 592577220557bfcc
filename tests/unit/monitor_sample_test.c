#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <obs/event.h>

#include "loader/monitor/sample_impl.h"
#include "tests/unit/kernel_fixture.h"

/* ---- kernels without batches ---- */

static bool no_batches;
static int batches_before_failure = -1; /* of at most FEW entries each; -1: none fails */
enum { FEW = 200 };

int __real_bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
				const struct bpf_map_batch_opts *opts);
int __wrap_bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
				const struct bpf_map_batch_opts *opts);
int __wrap_bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
				const struct bpf_map_batch_opts *opts)
{
	if (!no_batches)
		return __real_bpf_map_lookup_batch(fd, in, out, keys, values, count, opts);
	errno = EINVAL;
	return -EINVAL;
}

int __real_bpf_map_lookup_and_delete_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
					   const struct bpf_map_batch_opts *opts);
int __wrap_bpf_map_lookup_and_delete_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
					   const struct bpf_map_batch_opts *opts);
int __wrap_bpf_map_lookup_and_delete_batch(int fd, void *in, void *out, void *keys, void *values, __u32 *count,
					   const struct bpf_map_batch_opts *opts)
{
	if (batches_before_failure == 0) {
		errno = ENOMEM;
		return -ENOMEM;
	}
	if (batches_before_failure > 0) {
		batches_before_failure--;
		*count = *count < FEW ? *count : FEW;
	}
	if (!no_batches)
		return __real_bpf_map_lookup_and_delete_batch(fd, in, out, keys, values, count, opts);
	errno = EINVAL;
	return -EINVAL;
}

/* A map that changes while it is read one key after the other: the key just read goes, so the walk starts again. */
static int delete_behind = -1;

int __real_bpf_map_get_next_key(int fd, const void *key, void *next);
int __wrap_bpf_map_get_next_key(int fd, const void *key, void *next);
int __wrap_bpf_map_get_next_key(int fd, const void *key, void *next)
{
	if (fd >= 0 && delete_behind > 0 && key) {
		delete_behind--;
		uint64_t value;
		if (bpf_map_lookup_elem(fd, key, &value) == 0 && bpf_map_delete_elem(fd, key) == 0) {
			int result = __real_bpf_map_get_next_key(fd, key, next);
			bpf_map_update_elem(fd, key, &value, BPF_ANY);
			return result;
		}
	}
	return __real_bpf_map_get_next_key(fd, key, next);
}

/* ---- the running bundle ---- */

static struct kernel_bundle *kb;
static struct verified_bundle *bundle;
static struct manifest_output outputs[1];
static const struct manifest manifest = {.outputs = outputs, .output_count = 1};

static int start(void **state)
{
	static const char *const objects[] = {"maps", NULL};
	struct err e = ERR_INIT;

	bundle = fixture_bundle(&(struct fixture_spec){.name = "test/sample", .serial = 1, .objects = objects});
	if (kernel_load(*state, bundle, &kb, &e)) {
		err_print(stderr, "load", &e, false);
		return -1;
	}
	return 0;
}

static int stop(void **state)
{
	(void)state;
	kernel_close(&kb);
	verified_bundle_free(&bundle);
	no_batches = false;
	batches_before_failure = -1;
	delete_behind = -1;
	return 0;
}

static struct sampler *sampler(const char *map, bool clear)
{
	struct sampler *s = NULL;
	struct err e = ERR_INIT;

	outputs[0] = (struct manifest_output){.kind = OUTPUT_SAMPLE,
					      .object = (char *)"maps",
					      .map = (char *)map,
					      .interval_ms = 1000,
					      .clear = clear,
					      .interval_param = (char *)""};
	if (sampler_new(kb, &manifest, 0, &s, &e))
		fail_msg("%s: %s", map, e.frame[0]);
	return s;
}

/* As the worker does it: a mapping of its own, for reading. */
static const struct worker_sample *mapped(const struct sampler *s)
{
	struct stat st;

	assert_int_equal(fstat(sampler_fd(s), &st), 0);
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, sampler_fd(s), 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	assert_ptr_equal(mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, sampler_fd(s), 0),
			 MAP_FAILED);
	return at;
}

static void take(struct sampler *s)
{
	struct err e = ERR_INIT;

	if (sampler_take(s, &e))
		fail_msg("%s", e.frame[0]);
}

/* Key k holds 100 + k, on each CPU plus the CPU's number. */
static void fill(const char *map, uint32_t from, uint32_t count, uint32_t cpus)
{
	int fd = kernel_map_fd(kb, "maps", map);
	uint64_t values[1024];

	for (uint32_t key = from; key < from + count; key++) {
		for (uint32_t cpu = 0; cpu < cpus; cpu++)
			values[cpu] = 100 + key + cpu;
		assert_int_equal(bpf_map_update_elem(fd, &key, values, BPF_ANY), 0);
	}
}

static void check(const struct worker_sample *sample, uint32_t from, uint32_t count, uint32_t cpus)
{
	bool seen[2048] = {0};

	assert_int_equal(sample->entries, count);
	assert_int_equal(sample->key_size, 8);
	assert_int_equal(sample->value_size, 8);
	assert_int_equal(sample->cpus, cpus);
	assert_int_equal(sample->left_out, 0);
	assert_true(sample->time_ns > 0);
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *at = sample->data + (size_t)i * (8 + 8 * cpus);
		uint32_t key;
		memcpy(&key, at, sizeof(key));
		assert_in_range(key, from, from + count - 1);
		assert_false(seen[key]);
		seen[key] = true;
		for (uint32_t cpu = 0; cpu < cpus; cpu++) {
			uint64_t value;
			memcpy(&value, at + 8 + 8 * cpu, sizeof(value));
			assert_int_equal(value, 100 + key + cpu);
		}
	}
}

static unsigned keys_left(const char *map)
{
	int fd = kernel_map_fd(kb, "maps", map);
	uint32_t key, next;
	unsigned count = 0;

	for (int more = __real_bpf_map_get_next_key(fd, NULL, &key) == 0; more; count++) {
		more = __real_bpf_map_get_next_key(fd, &key, &next) == 0;
		key = next;
	}
	return count;
}

/* ---- tests ---- */

static const struct {
	const char *map;
	uint32_t count;
	bool per_cpu, array;
} maps[] = {
    {"hash", 700, false, false},       {"lru_hash", 100, false, false},      {"array", 10, false, true},
    {"percpu_hash", 700, true, false}, {"lru_percpu_hash", 50, true, false}, {"percpu_array", 10, true, true},
};

static void each_map(bool clear)
{
	uint32_t possible = (uint32_t)libbpf_num_possible_cpus();

	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		OWN(sampler) struct sampler *s = sampler(maps[i].map, clear);
		const struct worker_sample *sample = mapped(s);
		uint32_t cpus = maps[i].per_cpu ? possible : 1;
		assert_int_equal(sampler_cpus(s), cpus);
		for (int round = 0; round < 2; round++) {
			fill(maps[i].map, 0, maps[i].count, cpus);
			take(s);
			check(sample, 0, maps[i].count, cpus);
		}
		assert_int_equal(keys_left(maps[i].map), clear && !maps[i].array ? 0 : maps[i].count);
		if (!clear)
			continue;
		take(s);
		assert_int_equal(sample->entries, maps[i].array ? maps[i].count : 0);
		for (size_t b = 0; maps[i].array && b < 8u * cpus; b++)
			assert_int_equal(sample->data[8 + b], 0);
	}
}

static void take_reads_every_kind(void **state)
{
	(void)state;
	each_map(false);
}

static void take_clears_every_kind(void **state)
{
	(void)state;
	each_map(true);
}

static void take_without_batches_reads_every_kind(void **state)
{
	(void)state;
	no_batches = true;
	each_map(false);
}

static void take_without_batches_clears_every_kind(void **state)
{
	(void)state;
	no_batches = true;
	each_map(true);
}

/* Each /24 lies in the /8. */
static void take_reads_and_clears_a_trie(void **state)
{
	struct prefix {
		uint32_t bits;
		uint8_t address[4];
	} key;

	(void)state;
	for (int clear = 0; clear < 2; clear++) {
		OWN(sampler) struct sampler *s = sampler("trie", clear);
		const struct worker_sample *sample = mapped(s);
		int fd = kernel_map_fd(kb, "maps", "trie");
		bool seen[301] = {0};
		for (uint64_t i = 0; i <= 300; i++) {
			key = (struct prefix){i ? 24 : 8, {10, (uint8_t)(i >> 8), (uint8_t)i}};
			assert_int_equal(bpf_map_update_elem(fd, &key, &i, BPF_ANY), 0);
		}
		take(s);
		assert_int_equal(sample->entries, 301);
		assert_int_equal(sample->left_out, 0);
		for (size_t i = 0; i < 301; i++) {
			uint64_t value;
			memcpy(&key, sample->data + i * 16, sizeof(key));
			memcpy(&value, sample->data + i * 16 + 8, sizeof(value));
			assert_in_range(value, 0, 300);
			assert_false(seen[value]);
			seen[value] = true;
			assert_int_equal(key.bits, value ? 24 : 8);
			assert_int_equal(key.address[1] << 8 | key.address[2], value);
		}
		take(s);
		assert_int_equal(sample->entries, clear ? 0 : 301);
	}
}

static void take_of_changing_map_gives_each_key_once(void **state)
{
	OWN(sampler) struct sampler *s = sampler("hash", false);
	const struct worker_sample *sample = mapped(s);
	bool seen[1024] = {0};

	(void)state;
	no_batches = true;
	delete_behind = 50;
	fill("hash", 0, 300, 1);
	take(s);
	assert_true(sample->entries > 0 && sample->entries <= 300);
	for (uint32_t i = 0; i < sample->entries; i++) {
		uint32_t key;
		memcpy(&key, sample->data + i * 16, sizeof(key));
		assert_in_range(key, 0, 299);
		assert_false(seen[key]);
		seen[key] = true;
	}
}

static void drop_counts_what_a_cleared_map_had(void **state)
{
	OWN(sampler) struct sampler *cleared = sampler("hash", true);
	const struct worker_sample *sample = mapped(cleared);

	(void)state;
	fill("hash", 0, 30, 1);
	take(cleared);
	assert_int_equal(sampler_drop(cleared), 30);
	fill("hash", 0, 5, 1);
	take(cleared);
	assert_int_equal(sample->entries, 5);
	assert_int_equal(sample->left_out, 30);
	/* Nor is it known whether that was told. */
	assert_int_equal(sampler_drop(cleared), 5);
	take(cleared);
	assert_int_equal(sample->left_out, 35);
	take(cleared);
	assert_int_equal(sample->left_out, 0);

	OWN(sampler) struct sampler *kept = sampler("hash", false);
	fill("hash", 0, 30, 1);
	take(kept);
	assert_int_equal(sampler_drop(kept), 0);
	take(kept);
	assert_int_equal(mapped(kept)->left_out, 0);
}

/* At one of these capacities the last bucket has more entries than there is room for. */
static void take_clears_what_it_has_room_for_and_nothing_else(void **state)
{
	(void)state;
	for (size_t capacity = 100; capacity < 140; capacity++) {
		OWN(sampler) struct sampler *s = sampler("hash", true);
		const struct worker_sample *sample = mapped(s);
		s->capacity = capacity;
		fill("hash", 0, 700, 1);
		take(s);
		assert_in_range(sample->entries, 1, capacity);
		assert_int_equal(sample->left_out, 700 - sample->entries);
		assert_int_equal(keys_left("hash"), 700 - sample->entries);
	}
}

static void take_pads_odd_sizes(void **state)
{
	OWN(sampler) struct sampler *s = sampler("odd", false);
	const struct worker_sample *sample = mapped(s);
	char key[13] = "thirteen key", value[13] = "thirteen val";

	(void)state;
	assert_int_equal(bpf_map_update_elem(kernel_map_fd(kb, "maps", "odd"), key, value, BPF_ANY), 0);
	take(s);
	assert_int_equal(sample->entries, 1);
	assert_int_equal(sample->key_size, 16);
	assert_int_equal(sample->value_size, 16);
	assert_memory_equal(sample->data, key, 13);
	assert_memory_equal(sample->data + 13, "\0\0\0", 3);
	assert_memory_equal(sample->data + 16, value, 13);
	assert_memory_equal(sample->data + 29, "\0\0\0", 3);
}

static void new_of_map_without_program_is_refused(void **state)
{
	struct sampler *s = NULL;
	struct err e = ERR_INIT;

	(void)state;
	outputs[0] = (struct manifest_output){
	    .kind = OUTPUT_SAMPLE, .object = (char *)"maps", .map = (char *)"none", .interval_param = (char *)""};
	assert_int_equal(sampler_new(kb, &manifest, 0, &s, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_LOAD);
	outputs[0].map = (char *)"ring";
	assert_int_equal(sampler_new(kb, &manifest, 0, &s, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	assert_null(s);
}

static void lost_sums_over_cpus(void **state)
{
	uint64_t values[1024], lost[OBS_LOST_COUNT];
	uint32_t slot = OBS_LOST_TABLE;
	int cpus = libbpf_num_possible_cpus();
	struct err e = ERR_INIT;

	(void)state;
	for (int cpu = 0; cpu < cpus; cpu++)
		values[cpu] = (uint64_t)cpu + 1;
	int fd = kernel_map_fd(kb, "maps", "obs_lost");
	assert_true(fd >= 0);
	assert_int_equal(bpf_map_update_elem(fd, &slot, values, BPF_ANY), 0);
	outputs[0] = (struct manifest_output){
	    .kind = OUTPUT_LOST, .object = (char *)"maps", .map = (char *)"obs_lost", .interval_param = (char *)""};
	assert_int_equal(sampler_lost(kb, &manifest, lost, &e), 0);
	assert_int_equal(lost[OBS_LOST_TABLE], (uint64_t)cpus * ((uint64_t)cpus + 1) / 2);
	assert_int_equal(lost[OBS_LOST_RING], 0);
	outputs[0].map = (char *)"hash";
	assert_int_equal(sampler_lost(kb, &manifest, lost, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
}

/* What had left the map before something failed is lost, and counted. */
static void take_failing_half_way_counts_what_it_cleared(void **state)
{
	struct err e = ERR_INIT;
	uint32_t left;

	(void)state;
	OWN(sampler) struct sampler *s = sampler("hash", true);
	const struct worker_sample *sample = mapped(s);
	fill("hash", 0, 700, 1);
	batches_before_failure = 2;
	assert_int_equal(sampler_take(s, &e), -1);
	batches_before_failure = -1;
	left = keys_left("hash");
	assert_in_range(left, 1, 699);
	take(s);
	assert_int_equal(sample->entries, left);
	assert_int_equal(sample->left_out, 700 - left);
	take(s);
	assert_int_equal(sample->left_out, 0);
}

int main(void)
{
	static struct kernel_host host;

	fixture_host(&host);
#define TEST(f)                                                                                                        \
	{                                                                                                              \
#f, f, start, stop, &host                                                                              \
	}
	const struct CMUnitTest tests[] = {
	    TEST(take_reads_every_kind),
	    TEST(take_clears_every_kind),
	    TEST(take_without_batches_reads_every_kind),
	    TEST(take_without_batches_clears_every_kind),
	    TEST(take_reads_and_clears_a_trie),
	    TEST(take_of_changing_map_gives_each_key_once),
	    TEST(drop_counts_what_a_cleared_map_had),
	    TEST(take_failing_half_way_counts_what_it_cleared),
	    TEST(take_clears_what_it_has_room_for_and_nothing_else),
	    TEST(take_pads_odd_sizes),
	    TEST(new_of_map_without_program_is_refused),
	    TEST(lost_sums_over_cpus),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
