/* Connections that this host opens, and why they fail. */
#ifndef NETWORK_TCP_CONNECT_H
#define NETWORK_TCP_CONNECT_H

#include "tcp_conn.h"

/* What a thread's connect() has come to. A failure before the first SYN (no route) changes no state, and one for want of a
 * local port leaves no error on the socket; both are told by the syscall's result alone. */
enum attempt { ATTEMPT_NONE, ATTEMPT_SENT, ATTEMPT_UNTOLD };

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} attempts SEC(".maps");

static __always_inline void on_connecting(struct sock *sk, __u64 now)
{
	__u32 *attempt = bpf_task_storage_get(&attempts, bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	struct conn *c = conn_get(sk, true);

	if (attempt)
		*attempt = ATTEMPT_SENT;
	if (!c)
		return;
	bpf_get_socket_cookie(sk);
	obs_process_fill(&c->process);
	c->owner = OWNER_SURE;
	c->role = role__client;
	c->start_ns = now;
	c->established_ns = 0;
	c->flow_ns = 0;
	c->closed_by = side__unknown;
	c->reset = reset__none;
}

static __always_inline void failed_send(const struct obs_process *process, const struct obs_endpoint *endpoint, int error,
					__u64 duration_ns, __u32 retransmits)
{
	struct tcp_connect_failed *e = tcp_send(tcp_connect_failed, EVENT_FAILED, process, endpoint);

	if (!e)
		return;
	e->duration_ns = duration_ns;
	e->error = error;
	e->retransmits = retransmits;
	obs_submit(&events, e);
}

static __always_inline void on_connect_failed(struct sock *sk, struct conn *c, __u64 now)
{
	int error = BPF_CORE_READ(sk, sk_err);
	struct obs_endpoint endpoint;

	if (!error) {
		__u32 *attempt = bpf_task_storage_get(&attempts, bpf_get_current_task_btf(), 0, 0);

		if (attempt && *attempt == ATTEMPT_SENT && c->process._tid == (__u32)bpf_get_current_pid_tgid()) {
			*attempt = ATTEMPT_UNTOLD;
			return;
		}
	}
	if (!tcp_wanted(c, sk, &endpoint))
		return;
	failed_send(&c->process, &endpoint, error, c->start_ns ? now - c->start_ns : 0,
		    BPF_CORE_READ((struct tcp_sock *)sk, total_retrans));
}

struct sockaddr_any {
	__u16 family;
	__be16 port;
	union {
		__be32 v4;
		struct {
			__u32 flow;
			__u8 v6[16];
		};
	};
};

static __always_inline struct sock *sock_of_fd(struct task_struct *task, long fd)
{
	struct file **table = BPF_CORE_READ(task, files, fdt, fd);
	struct socket *socket;
	struct file *file = NULL;

	if (fd < 0 || fd >= BPF_CORE_READ(task, files, fdt, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), &table[fd]);
	socket = BPF_CORE_READ(file, private_data);
	/* Of the files that have private data only a socket's points back. */
	if (!socket || BPF_CORE_READ(socket, file) != file)
		return NULL;
	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool sock_is_tcp(const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return sk && (family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline bool destination_fill(struct obs_endpoint *endpoint, const void *user)
{
	struct sockaddr_any to = {};

	bpf_probe_read_user(&to, sizeof(to), user);
	if (to.family == AF_INET) {
		obs_address_v4(endpoint->peer_address, to.v4);
		endpoint->type = obs_network__ipv4;
	} else if (to.family == AF_INET6) {
		__builtin_memcpy(endpoint->peer_address, to.v6, 16);
		endpoint->type = obs_address_mapped(to.v6) ? obs_network__ipv4 : obs_network__ipv6;
	} else {
		return false;
	}
	endpoint->peer_port = bpf_ntohs(to.port);
	return true;
}

static __always_inline bool error_is_failure(long error)
{
	switch (error) {
	case error__permission:
	case error__access:
	case error__address_in_use:
	case error__address_not_available:
	case error__network_down:
	case error__network_unreachable:
	case error__aborted:
	case error__no_buffers:
	case error__timed_out:
	case error__refused:
	case error__host_down:
	case error__host_unreachable:
		return true;
	}
	return false;
}

OBS_OPTIONAL OBS_SINCE("5.15")
SEC("tracepoint/syscalls/sys_exit_connect")
int tcp_connect_exit(struct trace_event_raw_sys_exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 *attempt = bpf_task_storage_get(&attempts, task, 0, 0);
	__u32 was = attempt ? *attempt : ATTEMPT_NONE;
	struct obs_endpoint endpoint = {};
	struct obs_process process;
	struct pt_regs *regs;
	struct sock *sk;
	long fd;

	if (attempt)
		*attempt = ATTEMPT_NONE;
	if (ctx->ret >= 0 || !tcp_events || was == ATTEMPT_SENT || !error_is_failure(-ctx->ret))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
#if defined(__TARGET_ARCH_arm64)
	fd = BPF_CORE_READ(regs, orig_x0);
#else
	fd = BPF_CORE_READ(regs, di);
#endif
	sk = sock_of_fd(task, (int)fd);
	if (!sock_is_tcp(sk))
		return 0;
	obs_process_fill(&process);
	if (!obs_process_wanted(&process) || !obs_endpoint_fill(&endpoint, sk, obs_transport__tcp))
		return 0;
#if defined(__TARGET_ARCH_arm64)
	if (!destination_fill(&endpoint, (void *)BPF_CORE_READ(regs, user_regs.regs[1])))
#else
	if (!destination_fill(&endpoint, (void *)BPF_CORE_READ(regs, si)))
#endif
		return 0;
	if (obs_endpoint_wanted(&endpoint) && obs_sampled(BPF_CORE_READ(sk, __sk_common.skc_cookie.counter)))
		failed_send(&process, &endpoint, -ctx->ret, 0, 0);
	return 0;
}

#endif
