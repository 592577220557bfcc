/* What goes wrong on the way: retransmissions, resets, drops. */
#ifndef NETWORK_TCP_LOSS_H
#define NETWORK_TCP_LOSS_H

#include "reasons.h"
#include "tcp_conn.h"

struct tcp_reset {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	enum obs_direction direction OBS_AS("network.io.direction");
	enum reset_reason reason OBS_AS("tcp.reset_reason") OBS_OMIT_ZERO;
	enum state state OBS_AS("tcp.state") OBS_OMIT_ZERO;
	__u32 _reserved;
} OBS_EVENT(tcp_reset, 7, "tcp.reset");

struct tcp_drop {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	enum drop_reason reason OBS_AS("tcp.drop_reason");
	__u32 number OBS_AS("tcp.drop_reason_number"); /* the running kernel's */
	__u32 bytes OBS_AS("tcp.segment_bytes") OBS_FORMAT("bytes");
	enum obs_direction direction OBS_AS("network.io.direction");
} OBS_EVENT(tcp_drop, 8, "tcp.drop");

/* The owner, as far as it is known. */
static __always_inline void process_of(struct obs_process *process, struct sock *sk)
{
	struct conn *c = conn_find(sk);

	if (c)
		*process = c->process;
}

/* sk may be NULL: a packet that no socket waits for is nobody's. Nothing is kept of a connection whose process a filter leaves
 * out, so while there is one, a socket whose process is not known may be one of these. */
static __always_inline bool loss_wanted(const struct obs_process *process, const struct obs_endpoint *endpoint,
					const struct sock *sk)
{
	if (sk && !process->pid && obs_process_filtered())
		return false;
	return obs_process_wanted(process) && obs_endpoint_wanted(endpoint) &&
	       (!sk || conn_sampled((__u64)sk, BPF_CORE_READ(sk, __sk_common.skc_cookie.counter)));
}

/* owner is sk, or its listener. */
static __always_inline void on_retransmit(struct sock *sk, struct sock *owner, __u32 bytes, __u32 segments)
{
	struct obs_process process = {};
	struct obs_endpoint endpoint;
	struct tcp_retransmit *e;

	process_of(&process, owner);
	if (!obs_endpoint_fill(&endpoint, sk, obs_transport__tcp) || !loss_wanted(&process, &endpoint, sk))
		return;
	e = tcp_send(tcp_retransmit, EVENT_RETRANSMIT, &process, &endpoint);
	if (!e)
		return;
	e->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	e->bytes = bytes;
	e->segments = segments;
	e->_reserved = 0;
	obs_submit(&events, e);
}

/* (sk, skb), and since 6.17 the error, with which it comes also for what was not sent: nor counted, if it is negative. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tcp_retransmitted, struct sock *sk, struct sk_buff *skb)
{
	if (!tcp_events)
		return 0;
	if (bpf_core_field_exists(struct trace_event_raw_tcp_retransmit_skb, err) && (int)ctx[2] < 0)
		return 0;
	on_retransmit(sk, sk, skb->len, BPF_CORE_READ((struct tcp_skb_cb *)&skb->cb[0], tcp_gso_segs));
	return 0;
}

/* A SYN-ACK belongs to a connection that has no socket yet. What is counted here, and the number that the kernel gives to
 * it, go over to the socket. */
SEC("tp_btf/tcp_retransmit_synack")
int BPF_PROG(tcp_retransmitted_synack, struct sock *listener, struct request_sock *request)
{
	if (!tcp_events)
		return 0;
	conn_number((struct sock *)request);
	on_retransmit((struct sock *)request, listener, 0, 1);
	return 0;
}

struct reset_at {
	struct obs_process process;
	struct obs_endpoint endpoint;
	__u8 state;
};

static __always_inline int on_reset(struct reset_at *at, const struct sock *sk, enum obs_direction direction,
				    enum reset_reason reason)
{
	struct tcp_reset *e;

	if (!loss_wanted(&at->process, &at->endpoint, sk))
		return 0;
	e = tcp_send(tcp_reset, EVENT_RESET, &at->process, &at->endpoint);
	if (!e)
		return 0;
	e->direction = direction;
	e->reason = reason;
	e->state = at->state;
	e->_reserved = 0;
	obs_submit(&events, e);
	return 0;
}

/* Ends of a packet as its receiver sees them; false if it is not TCP. */
static __always_inline bool packet_endpoint(struct obs_endpoint *endpoint, const struct sk_buff *skb, bool received)
{
	const unsigned char *head = BPF_CORE_READ(skb, head);
	__u16 network = BPF_CORE_READ(skb, network_header), transport = BPF_CORE_READ(skb, transport_header);
	__u8 *source = received ? endpoint->peer_address : endpoint->local_address;
	__u8 *destination = received ? endpoint->local_address : endpoint->peer_address;
	__u8 ip[40];
	__be16 port[2];
	__u32 length;

	if (network == 0xffff || bpf_probe_read_kernel(ip, sizeof(ip), head + network))
		return false;
	if (ip[0] >> 4 == 4) {
		if (ip[9] != IPPROTO_TCP || ip[6] & 0x1f || ip[7])
			return false;
		length = (ip[0] & 15) * 4;
		obs_address_v4(source, *(__be32 *)&ip[12]);
		obs_address_v4(destination, *(__be32 *)&ip[16]);
		endpoint->type = obs_network__ipv4;
	} else if (ip[0] >> 4 == 6) {
		if (ip[6] != IPPROTO_TCP)
			return false;
		length = 40;
		__builtin_memcpy(source, &ip[8], 16);
		__builtin_memcpy(destination, &ip[24], 16);
		endpoint->type = obs_network__ipv6;
	} else {
		return false;
	}
	if (transport == 0xffff || transport <= network)
		transport = network + length;
	if (bpf_probe_read_kernel(port, sizeof(port), head + transport))
		return false;
	endpoint->peer_port = bpf_ntohs(received ? port[0] : port[1]);
	endpoint->local_port = bpf_ntohs(received ? port[1] : port[0]);
	endpoint->transport = obs_transport__tcp;
	endpoint->_reserved = 0;
	return true;
}

