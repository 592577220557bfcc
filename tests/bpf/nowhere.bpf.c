#include "hit.h"

SEC("raw_tp/sched_switch") int on_fine(__u64 *ctx)
{
	hit(0);
	return 0;
}

OBS_ATTACH("interface=lo direction=egress") SEC("tc") int on_filter(struct __sk_buff *skb)
{
	hit(1);
	return TC_ACT_UNSPEC;
}

OBS_ATTACH("interface=obsnone0") SEC("xdp") int on_nowhere(struct xdp_md *ctx)
{
	hit(2);
	return XDP_PASS;
}
