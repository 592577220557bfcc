/* What a kernel asks for calling programs at all, where obs/network must be called: no bundle that sees the same costs less. */
#include <obs/obs.h>

#define NOTHING(section, name, result)                                                                                 \
	SEC(section) int name(void *ctx)                                                                               \
	{                                                                                                              \
		return result;                                                                                         \
	}

NOTHING("tp_btf/inet_sock_set_state", on_state, 0)
NOTHING("tp_btf/tcp_destroy_sock", on_destroy, 0)
NOTHING("cgroup_skb/egress", on_sent, CGROUP_SKB_ALLOW)
NOTHING("cgroup_skb/ingress", on_received, CGROUP_SKB_ALLOW)
OBS_LICENSE("GPL");
