#include "hit.h"

/* 77: the interface that a test makes. */
SEC("socket") int on_socket_all(struct __sk_buff *skb)
{
	hit(skb->ifindex == 77);
	return 0;
}
