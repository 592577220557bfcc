/* Private to sample*.c. */
#ifndef OBS_MONITOR_SAMPLE_IMPL_H
#define OBS_MONITOR_SAMPLE_IMPL_H

#include <linux/bpf.h>

#include "loader/monitor/sample.h"

struct sampler {
	const struct kernel_bundle *kb;
	const struct manifest_output *output;
	const struct manifest_param *interval; /* NULL: the output's own */
	int map, memfd;
	struct bpf_map_info info;
	bool array, per_cpu;
	bool batches; /* until the kernel says that it has none for this map */
	uint32_t cpus;
	size_t value_bytes, entry_bytes; /* as the kernel gives a value; as the sample holds key and values */
	size_t capacity;
	uint64_t dropped; /* see sampler_drop() */
	struct worker_sample *sample;
	size_t memfd_bytes;
	/* Room for one batch. */
	uint8_t *keys, *values;
	uint32_t room;
	uint32_t *seen; /* hash set of entry numbers + 1 */
	size_t seen_slots;
};

uint32_t sample_first_batch(const struct sampler *s);
MUST_CHECK int sample_buffers(struct sampler *s, uint32_t room, struct err *e);
void sample_add(struct sampler *s, const uint8_t *key, const uint8_t *value);
MUST_CHECK int sample_read(struct sampler *s, bool clear, struct err *e);

#endif
