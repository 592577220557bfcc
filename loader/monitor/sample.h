/* Sampled maps: the monitor reads them into a shared memfd, because an unprivileged worker may not call bpf(). */
#ifndef OBS_MONITOR_SAMPLE_H
#define OBS_MONITOR_SAMPLE_H

#include "loader/ipc/worker.h"
#include "loader/monitor/kernel.h"

struct sampler; /* one output of a running bundle */

/* For OUTPUT_SAMPLE and OUTPUT_LOST. The memfd is sized for the map's max_entries, at most 16 MiB. */
MUST_CHECK int sampler_new(const struct kernel_bundle *kb, const struct manifest *m, size_t output_index,
			   struct sampler **out, struct err *e);
void sampler_free(struct sampler **s);

int sampler_fd(const struct sampler *s); /* borrowed memfd to give to the worker, which needs it readable only */
uint32_t sampler_cpus(const struct sampler *s);

/* Reads the map into the memfd (struct worker_sample), then clears it if the output says so. Entries that do not fit are
 * counted in left_out. Hash maps that change meanwhile are read as well as the kernel allows, each key at most once. What
 * a failure had cleared counts as left out of the next one. */
MUST_CHECK int sampler_take(struct sampler *s, struct err *e);

/* Nobody may have told the sample that was taken last. What a cleared map had in it counts as left out of the next one: all of
 * it, since how far its reader came is not known. Returns how many entries these are. */
uint32_t sampler_drop(struct sampler *s);

/* Interval now in force: the output's parameter if it has one, else its interval_ms. */
uint32_t sampler_interval_ms(const struct sampler *s);

/* OUTPUT_LOST: totals by enum obs_loss, summed over CPUs. */
MUST_CHECK int sampler_lost(const struct kernel_bundle *kb, const struct manifest *m,
			    uint64_t *lost /* OBS_LOST_COUNT */, struct err *e);

#endif
