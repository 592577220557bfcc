#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <string.h>

#include "loader/monitor/sample_impl.h"

/* Reading a map that programs go on changing.
 *
 * Batches (Linux 5.6) walk a hash map bucket by bucket, each under its lock: a key stays in its bucket, so it is seen at
 * most once, and lookup-and-delete loses no count between the two. One key after the other, a walk starts again when
 * its key is deleted meanwhile: what was seen is remembered. A trie may give such a key with its parent's value. */

enum { BATCH_BYTES = 1 << 20, BATCH_MOST = 4096, ENOTSUPP_KERNEL = 524 };

uint32_t sample_first_batch(const struct sampler *s)
{
	size_t fit = BATCH_BYTES / (s->info.key_size + s->value_bytes);
	size_t most = fit < BATCH_MOST ? fit : BATCH_MOST;

	if (most < 64)
		most = 64;
	return s->info.max_entries < most ? s->info.max_entries : (uint32_t)most;
}

int sample_buffers(struct sampler *s, uint32_t room, struct err *e)
{
	uint8_t *keys = calloc(room, s->info.key_size), *values = calloc(room, s->value_bytes);

	if (!keys || !values) {
		free(keys);
		free(values);
		return err_errno(e, ERR_NOMEM, "room for %u entries", room);
	}
	free(s->keys);
	free(s->values);
	s->keys = keys;
	s->values = values;
	s->room = room;
	return 0;
}

static bool not_supported(int errnum)
{
	return errnum == EINVAL || errnum == EOPNOTSUPP || errnum == ENOTSUPP_KERNEL;
}

/* ---- arrays: their keys are 0 to max_entries - 1 ---- */

static int read_array(struct sampler *s, bool clear, struct err *e)
{
	OWN_FREE uint8_t *zero = calloc(1, s->value_bytes + 1);

	if (!zero)
		return err_errno(e, ERR_NOMEM, "sample");
	for (uint32_t key = 0; key < s->info.max_entries; key++) {
		if (s->sample->entries >= s->capacity) {
			s->sample->left_out += s->info.max_entries - key;
			break;
		}
		if (bpf_map_lookup_elem(s->map, &key, s->values))
			return err_errno(e, ERR_KERNEL_LOAD, "reading entry %u", key);
		sample_add(s, (const uint8_t *)&key, s->values);
		if (clear && bpf_map_update_elem(s->map, &key, zero, BPF_EXIST))
			return err_errno(e, ERR_KERNEL_LOAD, "clearing entry %u", key);
	}
	return 0;
}

/* One call for many entries; not for clearing, where the time between reading and zeroing must be short. */
static int read_array_batches(struct sampler *s, struct err *e)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t position = 0, next = 0;
	bool first = true;

	for (;;) {
		uint32_t count = s->room;
		int result =
		    bpf_map_lookup_batch(s->map, first ? NULL : &position, &next, s->keys, s->values, &count, &opts);
		int errnum = result ? errno : 0;
		if (errnum && errnum != ENOENT) {
			if (first && not_supported(errnum))
				return 1;
			return err_errno(e, ERR_KERNEL_LOAD, "reading entries");
		}
		for (uint32_t i = 0; i < count; i++)
			sample_add(s, s->keys + (size_t)i * s->info.key_size, s->values + (size_t)i * s->value_bytes);
		if (errnum == ENOENT || count == 0)
			return 0;
		position = next;
		first = false;
	}
}

/* ---- hash maps, in batches ---- */

/* 0: more may follow, 1: that was all, -1: *errnum */
static int next_batch(struct sampler *s, bool remove, const void *from, void *to, uint32_t *count, int *errnum)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	int result =
	    remove
		? bpf_map_lookup_and_delete_batch(s->map, (void *)(uintptr_t)from, to, s->keys, s->values, count, &opts)
		: bpf_map_lookup_batch(s->map, (void *)(uintptr_t)from, to, s->keys, s->values, count, &opts);

	if (result == 0)
		return 0;
	*errnum = errno;
	return errno == ENOENT ? 1 : -1;
}

/* A bucket with more entries than there is room for. */
static int more_room(struct sampler *s, struct err *e)
{
	if (s->room >= s->info.max_entries)
		return err_set(e, ERR_KERNEL_LOAD, "the kernel gives more entries than the map has");
	uint32_t room = s->room > s->info.max_entries / 2 ? s->info.max_entries : s->room * 2;
	return sample_buffers(s, room, e);
}

