#include "hit.h"

OBS_OPTIONAL SEC("raw_tp/sched_switch") int on_rejected(__u64 *ctx)
{
	__u32 slot = bpf_get_prandom_u32();
	__u64 *count = bpf_map_lookup_elem(&hits, &slot);

	return (int)*count;
}

SEC("raw_tp/sched_switch") int on_accepted(__u64 *ctx)
{
	hit(0);
	return 0;
}
