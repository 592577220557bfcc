/* The two ends of a connection or datagram as events show them. Addresses are always 16 bytes, IPv4 as
 * ::ffff:a.b.c.d, so that an IPv4 peer looks the same on an AF_INET and on an AF_INET6 socket. */
#ifndef OBS_SOCKET_H
#define OBS_SOCKET_H

#include <obs/obs.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

enum obs_transport { obs_transport__none, obs_transport__tcp = IPPROTO_TCP, obs_transport__udp = IPPROTO_UDP };
enum obs_network { obs_network__none, obs_network__ipv4 = 4, obs_network__ipv6 = 6 };
enum obs_direction { obs_direction__none, obs_direction__transmit, obs_direction__receive };

struct obs_address {
	union {
		__u8 byte[16];
		__be32 word[4];
	};
};

struct obs_endpoint {
	__u8 local_address[16] OBS_AS("network.local.address") OBS_FORMAT("ip");
	__u8 peer_address[16] OBS_AS("network.peer.address") OBS_FORMAT("ip");
	__u16 local_port OBS_AS("network.local.port") OBS_FORMAT("port");
	__u16 peer_port OBS_AS("network.peer.port") OBS_FORMAT("port");
	enum obs_transport transport OBS_AS("network.transport");
	enum obs_network type OBS_AS("network.type");
	__u32 _reserved;
};

static __always_inline bool obs_address_mapped(const __u8 *address)
{
	const __u32 *word = (const __u32 *)address;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

static __always_inline void obs_address_v4(__u8 *address, __be32 v4)
{
	__u32 *word = (__u32 *)address;

	word[0] = 0;
	word[1] = 0;
	word[2] = bpf_htonl(0xffff);
	word[3] = v4;
}

/* A field of a pointer that the verifier knows is one load; of any other, a call that takes ten times as long. */
#define obs_field_(known, p, field) ((known) ? (p)->field : BPF_CORE_READ(p, field))

static __always_inline bool obs_endpoint_fill_(struct obs_endpoint *e, const struct sock *sk, enum obs_transport transport,
					       bool known)
{
	__u16 family = obs_field_(known, sk, __sk_common.skc_family);
	__u8 state = obs_field_(known, sk, __sk_common.skc_state);

	e->_reserved = 0;
	e->transport = transport;
	if (family == AF_INET) {
		obs_address_v4(e->local_address, obs_field_(known, sk, __sk_common.skc_rcv_saddr));
		obs_address_v4(e->peer_address, obs_field_(known, sk, __sk_common.skc_daddr));
		e->type = obs_network__ipv4;
	} else if (family == AF_INET6) {
		bpf_core_read(e->local_address, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(e->peer_address, 16, &sk->__sk_common.skc_v6_daddr);
		e->type = obs_address_mapped(e->peer_address) ? obs_network__ipv4 : obs_network__ipv6;
	} else {
		return false;
	}
	e->peer_port = bpf_ntohs(obs_field_(known, sk, __sk_common.skc_dport));
	e->local_port = obs_field_(known, sk, __sk_common.skc_num);
	/* A connection that ends has given its port back by the time it is seen; inet_sport still has it. Only full sockets
	 * are as large as struct inet_sock. */
	if (!e->local_port && state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV)
		e->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	return true;
}

/* Any kind of IPv4 or IPv6 socket, also time-wait and request sockets; sk may be a pointer that was only read. False
 * for other families. */
static __always_inline bool obs_endpoint_fill(struct obs_endpoint *e, const struct sock *sk, enum obs_transport transport)
{
	return obs_endpoint_fill_(e, sk, transport, false);
}

/* The same for a pointer that the kernel gave to the program: an argument of tp_btf, fentry or an iterator. */
static __always_inline bool obs_endpoint_fill_known(struct obs_endpoint *e, const struct sock *sk,
						    enum obs_transport transport)
{
	return obs_endpoint_fill_(e, sk, transport, true);
}

#endif
