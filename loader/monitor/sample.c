#include "loader/monitor/sample.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <obs/event.h>

#include "loader/monitor/params.h"
#include "loader/monitor/sample_impl.h"

enum { MEMFD_MAX_BYTES = 16 << 20, INTERVAL_MIN_MS = 100, INTERVAL_MAX_MS = 3600000 };

static bool is_per_cpu(uint32_t type)
{
	return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH ||
	       type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool is_array(uint32_t type)
{
	return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool is_sampled(uint32_t type)
{
	return is_array(type) || is_per_cpu(type) || type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LRU_HASH ||
	       type == BPF_MAP_TYPE_LPM_TRIE;
}

static size_t pad8(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

/* ---- a sampler ---- */

void sampler_free(struct sampler **out)
{
	struct sampler *s = TAKE_PTR(*out);

	if (!s)
		return;
	if (s->sample)
		munmap(s->sample, s->memfd_bytes);
	if (s->memfd >= 0)
		close(s->memfd);
	if (s->map >= 0)
		close(s->map);
	free(s->keys);
	free(s->values);
	free(s->seen);
	free(s);
}

/* Writable by this mapping alone: the worker gets the same open file and may not change what it is given. */
static int make_memfd(struct sampler *s, struct err *e)
{
	s->memfd_bytes = sizeof(struct worker_sample) + s->capacity * s->entry_bytes;
	s->memfd = memfd_create("obs-sample", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->memfd < 0 || ftruncate(s->memfd, (off_t)s->memfd_bytes))
		return err_errno(e, ERR_IO, "memfd of %zu bytes", s->memfd_bytes);
	void *at = mmap(NULL, s->memfd_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
	if (at == MAP_FAILED)
		return err_errno(e, ERR_NOMEM, "memfd of %zu bytes", s->memfd_bytes);
	s->sample = at;
	if (fcntl(s->memfd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL))
		return err_errno(e, ERR_IO, "seal of a sample");
	return 0;
}

static int describe_map(struct sampler *s, struct err *e)
{
	uint32_t size = sizeof(s->info);

	if (bpf_obj_get_info_by_fd(s->map, &s->info, &size))
		return err_errno(e, ERR_KERNEL_VIEW, "map %s", s->output->map);
	if (!is_sampled(s->info.type))
		return err_set(e, ERR_KERNEL_VIEW, "map %s of type %u cannot be sampled", s->output->map, s->info.type);
	if (s->info.key_size > EVENT_MAX_BYTES || s->info.value_size > EVENT_MAX_BYTES || s->info.max_entries == 0)
		return err_set(e, ERR_LIMIT, "map %s: key of %u, value of %u bytes", s->output->map, s->info.key_size,
			       s->info.value_size);
	int cpus = is_per_cpu(s->info.type) ? libbpf_num_possible_cpus() : 1;
	if (cpus < 1)
		return err_set(e, ERR_KERNEL_VIEW, "number of CPUs: %s", strerror(-cpus));
	s->cpus = (uint32_t)cpus;
	s->array = is_array(s->info.type);
	s->per_cpu = is_per_cpu(s->info.type);
	s->batches = s->info.type != BPF_MAP_TYPE_LPM_TRIE; /* a batch of its ends with a key, not with a bucket */
	/* The kernel gives per-CPU values padded to 8 bytes, others as they are. */
	s->value_bytes = s->per_cpu ? pad8(s->info.value_size) * s->cpus : s->info.value_size;
	s->entry_bytes = pad8(s->info.key_size) + pad8(s->info.value_size) * s->cpus;
	size_t fit = (MEMFD_MAX_BYTES - sizeof(struct worker_sample)) / s->entry_bytes;
	s->capacity = s->info.max_entries < fit ? s->info.max_entries : fit;
	return 0;
}

int sampler_new(const struct kernel_bundle *kb, const struct manifest *m, size_t output_index, struct sampler **out,
		struct err *e)
{
	OWN(sampler) struct sampler *s = calloc(1, sizeof(*s));

	if (!s)
		return err_errno(e, ERR_NOMEM, "sampled map");
	s->map = s->memfd = -1;
	if (output_index >= m->output_count || m->outputs[output_index].kind == OUTPUT_RING)
		return err_set(e, ERR_INTERNAL, "output %zu is not sampled", output_index);
	s->kb = kb;
	s->output = &m->outputs[output_index];
	s->interval = s->output->interval_param[0] ? manifest_param_find(m, s->output->interval_param) : NULL;
	int fd = kernel_map_fd(kb, s->output->object, s->output->map);
	if (fd < 0)
		return err_set(e, ERR_KERNEL_LOAD, "map %s: no program of object %s is in use", s->output->map,
			       s->output->object);
	s->map = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (s->map < 0)
		return err_errno(e, ERR_IO, "map %s", s->output->map);
	if (describe_map(s, e) || make_memfd(s, e) || sample_buffers(s, sample_first_batch(s), e))
		return err_wrap(e, "output %s", s->output->map);
	*out = TAKE_PTR(s);
	return 0;
}

int sampler_fd(const struct sampler *s)
{
	return s->memfd;
}

uint32_t sampler_cpus(const struct sampler *s)
{
	return s->cpus;
}

uint32_t sampler_drop(struct sampler *s)
{
	if (s->output->kind != OUTPUT_SAMPLE || !s->output->clear)
		return 0;
	s->dropped += s->sample->left_out + s->sample->entries;
	return s->sample->entries;
}

uint32_t sampler_interval_ms(const struct sampler *s)
{
	uint32_t value = 0;

	if (s->interval && param_bytes(s->interval) == sizeof(value) &&
	    param_read(s->kb, s->interval, (uint8_t *)&value, NULL) == 0) {
		if (value < INTERVAL_MIN_MS)
			return INTERVAL_MIN_MS;
		return value > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : value;
	}
	return s->output->interval_ms;
}

/* ---- taking a sample ---- */

void sample_add(struct sampler *s, const uint8_t *key, const uint8_t *value)
{
	if (s->sample->entries >= s->capacity) {
		s->sample->left_out++;
		return;
	}
	uint8_t *at = s->sample->data + s->sample->entries * s->entry_bytes;
	memset(at, 0, s->entry_bytes);
	memcpy(at, key, s->info.key_size);
	memcpy(at + pad8(s->info.key_size), value, s->value_bytes);
	s->sample->entries++;
}

int sampler_take(struct sampler *s, struct err *e)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* the clock of bpf_ktime_get_ns() */
	*s->sample = (struct worker_sample){
	    .time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
	    .key_size = (uint32_t)pad8(s->info.key_size),
	    .value_size = (uint32_t)pad8(s->info.value_size),
	    .cpus = s->cpus,
	    .left_out = s->dropped,
	};
	s->dropped = 0;
	if (sample_read(s, s->output->kind == OUTPUT_SAMPLE && s->output->clear, e)) {
		/* Nobody gets what was taken out of the map until then. */
		sampler_drop(s);
		return err_wrap(e, "output %s", s->output->map);
	}
	return 0;
}

/* ---- drop counters ---- */

static int add_lost(const struct kernel_bundle *kb, const struct manifest_output *output, uint64_t *lost, struct err *e)
{
	int fd = kernel_map_fd(kb, output->object, output->map), cpus = libbpf_num_possible_cpus();
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info);

	if (fd < 0)
		return 0;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return err_errno(e, ERR_KERNEL_VIEW, "map %s", output->map);
	if (info.type != BPF_MAP_TYPE_PERCPU_ARRAY || info.value_size != sizeof(uint64_t) || cpus < 1)
		return err_set(e, ERR_KERNEL_VIEW, "map %s does not hold drop counters", output->map);
	OWN_FREE uint64_t *values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return err_errno(e, ERR_NOMEM, "drop counters");
	for (uint32_t slot = 0; slot < OBS_LOST_COUNT && slot < info.max_entries; slot++) {
		if (bpf_map_lookup_elem(fd, &slot, values))
			return err_errno(e, ERR_KERNEL_LOAD, "reading map %s", output->map);
		for (int cpu = 0; cpu < cpus; cpu++)
			lost[slot] += values[cpu];
	}
	return 0;
}

int sampler_lost(const struct kernel_bundle *kb, const struct manifest *m, uint64_t *lost, struct err *e)
{
	uint64_t sum[OBS_LOST_COUNT] = {0};

	for (size_t i = 0; i < m->output_count; i++)
		if (m->outputs[i].kind == OUTPUT_LOST && add_lost(kb, &m->outputs[i], sum, e))
			return -1;
	memcpy(lost, sum, sizeof(sum));
	return 0;
}
