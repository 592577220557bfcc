/* What the programs of tests share: a counter that a test reads. */
#ifndef OBS_TESTS_HIT_H
#define OBS_TESTS_HIT_H

#include <obs/obs.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

static __always_inline void hit(__u32 slot)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &slot);

	if (count)
		__sync_fetch_and_add(count, 1);
}

OBS_LICENSE("GPL");

#endif