/* Entries that have no place in the sample are counted and stay in the map. 1: the kernel has no batches. */
static int read_hash_batches(struct sampler *s, bool clear, struct err *e)
{
	uint64_t position = 0, next = 0; /* a bucket's number; the kernel writes 4 bytes */
	bool first = true, full = false;

	for (;;) {
		size_t left = s->capacity - s->sample->entries;
		bool remove = clear && left > 0 && !full;
		uint32_t count = remove && left < s->room ? (uint32_t)left : s->room;
		int errnum = 0;
		int result = next_batch(s, remove, first ? NULL : &position, &next, &count, &errnum);
		if (result < 0 && errnum == ENOSPC) {
			if (remove && left < s->room) {
				full = true; /* the bucket's entries do not all fit: they stay */
				continue;
			}
			if (more_room(s, e))
				return -1;
			continue;
		}
		if (result < 0 && first && not_supported(errnum))
			return 1;
		if (result < 0) {
			errno = errnum;
			return err_errno(e, ERR_KERNEL_LOAD, "reading entries");
		}
		if (full)
			s->sample->left_out += count;
		for (uint32_t i = 0; i < count && !full; i++)
			sample_add(s, s->keys + (size_t)i * s->info.key_size, s->values + (size_t)i * s->value_bytes);
		if (result == 1)
			return 0;
		position = next;
		first = false;
	}
}

/* ---- hash maps, one key after the other ---- */

static uint64_t hash_key(const uint8_t *key, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ key[i]) * 0x100000001b3u;
	return hash;
}

static int seen_clear(struct sampler *s, struct err *e)
{
	size_t slots = 16;

	while (slots < s->capacity * 2)
		slots *= 2;
	if (!s->seen)
		s->seen = calloc(slots, sizeof(*s->seen));
	if (!s->seen)
		return err_errno(e, ERR_NOMEM, "keys of a sample");
	s->seen_slots = slots;
	memset(s->seen, 0, slots * sizeof(*s->seen));
	return 0;
}

/* Notes the entry that the sample gets next; false if its key is there already. */
static bool seen_add(struct sampler *s, const uint8_t *key)
{
	for (size_t at = hash_key(key, s->info.key_size);; at++) {
		uint32_t *slot = &s->seen[at & (s->seen_slots - 1)];
		if (*slot == 0) {
			*slot = s->sample->entries + 1;
			return true;
		}
		if (memcmp(s->sample->data + (*slot - 1) * s->entry_bytes, key, s->info.key_size) == 0)
			return false;
	}
}

static int take_entry(struct sampler *s, const uint8_t *key, bool clear, struct err *e)
{
	if (s->sample->entries >= s->capacity) {
		s->sample->left_out++;
		return 0;
	}
	if (bpf_map_lookup_elem(s->map, key, s->values))
		return errno == ENOENT ? 0 : err_errno(e, ERR_KERNEL_LOAD, "reading an entry");
	if (!seen_add(s, key))
		return 0;
	sample_add(s, key, s->values);
	if (clear && bpf_map_delete_elem(s->map, key) && errno != ENOENT)
		return err_errno(e, ERR_KERNEL_LOAD, "clearing an entry");
	return 0;
}

/* The next key is asked for before the present one goes. A map that changes faster than it is read is left after twice as
 * many steps as it has entries. */
static int read_hash_keys(struct sampler *s, bool clear, struct err *e)
{
	uint64_t steps = 2 * (uint64_t)s->info.max_entries + 16;
	OWN_FREE uint8_t *key = calloc(2, s->info.key_size);
	bool more;

	if (!key)
		return err_errno(e, ERR_NOMEM, "sample");
	if (seen_clear(s, e))
		return -1;
	uint8_t *next = key + s->info.key_size;
	more = bpf_map_get_next_key(s->map, NULL, key) == 0;
	while (more && steps--) {
		more = bpf_map_get_next_key(s->map, key, next) == 0;
		if (take_entry(s, key, clear, e))
			return -1;
		memcpy(key, next, s->info.key_size);
	}
	if (more)
		s->sample->left_out++; /* at least one */
	return 0;
}

int sample_read(struct sampler *s, bool clear, struct err *e)
{
	int result = 1;

	if (s->array) {
		if (s->batches && !clear)
			result = read_array_batches(s, e);
	} else if (s->batches) {
		result = read_hash_batches(s, clear, e);
	}
	if (result <= 0)
		return result;
	if (!s->array || !clear)
		s->batches = false;
	return s->array ? read_array(s, clear, e) : read_hash_keys(s, clear, e);
}
