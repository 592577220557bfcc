#include "hit.h"

/* 77: the interface that a test makes. */
SEC("tc") int on_tc_all(struct __sk_buff *skb)
{
	hit(skb->ifindex == 77);
	return TC_ACT_UNSPEC;
}
