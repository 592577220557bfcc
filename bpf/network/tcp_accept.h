/* Who serves a connection: accept() tells, in the kernel where that can be hooked, else by its system calls. Where neither
 * comes by (io_uring on a kernel without fexit), the process is known when it closes. */
#ifndef NETWORK_TCP_ACCEPT_H
#define NETWORK_TCP_ACCEPT_H

#include "tcp_connect.h"

static __always_inline void accept_send(const struct obs_process *process, const struct obs_endpoint *endpoint)
{
	struct tcp_accept *e = tcp_send(tcp_accept, EVENT_ACCEPT, process, endpoint);

	if (e)
		obs_submit_often(&events, e);
}

/* False where a filter leaves the process out: then nothing is kept of the connection. */
static __always_inline bool on_accept(__u64 key, __u64 cookie, struct obs_process *process)
{
	struct conn *c;

	obs_process_fill(process);
	if (!obs_process_wanted(process)) {
		bpf_map_delete_elem(&conns, &key);
		return false;
	}
	c = conn_make(key, cookie);
	if (c) {
		c->process = *process;
		c->owner = OWNER_SURE;
		c->role = role__server;
	}
	return true;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_accept_end", 0) OBS_SINCE("5.5") SEC("fexit/inet_csk_accept") int BPF_PROG(tcp_accepted, struct sock *listener)
{
	struct obs_endpoint endpoint;
	struct obs_process process;
	struct sock *sk;

	/* The result is behind the arguments, of which there were four before 6.10. NULL has no socket. Left to itself the
	 * compiler makes one load of two, from an address that it computes, which the verifier refuses. */
	if (bpf_core_type_exists(struct proto_accept_arg))
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(sk) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(sk) : "r"(ctx));
	if (!tcp_events || !sk || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (on_accept((__u64)sk, conn_number(sk), &process) &&
	    obs_endpoint_fill_known(&endpoint, sk, obs_transport__tcp) && obs_endpoint_wanted(&endpoint) &&
	    conn_sampled((__u64)sk, sk->__sk_common.skc_cookie.counter))
		accept_send(&process, &endpoint);
	return 0;
}

/* In the process of a connection. False where a filter leaves it out: c is gone then. Without a file's socket nobody accepted it,
 * and it ends with its listener. */
static __always_inline bool on_process(struct sock *sk, struct conn *c)
{
	__u64 key = (__u64)sk;

	if (c->owner != OWNER_NONE || !sk->sk_socket)
		return true;
	obs_process_fill(&c->process);
	c->owner = OWNER_USER;
	if (obs_process_wanted(&c->process))
		return true;
	bpf_map_delete_elem(&conns, &key);
	return false;
}

static __always_inline int on_accepted(long fd)
{
	struct obs_endpoint endpoint;
	struct obs_process process;
	struct sock *sk;
	__u64 cookie;

	if (fd < 0 || !tcp_events)
		return 0;
	sk = sock_of_fd(fd);
	if (!sock_is_tcp(sk))
		return 0;
	/* Until its last close, which cannot have happened yet, the socket exists, and tcp_destroy_sock is to come. */
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	if (on_accept((__u64)sk, cookie, &process) && obs_endpoint_fill(&endpoint, sk, obs_transport__tcp) &&
	    obs_endpoint_wanted(&endpoint) && conn_sampled((__u64)sk, cookie))
		accept_send(&process, &endpoint);
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

#endif
