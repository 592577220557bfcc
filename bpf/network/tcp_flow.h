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
	c = conn_get(sk);
	if (!c || c->owner)
		return 0;
	obs_process_of(&c->process, task);
	c->owner = OWNER_SURE;
	if (state == TCP_LISTEN)
		c->role = role__listener;
	return 0;
}

#define WALK_NS 1000000000ULL
/* What has no socket any more keeps its place no longer than this. */
#define REST_NS (60 * WALK_NS)

/* Between two tcp.flow of a connection. Walks are a second apart, give or take: what is nearly due would else wait for the
 * next one. */
static __always_inline __u64 flow_pause_ns(void)
{
	return (__u64)flow_interval_ms * 1000000 - WALK_NS / 2;
}

/* When the first of what the walk has seen is due: walking each second was most of what an idle host spent. */
static __u64 flow_due_ns;

/* sk is an address that was kept: whatever stands there now may be read, and is the connection's if the number before and
 * after is. */
static __always_inline void on_flow(struct sock *sk, struct conn *c)
{
	__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);
	__u64 now, due, cookie;
	struct obs_endpoint endpoint;
	struct tcp_counters counters;
	struct tcp_flow *e;

	if (state == TCP_LISTEN || state == TCP_CLOSE || state == TCP_SYN_SENT || state == TCP_SYN_RECV)
		return;
	now = bpf_ktime_get_ns();
	due = (c->flow_ns ? c->flow_ns : c->established_ns) + flow_pause_ns();
	if (now < due) {
		if (due < flow_due_ns)
			flow_due_ns = due;
		return;
	}
	tcp_count(&counters, c, (struct tcp_sock *)sk, now, false);
	if (!obs_endpoint_fill(&endpoint, sk, obs_transport__tcp))
		return;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	if (c->cookie && c->cookie != cookie)
		return;
	c->flow_ns = now;
	rtt_add(counters.srtt_us);
	if (!obs_process_wanted(&c->process) || !obs_endpoint_wanted(&endpoint) || !conn_sampled((__u64)sk, cookie))
		return;
	e = tcp_send_at(tcp_flow, EVENT_FLOW, &c->process, &endpoint, now);
	if (!e)
		return;
	e->counters = counters;
	e->role = c->role;
	e->state = state;
	obs_submit(&events, e);
}

/* Of each connection that is known, in whatever network namespace it is. A socket that went unseen has left its state: it has
 * no references, or its memory is another's by now. */
OBS_OPTIONAL OBS_SINCE("5.9") OBS_ATTACH("map=conns interval_ms=1000")
    SEC("iter/bpf_map_elem") int tcp_flows(struct bpf_iter__bpf_map_elem *ctx)
{
	struct conn *c = ctx->value;
	__u64 *at = ctx->key, key;
	struct sock *sk;

	if (!ctx->meta->seq_num) {
		__u64 rest = flow_pause_ns();

		/* A connection that opens from now on, or is told of now, is not due before. */
		flow_due_ns = bpf_ktime_get_ns() + (rest < REST_NS ? rest : REST_NS);
	}
	if (!at || !c) {
		obs_iterator_rest(ctx->meta, flow_due_ns);
		return 0;
	}
	key = *at;
	sk = (struct sock *)key;
	if (!BPF_CORE_READ(sk, __sk_common.skc_refcnt.refs.counter) ||
	    (c->cookie && c->cookie != BPF_CORE_READ(sk, __sk_common.skc_cookie.counter))) {
		bpf_map_delete_elem(&conns, &key);
		return 0;
	}
	if (tcp_events)
		on_flow(sk, c);
	return 0;
}

#endif
