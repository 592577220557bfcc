/* Connections that this host opens, and why they fail. */
#ifndef NETWORK_TCP_CONNECT_H
#define NETWORK_TCP_CONNECT_H

#include "tcp_conn.h"

/* What a thread's connect() has come to. A failure before the first SYN (no route) changes no state, and one for
 * want of a local port leaves no error on the socket; both are told by the syscall's result alone. */
enum outcome { ATTEMPT_NONE, ATTEMPT_SENT, ATTEMPT_UNTOLD };

struct attempt {
	__u64 sock;
	__u32 outcome;
	__u32 reserved;
};

/* By thread, which keeps its entry: writing it is much less than making and removing one for each connect(). The least
 * recently used makes room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

static __always_inline void attempt_begin(const struct sock *sk)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt sent = {.sock = (__u64)sk, .outcome = ATTEMPT_SENT};
	struct attempt *attempt = bpf_map_lookup_elem(&attempts, &thread);

	if (attempt)
		*attempt = sent;
	else
		bpf_map_update_elem(&attempts, &thread, &sent, BPF_ANY);
}

static __always_inline void on_connecting(struct sock *sk, __u64 now)
{
	struct conn c = {.owner = OWNER_SURE, .role = role__client, .start_ns = now};
	__u64 key = (__u64)sk;

	attempt_begin(sk);
	obs_process_fill(&c.process);
	if (!obs_process_wanted(&c.process)) {
		/* The socket may have connected before, when it was wanted. */
		bpf_map_delete_elem(&conns, &key);
		return;
	}
	c.cookie = conn_number(sk);
	conn_put(key, &c);
}

static __always_inline void failed_send(const struct obs_process *process, const struct obs_endpoint *endpoint,
					int error, __u64 duration_ns, __u32 retransmits)
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
	int error = sk->sk_err;
	struct obs_endpoint endpoint;

	if (!error) {
		__u64 thread = bpf_get_current_pid_tgid();
		struct attempt *attempt = bpf_map_lookup_elem(&attempts, &thread);

		if (attempt && attempt->sock == (__u64)sk && attempt->outcome == ATTEMPT_SENT &&
		    c->process._tid == (__u32)thread) {
			attempt->outcome = ATTEMPT_UNTOLD;
			return;
		}
	}
	c->told = 1;
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

static __always_inline struct sock *sock_of_fd(long fd)
{
	struct file **table = NULL;
	struct socket *socket;
	struct file *file = NULL;
	__u32 size = 0;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		struct task_struct *task = bpf_get_current_task_btf();

		table = task->files->fdt->fd;
		size = task->files->fdt->max_fds;
	} else {
		struct task_struct *task = (void *)bpf_get_current_task();

		table = BPF_CORE_READ(task, files, fdt, fd);
		size = BPF_CORE_READ(task, files, fdt, max_fds);
	}
	if (fd < 0 || fd >= size)
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

static __always_inline bool destination_fill(struct obs_endpoint *endpoint, const struct sockaddr_any *to)
{
	if (to->family == AF_INET) {
		obs_address_v4(endpoint->peer_address, to->v4);
		endpoint->type = obs_network__ipv4;
	} else if (to->family == AF_INET6) {
		__builtin_memcpy(endpoint->peer_address, to->v6, 16);
		endpoint->type = obs_address_mapped(to->v6) ? obs_network__ipv4 : obs_network__ipv6;
	} else {
		return false;
	}
	endpoint->peer_port = bpf_ntohs(to->port);
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

/* What became of this thread's attempt; the next starts afresh. */
static __always_inline struct attempt attempt_end(void)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct attempt was = {}, *attempt = bpf_map_lookup_elem(&attempts, &thread);

	if (attempt) {
		was = *attempt;
		attempt->outcome = ATTEMPT_NONE;
	}
	return was;
}

/* Whether the change of state told of this failure: during this call, or during one before, when this one came to fetch the
 * error of a socket that does not block, or went on after a signal. */
static __always_inline bool failure_told(const struct sock *sk, const struct attempt *was)
{
	struct conn *c = conn_of((__u64)sk, BPF_CORE_READ(sk, __sk_common.skc_cookie.counter));
	bool told = was->outcome == ATTEMPT_SENT && was->sock == (__u64)sk;

	if (c) {
		told |= c->told;
		c->told = 0;
	}
	return told;
}

static __always_inline void failed_at_once(struct sock *sk, struct obs_endpoint *endpoint, int error)
{
	struct obs_process process;

	obs_process_fill(&process);
	if (obs_process_wanted(&process) && obs_endpoint_wanted(endpoint) &&
	    conn_sampled((__u64)sk, BPF_CORE_READ(sk, __sk_common.skc_cookie.counter)))
		failed_send(&process, endpoint, error, 0, 0);
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_connect_end", 0) OBS_SINCE("5.5")
    SEC("fexit/inet_stream_connect") int BPF_PROG(tcp_connect_end, struct socket *socket, void *to, int size, int flags,
						  int result)
{
	struct attempt was = attempt_end();
	struct obs_endpoint endpoint = {};
	struct sockaddr_any address = {};
	struct sock *sk = socket->sk;

	if (result >= 0 || !tcp_events || !error_is_failure(-result) || !sock_is_tcp(sk) || failure_told(sk, &was))
		return 0;
	bpf_probe_read_kernel(&address, sizeof(address), to);
	if (obs_endpoint_fill(&endpoint, sk, obs_transport__tcp) && destination_fill(&endpoint, &address))
		failed_at_once(sk, &endpoint, -result);
	return 0;
}

OBS_OPTIONAL OBS_ALTERNATIVE("tcp_connect_end", 1) OBS_SINCE("5.15")
    SEC("tracepoint/syscalls/sys_exit_connect") int tcp_connect_exit(struct trace_event_raw_sys_exit *ctx)
{
	struct attempt was = attempt_end();
	struct obs_endpoint endpoint = {};
	struct sockaddr_any address = {};
	struct pt_regs *regs;
	const void *user;
	struct sock *sk;
	long fd;

	if (ctx->ret >= 0 || !tcp_events || !error_is_failure(-ctx->ret))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_arm64)
	fd = BPF_CORE_READ(regs, orig_x0);
	user = (void *)BPF_CORE_READ(regs, user_regs.regs[1]);
#else
	fd = BPF_CORE_READ(regs, di);
	user = (void *)BPF_CORE_READ(regs, si);
#endif
	sk = sock_of_fd((int)fd);
	if (!sock_is_tcp(sk) || failure_told(sk, &was))
		return 0;
	bpf_probe_read_user(&address, sizeof(address), user);
	if (obs_endpoint_fill(&endpoint, sk, obs_transport__tcp) && destination_fill(&endpoint, &address))
		failed_at_once(sk, &endpoint, -ctx->ret);
	return 0;
}

#endif
