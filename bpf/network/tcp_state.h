/* The life of a connection by its state changes: one tracepoint, the same on every kernel since 4.16. */
#ifndef NETWORK_TCP_STATE_H
#define NETWORK_TCP_STATE_H

#include "tcp_conn.h"
#include "tcp_connect.h"
#include "tcp_histogram.h"

static __always_inline void on_opened(struct sock *sk, struct conn *c, __u64 now)
{
	struct obs_endpoint endpoint;
	struct tcp_connect *e;
	struct tcp_sock *tp;

	c->established_ns = now;
	histogram_add(&handshakes, (now - c->start_ns) / 1000);
	if (!tcp_wanted(c, sk, &endpoint))
		return;
	e = tcp_send_at(tcp_connect, EVENT_CONNECT, &c->process, &endpoint, now);
	if (!e)
		return;
	e->handshake_ns = now - c->start_ns;
	tp = bpf_skc_to_tcp_sock(sk);
	e->retransmits = tp ? tp->total_retrans : 0;
	e->_reserved = 0;
	obs_submit_often(&events, e);
}

/* The child of a listener: what it inherited is the listener's, its life begins here. */
static __always_inline void on_child(struct conn *c, __u64 now)
{
	c->established_ns = now;
	c->start_ns = 0;
	c->flow_ns = 0;
	c->role = role__server;
	c->closed_by = side__unknown;
	c->reset = reset__none;
	c->accept_sent = 0;
	c->owner = c->process.pid ? OWNER_LISTENER : OWNER_NONE;
}

static __always_inline void on_closed(struct sock *sk, struct conn *c, int old, __u64 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	int error = sk->sk_err;
	struct obs_endpoint endpoint;
	struct tcp_close *e;

	conn_settle(c, sk);
	/* The reset that close() sends over unread data or with SO_LINGER 0 comes after this change of state; it is known by
	 * the states that are left out. */
	if (error == error__reset || error == error__broken_pipe || c->reset == reset__received) {
		c->reset = reset__received;
		if (!c->closed_by)
			c->closed_by = side__remote;
	} else if (!error && (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT || old == TCP_SYN_RECV)) {
		c->reset = reset__sent;
		if (!c->closed_by)
			c->closed_by = side__local;
	}
	if (tp)
		histogram_add(&rtts, tp->srtt_us >> 3);
	if (!tcp_wanted(c, sk, &endpoint))
		return;
	e = tcp_send_at(tcp_close, EVENT_CLOSE, &c->process, &endpoint, now);
	if (!e)
		return;
	tcp_count(&e->counters, c, sk, now);
	e->role = c->role;
	e->closed_by = c->closed_by;
	e->reset = c->reset;
	e->error = error;
	obs_submit_often(&events, e);
}

static __always_inline void on_leaving(struct sock *sk, int old, int new)
{
	struct conn *c;

	if (old != TCP_ESTABLISHED && old != TCP_SYN_RECV)
		return;
	c = conn_get(sk, true);
	if (!c || c->closed_by)
		return;
	c->closed_by = new == TCP_FIN_WAIT1 ? side__local : side__remote;
	if (new == TCP_FIN_WAIT1)
		conn_own(c, OWNER_LISTENER); /* close() or shutdown() runs in the process, if nobody else was known */
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int old, int new)
{
	struct conn *c;

	if (!tcp_events || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		on_connecting(sk, bpf_ktime_get_ns());
		break;
	case TCP_LISTEN:
		c = conn_get(sk, true);
		if (!c)
			break;
		conn_own(c, OWNER_SURE);
		c->role = role__listener;
		c->settled = 0;
		break;
	case TCP_ESTABLISHED:
		c = conn_get(sk, true);
		if (!c)
			break;
		conn_number(sk);
		if (c->role == role__client && c->start_ns)
			on_opened(sk, c, bpf_ktime_get_ns());
		else if (old == TCP_SYN_RECV)
			on_child(c, bpf_ktime_get_ns());
		break;
	case TCP_FIN_WAIT1:
	case TCP_CLOSE_WAIT:
		on_leaving(sk, old, new);
		break;
	case TCP_CLOSE:
		if (old == TCP_LISTEN || old == TCP_CLOSE)
			break;
		c = conn_get(sk, true);
		/* A listener's child that never stood: the handshake was given up, or ended on another CPU. */
		if (!c || (old == TCP_SYN_RECV && c->role != role__client))
			break;
		if (old == TCP_SYN_SENT)
			on_connect_failed(sk, c, bpf_ktime_get_ns());
		else
			on_closed(sk, c, old, bpf_ktime_get_ns());
		/* The socket may connect again. */
		c->start_ns = 0;
		c->established_ns = 0;
		c->role = role__unknown;
		c->closed_by = side__unknown;
		c->reset = reset__none;
		break;
	}
	return 0;
}

/* The kernel skips a program that is still running on the same CPU: a task that was preempted in tcp_state hides the
 * changes of every other connection there. What this program still finds standing was never seen to close. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy, struct sock *sk)
{
	struct conn *c = tcp_events ? conn_get(sk, false) : 0;
	__u64 key = (__u64)sk;

	if (c && c->established_ns) {
		on_closed(sk, c, TCP_CLOSE, bpf_ktime_get_ns());
		c->established_ns = 0;
	}
	if (!c || !c->settled)
		bpf_map_delete_elem(&accepted, &key);
	if (!CONNS_IN_SOCKETS)
		bpf_map_delete_elem(&conns_by_address, &key);
	return 0;
}

#endif
