#include "hit.h"

OBS_ATTACH("interface=obstest0") SEC("socket") int on_socket_named(struct __sk_buff *skb)
{
	hit(1);
	return 0;
}
