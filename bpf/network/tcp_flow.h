/* Connections that stay: who owns those that were there before, and what each has moved, on an interval. */
#ifndef NETWORK_TCP_FLOW_H
#define NETWORK_TCP_FLOW_H

#include "flow_interval.h"
#include "tcp_conn.h"
#include "tcp_histogram.h"

/* Once, after the attach. By open files rather than by TCP sockets: those are listed for one network namespace only,
 * and without their processes. */
OBS_OPTIONAL OBS_SINCE("5.11") SEC("iter/task_file") int tcp_seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct conn *c;
	struct sock *sk;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != IPPROTO_TCP ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_CLOSE)
		return 0;
	c = conn_get(sk, true);
	if (!c || c->owner)
		return 0;
	obs_process_of(&c->process, task);
	c->owner = OWNER_SURE;
	c->accept_sent = 1;
	if (state == TCP_LISTEN)
		c->role = role__listener;
	return 0;
}

#define WALK_NS 1000000000ULL

static __always_inline void on_flow(struct sock *sk, struct conn *c)
{
	__u8 state = sk->__sk_common.skc_state;
	__u64 now, since, interval = (__u64)flow_interval_ms * 1000000;
	struct obs_endpoint endpoint;
	struct tcp_flow *e;

	if (state == TCP_LISTEN || state == TCP_CLOSE || state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return;
	now = bpf_ktime_get_ns();
	since = c->flow_ns ? c->flow_ns : c->established_ns;
	/* Walks are a second apart, give or take: what is nearly due would else wait for the next one. */
	if (now - since + WALK_NS / 2 < interval)
		return;
	c->flow_ns = now;
	conn_settle(c, sk);
	histogram_add(&rtts, BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3);
	if (!tcp_wanted(c, sk, &endpoint))
		return;
	e = tcp_send_at(tcp_flow, EVENT_FLOW, &c->process, &endpoint, now);
	if (!e)
		return;
	tcp_count(&e->counters, c, sk, now);
	e->role = c->role;
	e->state = state;
	obs_submit(&events, e);
}

/* Walks the sockets that have a state here, in whatever network namespace they are. */
OBS_OPTIONAL OBS_ALTERNATIVE("tcp_flow", 0) OBS_SINCE("5.9") OBS_ATTACH("map=conns interval_ms=1000")
    SEC("iter/bpf_sk_storage_map") int tcp_flows(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct conn *c = ctx->value;
	struct sock *sk = ctx->sk;

	if (!tcp_events || !sk || !c)
		return 0;
	on_flow(sk, c);
	return 0;
}

#endif
