#include "loader/worker/sample.h"

#include <obs/event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "loader/worker/lost.h"

struct sample {
	struct sample_shape shape;
	uint32_t key_bytes, value_bytes; /* padded to 8 */
	uint8_t *map;
	size_t map_bytes;
	bool active;
	uint32_t at; /* entry */
	uint8_t *record;
	bool *is_length; /* of a value field: tells another's length */
	/* only_changed: the sample before, and its entries by key */
	uint8_t *before;
	uint32_t before_entries;
	uint32_t *index; /* entry + 1, 0: none */
	uint32_t index_mask;
	struct worker_sample head; /* copied: the checks hold for what is used. Last, for its open end */
};

static uint32_t padded(uint32_t size)
{
	return (size + 7) & ~7U;
}

uint32_t sample_key_offset(void)
{
	return sizeof(struct obs_header);
}

uint32_t sample_value_offset(uint32_t key_size)
{
	return sample_key_offset() + padded(key_size);
}

int sample_new(int fd, const struct sample_shape *shape, struct sample **out, struct err *e)
{
	OWN(sample) struct sample *s = calloc(1, sizeof(*s));
	const struct manifest_output *o = shape->output;
	struct stat st;

	if (!s)
		return err_errno(e, ERR_NOMEM, "sample");
	if (shape->key_size > EVENT_MAX_BYTES || shape->value_size > EVENT_MAX_BYTES || shape->value_size == 0 ||
	    shape->cpus == 0)
		return err_set(e, ERR_DAEMON_PROTOCOL, "map %s: %u + %u bytes, %u CPUs", o->map, shape->key_size,
			       shape->value_size, shape->cpus);
	s->shape = *shape;
	s->key_bytes = padded(shape->key_size);
	s->value_bytes = padded(shape->value_size);
	s->record = calloc(1, sizeof(struct obs_header) + s->key_bytes + s->value_bytes);
	s->is_length = calloc(o->value_field_count + 1, sizeof(*s->is_length));
	if (!s->record || !s->is_length)
		return err_errno(e, ERR_NOMEM, "sample");
	for (size_t i = 0; i < o->value_field_count; i++)
		if (o->value_fields[i].length_field >= 0 &&
		    (size_t)o->value_fields[i].length_field < o->value_field_count)
			s->is_length[o->value_fields[i].length_field] = true;
	if (fstat(fd, &st))
		return err_errno(e, ERR_IO, "sample of map %s", o->map);
	if ((uint64_t)st.st_size < sizeof(struct worker_sample))
		return err_set(e, ERR_DAEMON_PROTOCOL, "sample of map %s: %lld bytes", o->map, (long long)st.st_size);
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(e, ERR_IO, "map the sample of map %s", o->map);
	s->map = map;
	s->map_bytes = (size_t)st.st_size;
	*out = TAKE_PTR(s);
	return 0;
}

void sample_free(struct sample **sample)
{
	struct sample *s = *sample;

	if (!s)
		return;
	if (s->map)
		munmap(s->map, s->map_bytes);
	free(s->record);
	free(s->is_length);
	free(s->before);
	free(s->index);
	free(s);
	*sample = NULL;
}

static size_t entry_bytes(const struct sample *s)
{
	return s->key_bytes + (size_t)s->shape.cpus * s->value_bytes;
}

int sample_begin(struct sample *s, struct err *e)
{
	struct worker_sample head;
	const char *name = s->shape.output->map;

	if (s->active)
		return err_set(e, ERR_DAEMON_PROTOCOL, "map %s: a sample before the last was done", name);
	memcpy(&head, s->map, sizeof(head));
	if (head.key_size != s->key_bytes || head.value_size != s->value_bytes || head.cpus != s->shape.cpus)
		return err_set(e, ERR_DAEMON_PROTOCOL,
			       "map %s: sampled as %u + %u bytes for %u CPUs, not %u + %u for %u", name, head.key_size,
			       head.value_size, head.cpus, s->key_bytes, s->value_bytes, s->shape.cpus);
	if (entry_bytes(s) && head.entries > (s->map_bytes - sizeof(head)) / entry_bytes(s))
		return err_set(e, ERR_DAEMON_PROTOCOL, "map %s: %u entries do not fit into %zu bytes", name,
			       head.entries, s->map_bytes);
	s->head = head;
	s->at = 0;
	s->active = true;
	return 0;
}