/* One that answers no packet is the connection's own end, which the kernel gives up (keepalive, `ss -K`); after close() and the
 * like it is CLOSE already. */
static __always_inline void reset_of_conn(struct reset_at *at, struct sock *sk, bool by_itself)
{
	struct conn *c = conn_find(sk);

	if (!c) {
		ended_take(sk, &at->process);
		return;
	}
	at->process = c->process;
	if (by_itself && at->state != TCP_CLOSE)
		c->reset = reset__sent;
}

/* sk is NULL where no socket is behind the port; then the answered packet tells the ends. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(tcp_reset_sent, struct sock *sk, struct sk_buff *skb)
{
	enum reset_reason reason = reset_reason__none;
	struct reset_at at = {};

	if (!tcp_events)
		return 0;
	/* Where the kernel does not have the type, the tracepoint does not have the argument. */
	if (bpf_core_type_exists(enum sk_rst_reason))
		reason = reset_reason_of((__u32)ctx[2]);
	if (sk) {
		if (!obs_endpoint_fill(&at.endpoint, sk, obs_transport__tcp))
			return 0;
		at.state = BPF_CORE_READ(sk, __sk_common.skc_state);
		reset_of_conn(&at, sk, !skb);
		/* A listener answers for others: the ends are the packet's. */
		if (at.state == TCP_LISTEN && skb)
			packet_endpoint(&at.endpoint, skb, true);
	} else if (!skb || !packet_endpoint(&at.endpoint, skb, true)) {
		return 0;
	}
	return on_reset(&at, sk, obs_direction__transmit, reason);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(tcp_reset_received, struct sock *sk)
{
	struct reset_at at = {};
	struct conn *c;

	if (!tcp_events)
		return 0;
	c = conn_find(sk);
	if (c && conn_answers_data(sk, c)) { /* tcp_send_reset is to come */
		c->reset = reset__sent;
		ended_keep(c);
		return 0;
	}
	if (c) {
		c->reset = reset__received;
		at.process = c->process;
	}
	if (!obs_endpoint_fill(&at.endpoint, sk, obs_transport__tcp))
		return 0;
	at.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	return on_reset(&at, sk, obs_direction__receive, reset_reason__none);
}

static __always_inline int on_drop(struct sk_buff *skb, struct sock *receiver, __u32 number)
{
	struct obs_process process = {};
	struct obs_endpoint endpoint;
	struct sock *owner = receiver ? receiver : skb->sk, *known = NULL;
	bool received = true;
	struct tcp_drop *e;
	__be16 protocol = skb->protocol;

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6))
		return 0;
	if (!packet_endpoint(&endpoint, skb, true))
		return 0;
	/* Fragments being put together have a number where others have sk. */
	if (owner && (receiver || (__u64)BPF_CORE_READ(skb, sk) >> 48)) {
		received = BPF_CORE_READ(owner, __sk_common.skc_num) == endpoint.local_port;
		process_of(&process, owner);
		known = owner;
	}
	if (!received)
		packet_endpoint(&endpoint, skb, false);
	if (!loss_wanted(&process, &endpoint, known))
		return 0;
	e = tcp_send(tcp_drop, EVENT_DROP, &process, &endpoint);
	if (!e)
		return 0;
	e->reason = drop_reason_of(number);
	e->number = number;
	e->bytes = skb->len;
	e->direction = received ? obs_direction__receive : obs_direction__transmit;
	obs_submit(&events, e);
	return 0;
}

OBS_PARAM_BOOL(tcp_drops, true, "follow TCP packets that the kernel drops");

/* The value is looked up only where the kernel has the name: elsewhere that instruction is invalid, and must be
 * dead. */
#define DROP_IS(number, reason)                                                                                        \
	(bpf_core_enum_value_exists(enum skb_drop_reason, reason) &&                                                   \
	 (number) == bpf_core_enum_value(enum skb_drop_reason, reason))

/* (skb, location, reason), and the receiving socket since 6.11. What comes without a reason, was consumed, lay in a queue when
 * its socket was closed, or is the copy of a sniffer that does not keep up, is no loss on the way. */
OBS_OPTIONAL OBS_SINCE("5.17") SEC("tp_btf/kfree_skb") int BPF_PROG(tcp_dropped, struct sk_buff *skb, void *location)
{
	struct sock *receiver = NULL;
	__u32 number;

	if (!tcp_drops || !tcp_events || !bpf_core_type_exists(enum skb_drop_reason))
		return 0;
	number = (__u32)ctx[2];
	if (DROP_IS(number, SKB_DROP_REASON_NOT_SPECIFIED) || DROP_IS(number, SKB_CONSUMED) ||
	    DROP_IS(number, SKB_DROP_REASON_QUEUE_PURGE) || DROP_IS(number, SKB_DROP_REASON_PACKET_SOCK_ERROR))
		return 0;
	if (bpf_core_field_exists(struct trace_event_raw_kfree_skb, rx_sk))
		receiver = (struct sock *)ctx[3];
	return on_drop(skb, receiver, number);
}

#endif
