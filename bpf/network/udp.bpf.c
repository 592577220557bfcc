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

/* Not inlined: most packets end before, and need none of its stack. */
static __noinline void on_packet(struct __sk_buff *skb, struct bpf_sock *sk, bool egress)
{
	struct packet p = {.egress = egress};
	bool udp = sk->protocol == IPPROTO_UDP;
	struct owned *o;

	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o) {
		obs_count_lost(OBS_LOST_MAP);
		return;
	}
	if (!packet_parse(skb, &p, udp ? IPPROTO_UDP : IPPROTO_TCP))
		return;
	/* TCP acknowledges on behalf of whoever is on the CPU; what carries payload is sent by the process. */
	if (egress && (udp || p.length))
		owner_take(o);
	if (!obs_process_wanted(&o->process) || !obs_endpoint_wanted(&p.endpoint) || !obs_sampled(p.cookie))
		return;
	if (udp && udp_flows)
		udp_flow_count(skb, &p, o);
	if (!dns_follows(&p.endpoint))
		return;
	if (udp)
		dns_datagram(skb, &p, o);
	else
		dns_segment(skb, &p, o);
}

static __always_inline int packet(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (sk && of_interest(sk))
		on_packet(skb, sk, egress);
	return CGROUP_SKB_ALLOW;
}

SEC("cgroup_skb/egress")
int packet_sent(struct __sk_buff *skb)
{
	return packet(skb, true);
}

SEC("cgroup_skb/ingress")
int packet_received(struct __sk_buff *skb)
{
	return packet(skb, false);
}

OBS_LICENSE("GPL");
