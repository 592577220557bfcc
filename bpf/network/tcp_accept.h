/* Who serves a connection: accept() tells, in the kernel where that can be hooked, else by its syscalls; where
 * neither comes by (io_uring on a kernel without fexit), the first transfer does. */
#ifndef NETWORK_TCP_ACCEPT_H
#define NETWORK_TCP_ACCEPT_H

#include "tcp_connect.h"

/* Set by the kernel's accept: what it has told, the syscall need not. */
static bool accept_told;

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_accept_end", 0) OBS_SINCE("5.5") SEC("fexit/inet_csk_accept") int BPF_PROG(tcp_accepted, struct sock *listener)
{
	struct obs_endpoint endpoint;
	struct tcp_accept *e;
	struct sock *sk;
	struct conn *c;

	/* The result is behind the arguments, of which there were four before 6.10. NULL has no storage. Left to itself the
	 * compiler makes one load of two, from an address that it computes, which the verifier refuses. */
	if (bpf_core_type_exists(struct proto_accept_arg))
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(sk) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(sk) : "r"(ctx));
	accept_told = true;
	if (!tcp_events || !sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	c = conn_get(sk, true);
	if (!c)
		return 0;
	obs_process_fill(&c->process);
	c->owner = OWNER_SURE;
	c->accept_sent = 1;
	if (!tcp_wanted(c, sk, &endpoint))
		return 0;
	e = tcp_send(tcp_accept, EVENT_ACCEPT, &c->process, &endpoint);
	if (e)
		obs_submit_often(&events, e);
	return 0;
}

static __always_inline int on_accepted(long fd)
{
	struct sock *sk;
	struct obs_endpoint endpoint;
	struct obs_process process;
	struct tcp_accept *e;
	__u64 key;

	if (fd < 0 || !tcp_events || accept_told)
		return 0;
	sk = sock_of_fd(fd);
	if (!sock_is_tcp(sk))
		return 0;
	obs_process_fill(&process);
	key = (__u64)sk;
	/* Until its last close, which cannot have happened yet, the socket exists, and tcp_destroy_sock is to come. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_CLOSE &&
	    bpf_map_update_elem(&accepted, &key, &process, BPF_ANY))
		obs_count_lost(OBS_LOST_MAP);
	if (!obs_process_wanted(&process) || !obs_endpoint_fill(&endpoint, sk, obs_transport__tcp) ||
	    !obs_endpoint_wanted(&endpoint) || !obs_sampled(BPF_CORE_READ(sk, __sk_common.skc_cookie.counter)))
		return 0;
	e = tcp_send(tcp_accept, EVENT_ACCEPT, &process, &endpoint);
	if (e)
		obs_submit_often(&events, e);
	return 0;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_accept_end", 1)
SEC("tracepoint/syscalls/sys_exit_accept4")
int tcp_accept4_exit(struct trace_event_raw_sys_exit *ctx)
{
	return on_accepted(ctx->ret);
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_accept_end", 1)
SEC("tracepoint/syscalls/sys_exit_accept")
int tcp_accept_exit(struct trace_event_raw_sys_exit *ctx)
{
	return on_accepted(ctx->ret);
}

/* Runs for every transfer: one look at the socket's storage, and nothing more for an owner that is sure. */
static __always_inline int on_transfer(struct sock *sk)
{
	struct obs_endpoint endpoint;
	struct tcp_accept *e;
	struct conn *c;

	if (!tcp_events || sk->sk_protocol != IPPROTO_TCP ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	c = conn_get(sk, false);
	if (!c || c->owner >= OWNER_USER)
		return 0;
	conn_settle(c, sk);
	conn_own(c, OWNER_USER);
	if (c->accept_sent || c->role != role__server || !c->established_ns || c->owner != OWNER_USER)
		return 0;
	c->accept_sent = 1;
	if (!tcp_wanted(c, sk, &endpoint))
		return 0;
	e = tcp_send(tcp_accept, EVENT_ACCEPT, &c->process, &endpoint);
	if (e)
		obs_submit_often(&events, e);
	return 0;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_receive", 0) OBS_SINCE("6.3")
    SEC("tp_btf/sock_recv_length") int BPF_PROG(tcp_received, struct sock *sk, int ret, int flags)
{
	return ret > 0 ? on_transfer(sk) : 0;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_receive", 1) OBS_SINCE("5.5")
    SEC("fentry/tcp_recvmsg") int BPF_PROG(tcp_receiving, struct sock *sk)
{
	return on_transfer(sk);
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_transmit", 0) OBS_SINCE("6.3")
    SEC("tp_btf/sock_send_length") int BPF_PROG(tcp_sent, struct sock *sk, int ret, int flags)
{
	return ret > 0 ? on_transfer(sk) : 0;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_transmit", 1) OBS_SINCE("5.5")
    SEC("fentry/tcp_sendmsg") int BPF_PROG(tcp_sending, struct sock *sk)
{
	return on_transfer(sk);
}

#endif
