#include "hit.h"

/* A map of each kind that is sampled, a ring and parameters. */
#define SAMPLED(kind, map, entries)                                                                                    \
	struct {                                                                                                       \
		__uint(type, kind);                                                                                    \
		__uint(max_entries, entries);                                                                          \
		__type(key, __u32);                                                                                    \
		__type(value, __u64);                                                                                  \
	} map SEC(".maps")

SAMPLED(BPF_MAP_TYPE_HASH, hash, 1000);
SAMPLED(BPF_MAP_TYPE_LRU_HASH, lru_hash, 1000);
SAMPLED(BPF_MAP_TYPE_ARRAY, array, 10);
SAMPLED(BPF_MAP_TYPE_PERCPU_HASH, percpu_hash, 1000);
SAMPLED(BPF_MAP_TYPE_LRU_PERCPU_HASH, lru_percpu_hash, 1000);
SAMPLED(BPF_MAP_TYPE_PERCPU_ARRAY, percpu_array, 10);

struct odd_value {
	__u8 bytes[13];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct odd_value);
	__type(value, struct odd_value);
} odd SEC(".maps");

struct prefix {
	__u32 bits;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1000);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");

OBS_RING(ring, 256 * 1024);

const volatile __u32 constant = 7;
OBS_PARAM(__u32, every, 10, 1, 1000, "one of so many");
OBS_PARAM_LIST(__u16, ports, 4, 0, 65535, "port", "ports to look at");

SEC("raw_tp/sys_enter") int on_maps(__u64 *ctx)
{
	__u32 key = 1;
	struct prefix prefix = {.bits = 32};

	/* Referenced, so that all are kept; the tests fill them. */
	bpf_map_lookup_elem(&hash, &key);
	bpf_map_lookup_elem(&lru_hash, &key);
	bpf_map_lookup_elem(&array, &key);
	bpf_map_lookup_elem(&percpu_hash, &key);
	bpf_map_lookup_elem(&lru_percpu_hash, &key);
	bpf_map_lookup_elem(&percpu_array, &key);
	bpf_map_lookup_elem(&trie, &prefix);
	if (bpf_get_prandom_u32() % every == 0 && ports[0] == 0 && constant == 7)
		hit(0);
	return 0;
}
