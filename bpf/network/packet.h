/* Packets as cgroup_skb programs see them: with their socket, from the network header on, in both directions, whatever
 * call the application used (sendmmsg, io_uring, write) and without touching user memory. */
#ifndef NETWORK_PACKET_H
#define NETWORK_PACKET_H

#include <obs/filter.h>

struct packet {
	struct obs_endpoint endpoint;
	__u64 cookie;
	__u32 payload; /* offset in the packet */
	__u32 length;  /* of the payload */
	__u32 seq;     /* TCP: of the payload's first byte */
	__u8 egress, syn, ack;
};

struct tcp_header {
	__be16 source, destination;
	__be32 seq, ack;
	__u8 offset, flags;
};

enum { TCP_FLAG_FIN = 1, TCP_FLAG_SYN = 2, TCP_FLAG_ACK = 16, IPV4_MIN = 20, IPV6_HEADER = 40, UDP_HEADER = 8 };

static __always_inline bool packet_addresses(struct __sk_buff *skb, struct packet *p, __u8 protocol, __u32 *transport)
{
	struct obs_endpoint *e = &p->endpoint;
	__u8 *source = p->egress ? e->local_address : e->peer_address;
	__u8 *destination = p->egress ? e->peer_address : e->local_address;
	__u8 ip[IPV6_HEADER];

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes(skb, 0, ip, IPV4_MIN) || ip[9] != protocol)
			return false;
		*transport = (ip[0] & 15) * 4;
		obs_address_v4(source, *(__be32 *)&ip[12]);
		obs_address_v4(destination, *(__be32 *)&ip[16]);
		e->type = obs_network__ipv4;
		return true;
	}
	if (skb->protocol != bpf_htons(ETH_P_IPV6) || bpf_skb_load_bytes(skb, 0, ip, IPV6_HEADER) || ip[6] != protocol)
		return false;
	*transport = IPV6_HEADER;
	__builtin_memcpy(source, &ip[8], 16);
	__builtin_memcpy(destination, &ip[24], 16);
	e->type = obs_network__ipv6;
	return true;
}

/* False for what is no whole packet of this protocol. */
static __always_inline bool packet_parse(struct __sk_buff *skb, struct packet *p, __u8 protocol)
{
	struct tcp_header h = {};
	__u32 transport, header = UDP_HEADER;

	if (!packet_addresses(skb, p, protocol, &transport))
		return false;
	if (protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, transport, &h, 14))
			return false;
		header = (h.offset >> 4) * 4;
		p->seq = bpf_ntohl(h.seq);
		p->syn = !!(h.flags & TCP_FLAG_SYN);
		p->ack = !!(h.flags & TCP_FLAG_ACK);
	} else if (bpf_skb_load_bytes(skb, transport, &h, 4)) {
		return false;
	}
	p->endpoint.local_port = bpf_ntohs(p->egress ? h.source : h.destination);
	p->endpoint.peer_port = bpf_ntohs(p->egress ? h.destination : h.source);
	p->endpoint.transport = (enum obs_transport)protocol;
	p->endpoint._reserved = 0;
	p->payload = transport + header;
	if (p->payload > skb->len)
		return false;
	p->length = skb->len - p->payload;
	p->cookie = bpf_get_socket_cookie(skb);
	return true;
}

#endif