bool sample_active(const struct sample *s)
{
	return s->active;
}

uint64_t sample_left_out(const struct sample *s)
{
	return s->head.left_out;
}

/* ---- what changed ---- */

/* FNV-1a over words: keys come from the observed system, but a bad spread only costs time, and entries are bounded. */
static uint32_t key_hash(const uint8_t *key, size_t size)
{
	uint64_t hash = 0xcbf29ce484222325, word;

	for (size_t i = 0; i < size; i += sizeof(word)) {
		memcpy(&word, key + i, sizeof(word));
		hash = (hash ^ word) * 0x100000001b3;
		hash ^= hash >> 29;
	}
	return (uint32_t)(hash ^ hash >> 32);
}

static const uint8_t *before_find(const struct sample *s, const uint8_t *key)
{
	size_t bytes = entry_bytes(s);

	if (!s->before_entries)
		return NULL;
	for (uint32_t slot = key_hash(key, s->key_bytes) & s->index_mask; s->index[slot];
	     slot = (slot + 1) & s->index_mask) {
		const uint8_t *entry = s->before + (s->index[slot] - 1) * bytes;
		if (memcmp(entry, key, s->key_bytes) == 0)
			return entry;
	}
	return NULL;
}

/* Keeps this sample for the next. Without memory everything counts as changed next time. */
static void before_keep(struct sample *s)
{
	size_t bytes = entry_bytes(s), total = bytes * s->head.entries;
	uint32_t slots = 16;

	s->before_entries = 0;
	while (slots < 2 * (uint64_t)s->head.entries)
		slots *= 2;
	uint8_t *before = realloc(s->before, total + 1);
	if (!before)
		return;
	s->before = before;
	if (!s->index || s->index_mask != slots - 1) {
		uint32_t *index = realloc(s->index, slots * sizeof(*index));
		if (!index)
			return;
		s->index = index;
		s->index_mask = slots - 1;
	}
	memcpy(s->before, s->map + sizeof(struct worker_sample), total);
	memset(s->index, 0, slots * sizeof(*s->index));
	for (uint32_t i = 0; i < s->head.entries; i++) {
		uint32_t slot = key_hash(s->before + i * bytes, s->key_bytes) & s->index_mask;
		while (s->index[slot])
			slot = (slot + 1) & s->index_mask;
		s->index[slot] = i + 1;
	}
	s->before_entries = s->head.entries;
}

static bool all_zero(const uint8_t *s, size_t size)
{
	return size == 0 || (s[0] == 0 && memcmp(s, s + 1, size - 1) == 0);
}

static bool has_changed(const struct sample *s, const uint8_t *entry)
{
	const struct manifest_output *o = s->shape.output;
	size_t values = (size_t)s->shape.cpus * s->value_bytes;

	if (!o->only_changed)
		return true;
	if (o->clear)
		return !all_zero(entry + s->key_bytes, values);
	const uint8_t *before = before_find(s, entry);
	if (!before)
		return !s->shape.is_array || !all_zero(entry + s->key_bytes, values);
	return memcmp(before + s->key_bytes, entry + s->key_bytes, values) != 0;
}

/* ---- one value of several CPUs ---- */

static bool is_amount(const struct manifest_field *f)
{
	if ((f->kind != FIELD_UINT && f->kind != FIELD_INT) || f->bit_size)
		return false;
	return f->format == FORMAT_PLAIN || f->format == FORMAT_NS || f->format == FORMAT_US ||
	       f->format == FORMAT_BYTES || f->format == FORMAT_LOG2 || f->format == FORMAT_LINEAR;
}

static int64_t get(const uint8_t *at, uint32_t size, bool is_signed)
{
	uint64_t v = 0;
	unsigned bits = size * 8;

	memcpy(&v, at, size);
	if (is_signed && bits < 64)
		return (int64_t)(v << (64 - bits)) >> (64 - bits);
	return (int64_t)v;
}

