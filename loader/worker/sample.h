/* Sampled maps: what the monitor read into a shared memfd (struct worker_sample) becomes records, one an entry: struct
 * obs_header, then the key, then the value, each padded to 8 bytes.
 *
 * A per-CPU map has a value a CPU; a record holds one. UINT and INT fields that are amounts (plain, bytes, ns, us,
 * histograms) are added up and stay at their largest value rather than wrap; every other field, and one that tells the
 * length of another, is that of the first CPU where it is not all zero.
 *
 * With only_changed an entry is left out whose key and value are as in the sample before. If the map is cleared at every
 * sample, or is an array seen for the first time, the value before is all zero.
 *
 * The monitor is trusted, the header all the same is copied and checked against the mapping: a defect there must not
 * become a read past it here.
 */
#ifndef OBS_WORKER_SAMPLE_H
#define OBS_WORKER_SAMPLE_H

#include "bundles/manifest.h"
#include "loader/ipc/worker.h"

struct sample;

struct sample_shape {
	const struct manifest_output *output; /* borrowed */
	uint32_t key_size, value_size;        /* as in the map */
	uint32_t cpus;
	bool is_array;
};

/* Maps the memfd, which stays the caller's. */
MUST_CHECK int sample_new(int fd, const struct sample_shape *shape, struct sample **out, struct err *e);
void sample_free(struct sample **s);

/* Where key and value stand in a record, and its size. */
uint32_t sample_key_offset(void);
uint32_t sample_value_offset(uint32_t key_size);

/* A fresh sample has come: checks it (ERR_DAEMON_PROTOCOL). One that is begun and not at its end is an error too. */
MUST_CHECK int sample_begin(struct sample *s, struct err *e);
bool sample_active(const struct sample *s);

/* The next record, valid until the next call; NULL: that was the last, and the memfd may be written again. */
const uint8_t *sample_next(struct sample *s, uint32_t *size);

/* Entries that did not fit, of the sample that was begun last. */
uint64_t sample_left_out(const struct sample *s);

/* OUTPUT_LOST: the sample begun last as totals by enum loss_source, and ends it. */
void sample_lost(struct sample *s, uint64_t totals[static LOSS_SOURCE_COUNT]);

#endif
