/* UDP flows and DNS lookups, by packet: with cgroup_skb at the root of the cgroups, every socket of the host passes
 * here in both directions on every kernel since 4.10, and what is seen is what was on the wire. */
#include <obs/obs.h>

#include <bpf/bpf_tracing.h>

#include "packet.h"

#include "dns.h"
#include "dns_stream.h"
#include "owner.h"
#include "udp_flow.h"

/* Of TCP only port 53 is looked at: the ports are in the socket, so other packets cost no more than this. */
static __always_inline bool of_interest(const struct bpf_sock *sk)
{
	if (sk->protocol == IPPROTO_UDP)
		return udp_flows || dns;
	return sk->protocol == IPPROTO_TCP && dns &&
	       (sk->dst_port == bpf_htons(DNS_PORT) || (dns_servers && sk->src_port == DNS_PORT));
}

static __always_inline int on_packet(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct packet p = {.egress = egress};
	struct owned *o;
	bool udp;

	if (!sk)
		return CGROUP_SKB_ALLOW;
	sk = bpf_sk_fullsock(sk);
	if (!sk || !of_interest(sk))
		return CGROUP_SKB_ALLOW;
	udp = sk->protocol == IPPROTO_UDP;
	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o) {
		obs_count_lost(OBS_LOST_MAP);
		return CGROUP_SKB_ALLOW;
	}
	if (!packet_parse(skb, &p, udp ? IPPROTO_UDP : IPPROTO_TCP))
		return CGROUP_SKB_ALLOW;
	/* TCP acknowledges on behalf of whoever is on the CPU; what carries payload is sent by the process. */
	if (egress && (udp || p.length))
		owner_take(o);
	if (!obs_process_wanted(&o->process) || !obs_endpoint_wanted(&p.endpoint) || !obs_sampled(p.cookie))
		return CGROUP_SKB_ALLOW;
	if (udp && udp_flows)
		udp_flow_count(skb, &p, o);
	if (!dns_follows(&p.endpoint))
		return CGROUP_SKB_ALLOW;
	if (udp)
		dns_datagram(skb, &p, o);
	else
		dns_segment(skb, &p, o);
	return CGROUP_SKB_ALLOW;
}

SEC("cgroup_skb/egress")
int packet_sent(struct __sk_buff *skb)
{
	return on_packet(skb, true);
}

SEC("cgroup_skb/ingress")
int packet_received(struct __sk_buff *skb)
{
	return on_packet(skb, false);
}

OBS_LICENSE("GPL");
