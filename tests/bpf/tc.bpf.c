#include "hit.h"

OBS_ATTACH("interface=lo direction=ingress") SEC("tc") int on_ingress(struct __sk_buff *skb)
{
	hit(0);
	return TC_ACT_UNSPEC;
}

OBS_ATTACH("interface=lo direction=egress") SEC("tc") int on_egress(struct __sk_buff *skb)
{
	hit(1);
	return TC_ACT_UNSPEC;
}
