#include "hit.h"

OBS_ATTACH("interface=obstest0") SEC("tc") int on_tc_named(struct __sk_buff *skb)
{
	hit(1);
	return TC_ACT_UNSPEC;
}
