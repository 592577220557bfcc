#include "hit.h"

SEC("cgroup_skb/egress") int on_cgroup_skb(void *ctx)
{
	hit(0);
	return 1;
}
