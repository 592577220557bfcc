/* Histograms of microseconds that the loader samples; they only grow, so that rates can be taken from them. */
#ifndef NETWORK_TCP_HISTOGRAM_H
#define NETWORK_TCP_HISTOGRAM_H

#include <obs/obs.h>

enum { HISTOGRAM_SLOTS = 32 };

struct rtt_histogram {
	__u64 slot[HISTOGRAM_SLOTS] OBS_AS("tcp.rtt_us") OBS_FORMAT("log2");
};

struct handshake_histogram {
	__u64 slot[HISTOGRAM_SLOTS] OBS_AS("tcp.handshake_us") OBS_FORMAT("log2");
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rtt_histogram);
} rtts SEC(".maps") OBS_SAMPLE("tcp.rtt", 10000) OBS_SAMPLE_CHANGED;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct handshake_histogram);
} handshakes SEC(".maps") OBS_SAMPLE("tcp.handshake", 10000) OBS_SAMPLE_CHANGED;

static __always_inline void histogram_add(void *map, __u64 value)
{
	__u32 zero = 0, slot = 0;
	__u64 *slots = bpf_map_lookup_elem(map, &zero);

	if (!slots)
		return;
	if (value > 0xffffffff)
		value = 0xffffffff;
	for (int shift = 16; shift; shift >>= 1) {
		if (value >> shift) {
			value >>= shift;
			slot += shift;
		}
	}
	slots[slot & (HISTOGRAM_SLOTS - 1)]++;
}

/* 0: the kernel has measured none. */
static __always_inline void rtt_add(__u32 srtt_us)
{
	if (srtt_us)
		histogram_add(&rtts, srtt_us);
}

#endif