/* The sum over CPUs, or the nearest value that the field can hold. */
static void add_up(const struct sample *s, const uint8_t *values, uint32_t offset, uint32_t size, bool is_signed,
		   uint8_t *out)
{
	unsigned bits = size * 8;
	uint64_t usum = 0, umax = bits < 64 ? (1ULL << bits) - 1 : UINT64_MAX;
	int64_t sum = 0, max = (int64_t)(umax >> 1), min = -max - 1;

	for (uint32_t cpu = 0; cpu < s->shape.cpus; cpu++) {
		int64_t v = get(values + (size_t)cpu * s->value_bytes + offset, size, is_signed);
		if (is_signed) {
			if (__builtin_add_overflow(sum, v, &sum))
				sum = v < 0 ? INT64_MIN : INT64_MAX;
		} else if (__builtin_add_overflow(usum, (uint64_t)v, &usum)) {
			usum = UINT64_MAX;
		}
	}
	if (is_signed)
		usum = (uint64_t)(sum < min ? min : sum > max ? max : sum);
	else if (usum > umax)
		usum = umax;
	memcpy(out + offset, &usum, size);
}

static void merge_field(const struct sample *s, const struct manifest_field *f, bool is_length, const uint8_t *values,
			uint8_t *out)
{
	uint32_t elements = f->count ? f->count : 1;
	uint32_t extent = f->count ? (elements - 1) * f->stride + f->size : f->size;

	if (is_amount(f) && !is_length) {
		for (uint32_t i = 0; i < elements; i++)
			add_up(s, values, f->offset + i * f->stride, f->size, f->kind == FIELD_INT, out);
		return;
	}
	for (uint32_t cpu = 0; cpu < s->shape.cpus; cpu++) {
		const uint8_t *at = values + (size_t)cpu * s->value_bytes + f->offset;
		if (all_zero(at, extent))
			continue;
		memcpy(out + f->offset, at, extent);
		return;
	}
}

static void merge(const struct sample *s, const uint8_t *values, uint8_t *out)
{
	const struct manifest_output *o = s->shape.output;

	if (s->shape.cpus == 1) {
		memcpy(out, values, s->value_bytes);
		return;
	}
	memset(out, 0, s->value_bytes);
	for (size_t i = 0; i < o->value_field_count; i++)
		merge_field(s, &o->value_fields[i], s->is_length[i], values, out);
}

const uint8_t *sample_next(struct sample *s, uint32_t *size)
{
	struct obs_header header = {.time_ns = s->head.time_ns};

	while (s->active && s->at < s->head.entries) {
		const uint8_t *entry = s->map + sizeof(struct worker_sample) + s->at * entry_bytes(s);
		s->at++;
		if (!has_changed(s, entry))
			continue;
		memcpy(s->record, &header, sizeof(header));
		memcpy(s->record + sizeof(header), entry, s->key_bytes);
		merge(s, entry + s->key_bytes, s->record + sizeof(header) + s->key_bytes);
		*size = (uint32_t)sizeof(header) + s->key_bytes + s->value_bytes;
		return s->record;
	}
	if (s->active && s->shape.output->only_changed && !s->shape.output->clear)
		before_keep(s);
	s->active = false;
	return NULL;
}

void sample_lost(struct sample *s, uint64_t totals[static LOSS_SOURCE_COUNT])
{
	size_t bytes = entry_bytes(s);

	memset(totals, 0, LOSS_SOURCE_COUNT * sizeof(*totals));
	s->active = false;
	if (s->shape.key_size != sizeof(uint32_t) || s->shape.value_size != sizeof(uint64_t))
		return;
	for (uint32_t i = 0; i < s->head.entries; i++) {
		const uint8_t *entry = s->map + sizeof(struct worker_sample) + i * bytes;
		uint32_t slot;
		memcpy(&slot, entry, sizeof(slot));
		for (uint32_t cpu = 0; slot < OBS_LOST_COUNT && cpu < s->shape.cpus; cpu++) {
			uint64_t count;
			memcpy(&count, entry + s->key_bytes + (size_t)cpu * s->value_bytes, sizeof(count));
			totals[lost_source_of_slot((enum obs_loss)slot)] += count;
		}
	}
}
