/* What a kernel asks for calling programs at all, where obs/network is called: no bundle that sees the same there costs less. */
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
NOTHING("tp_btf/sock_recv_length", on_received_length, 0)
NOTHING("tp_btf/kfree_skb", on_dropped, 0)
/* In place of which obs/network has fexit where there is a BPF trampoline. Without one, every system call of the host is longer by
 * the look whether its exit is one of these. */
NOTHING("tracepoint/syscalls/sys_exit_accept4", on_accepted, 0)
NOTHING("tracepoint/syscalls/sys_exit_connect", on_connected, 0)
OBS_LICENSE("GPL");
