/* The life of a connection by its state changes: one tracepoint, the same on every kernel since 4.16. */
#ifndef NETWORK_TCP_STATE_H
#define NETWORK_TCP_STATE_H

#include "tcp_accept.h"
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

/* The child of a listener, which is nobody's until it is accepted. */
static __always_inline void on_child(struct sock *sk, struct conn *known, __u64 now)
{
	struct conn c = {.role = role__server, .established_ns = now};

	if (known && known->owner == OWNER_SURE) { /* accepted before: a fast open */
		known->established_ns = now;
		return;
	}
	c.cookie = conn_number(sk);
	conn_put((__u64)sk, &c);
}

/* The reset that close() sends over unread data or with SO_LINGER 0 comes after the change of state; it is known by the states
 * that are left out. */
static __always_inline bool closed_by_reset(struct sock *sk, const struct conn *c, int old)
{
	return !sk->sk_err && c->reset != reset__received &&
	       (old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT || old == TCP_SYN_RECV);
}

static __always_inline void on_closed(struct sock *sk, struct conn *c, int old, __u64 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	int error = sk->sk_err;
	struct obs_endpoint endpoint;
	struct tcp_close *e;

	if (c->reset == reset__sent) {
		if (!c->closed_by)
			c->closed_by = side__local;
		if (error == error__reset) /* for data that came after close() */
			error = 0;
	} else if (error == error__reset || error == error__broken_pipe || c->reset == reset__received) {
		c->reset = reset__received;
		if (!c->closed_by)
			c->closed_by = side__remote;
	} else if (closed_by_reset(sk, c, old)) {
		c->reset = reset__sent;
		if (!c->closed_by)
			c->closed_by = side__local;
	}
	if (tp)
		rtt_add(tp->srtt_us >> 3);
	if (!tcp_wanted(c, sk, &endpoint))
		return;
	e = tcp_send_at(tcp_close, EVENT_CLOSE, &c->process, &endpoint, now);
	if (!e)
		return;
	tcp_count(&e->counters, c, tp, now, true);
	e->role = c->role;
	e->closed_by = c->closed_by;
	e->reset = c->reset;
	e->error = error;
	obs_submit_often(&events, e);
}

/* Of a connection that is not known yet, as one from before the attach that nobody holds, at least the end is told; not if it
 * matters whose it is. */
static __always_inline struct conn *conn_at_end(struct sock *sk)
{
	return obs_process_filtered() ? conn_find(sk) : conn_get(sk);
}

static __always_inline void on_leaving(struct sock *sk, int old, int new)
{
	struct conn *c;

	if (new != TCP_LAST_ACK && old != TCP_ESTABLISHED && old != TCP_SYN_RECV)
		return;
	c = conn_at_end(sk);
	if (!c)
		return;
	if (!c->closed_by)
		c->closed_by = new == TCP_FIN_WAIT1 ? side__local : side__remote;
	if (new == TCP_FIN_WAIT1)
		conn_deafen(sk, c);
	if (new != TCP_CLOSE_WAIT)
		on_process(sk, c); /* close() and shutdown() run in it */
}

static __always_inline void on_established(struct sock *sk, int old)
{
	struct conn *c = conn_find(sk);

	if (c && c->role == role__client && c->start_ns)
		on_opened(sk, c, bpf_ktime_get_ns());
	else if (old == TCP_SYN_RECV)
		on_child(sk, c, bpf_ktime_get_ns());
}

static __always_inline void on_end(struct sock *sk, int old)
{
	struct conn *c;

	if (old == TCP_LISTEN || old == TCP_CLOSE)
		return;
	c = conn_at_end(sk);
	/* A listener's child that never stood: the handshake was given up, or ended on another CPU. One that was accepted (a fast
	 * open) has stood. */
	if (!c || (old == TCP_SYN_RECV && c->role != role__client && c->owner == OWNER_NONE))
		return;
	if (old == TCP_FIN_WAIT2 && conn_answers_data(sk, c))
		ended_keep(c);
	if (old == TCP_SYN_SENT || (old == TCP_SYN_RECV && c->role == role__client && !c->established_ns))
		on_connect_failed(sk, c, bpf_ktime_get_ns());
	else if (!closed_by_reset(sk, c, old) || on_process(sk, c)) /* close() runs in it */
		on_closed(sk, c, old, bpf_ktime_get_ns());
	else
		return;
	/* The socket may connect again. */
	c->start_ns = 0;
	c->established_ns = 0;
	c->role = role__unknown;
	c->closed_by = side__unknown;
	c->reset = reset__none;
	c->deaf = 0;
}

static __always_inline void on_listening(struct sock *sk)
{
	struct conn *c = conn_get(sk);

	if (!c)
		return;
	obs_process_fill(&c->process);
	c->owner = OWNER_SURE;
	c->role = role__listener;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int old, int new)
{
	if (!tcp_events || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	switch (new) {
	case TCP_SYN_SENT:
		on_connecting(sk, bpf_ktime_get_ns());
		break;
	case TCP_LISTEN:
		on_listening(sk);
		break;
	case TCP_ESTABLISHED:
		on_established(sk, old);
		break;
	case TCP_FIN_WAIT1:
	case TCP_CLOSE_WAIT:
	case TCP_LAST_ACK:
		on_leaving(sk, old, new);
		break;
	case TCP_CLOSE:
		on_end(sk, old);
		break;
	}
	return 0;
}

/* The kernel skips a program that is still running on the same CPU: a task that was preempted in tcp_state hides the
 * changes of every other connection there. What this program still finds standing was never seen to close. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroy, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct conn *c = bpf_map_lookup_elem(&conns, &key);

	if (!c)
		return 0;
	if (tcp_events && c->established_ns && conn_find(sk))
		on_closed(sk, c, TCP_CLOSE, bpf_ktime_get_ns());
	bpf_map_delete_elem(&conns, &key);
	return 0;
}

#endif
