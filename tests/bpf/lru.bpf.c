#include "hit.h"

/* One list of entries for each CPU: the kernel rounds their number up to a multiple of the CPUs'. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1009);
	__uint(map_flags, BPF_F_NO_COMMON_LRU);
	__type(key, __u32);
	__type(value, __u64);
} each_cpu SEC(".maps");

SEC("raw_tp/sys_enter") int on_lru(__u64 *ctx)
{
	__u32 key = 1;

	if (!bpf_map_lookup_elem(&each_cpu, &key))
		hit(0);
	return 0;
}
