/* State of a connection. It lives in the socket's own storage, so it goes when the socket goes, whatever is lost or
 * missed. What is beside it is keyed by the socket's address and emptied by tcp_destroy_sock, which every TCP socket
 * passes. */
#ifndef NETWORK_TCP_CONN_H
#define NETWORK_TCP_CONN_H

#include "tcp_events.h"

/* How far the owner is known; a better source replaces a worse one. */
enum owner { OWNER_NONE, OWNER_LISTENER, OWNER_USER, OWNER_SURE };

struct conn {
	struct obs_process process;
	__u64 start_ns;       /* connect() */
	__u64 established_ns; /* 0: opened before the attach */
	__u64 flow_ns;        /* last tcp.flow */
	__u8 owner, role, closed_by, reset;
	__u8 accept_sent;
	__u8 settled; /* accept() has left nothing for it in `accepted`, and will not */
	__u8 reserved[2];
};

/* BPF_F_CLONE: a connection starts with its listener's owner, until accept() tells better. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

/* accept() ends in a syscall tracepoint, where the socket is known by address only, so not as a key of its storage. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct obs_process);
} accepted SEC(".maps");

/* Kernels before 5.11 have no socket storage for tracing programs. Empty on all others. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct conn);
} conns_by_address SEC(".maps");

static const struct conn no_conn;

OBS_PARAM_BOOL(tcp_events, true, "follow TCP connections");

static __always_inline struct conn *conn_by_address(struct sock *sk, bool create)
{
	__u64 key = (__u64)sk;

	if (create)
		bpf_map_update_elem(&conns_by_address, &key, &no_conn, BPF_NOEXIST);
	return bpf_map_lookup_elem(&conns_by_address, &key);
}

/* Known when the program is loaded: the code for the other is dead then. */
#define CONNS_IN_SOCKETS bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_sock_from_file)

static __always_inline struct conn *conn_get(struct sock *sk, bool create)
{
	struct conn *c;

	if (CONNS_IN_SOCKETS)
		c = bpf_sk_storage_get(&conns, sk, 0, create ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	else
		c = conn_by_address(sk, create);
	if (!c && create)
		obs_count_lost(OBS_LOST_MAP);
	return c;
}

/* Has the kernel number the socket, so that every event of it is sampled alike. */
static __always_inline void conn_number(struct sock *sk)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_for_each_map_elem))
		bpf_get_socket_cookie(sk);
}

static __always_inline void conn_own(struct conn *c, enum owner how)
{
	if (c->owner >= how)
		return;
	obs_process_fill(&c->process);
	c->owner = how;
}

/* Takes over what accept() left. */
static __always_inline void conn_settle(struct conn *c, struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct obs_process *p;

	if (c->owner == OWNER_SURE)
		return;
	p = bpf_map_lookup_elem(&accepted, &key);
	if (!p)
		return;
	c->process = *p;
	c->owner = OWNER_SURE;
	c->accept_sent = 1;
	c->settled = 1;
	bpf_map_delete_elem(&accepted, &key);
}

static __always_inline bool tcp_wanted(const struct conn *c, struct sock *sk, struct obs_endpoint *endpoint)
{
	return obs_process_wanted(&c->process) && obs_endpoint_fill_known(endpoint, sk, obs_transport__tcp) &&
	       obs_endpoint_wanted(endpoint) && obs_sampled(sk->__sk_common.skc_cookie.counter);
}

/* The same three numbers as `ss -ti`: bytes_sent - bytes_retrans; bytes_received, less the FIN, which the kernel counts
 * as a byte; and rtt. */
static __always_inline void tcp_count(struct tcp_counters *t, const struct conn *c, struct sock *sk, __u64 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	t->sent = t->received = t->retransmits = t->srtt_us = 0;
	if (tp) {
		t->received = tp->bytes_received;
		if (t->received && (sk->__sk_common.skc_flags & (1UL << SOCK_DONE_BIT)))
			t->received--;
		/* The connection goes on meanwhile: sent again, and read first, is never more than sent. */
		t->sent = -tp->bytes_retrans;
		asm volatile("" ::: "memory");
		t->sent += tp->bytes_sent;
		t->retransmits = tp->total_retrans;
		t->srtt_us = tp->srtt_us >> 3;
	}
	t->duration_ns = c->established_ns ? now - c->established_ns : 0;
}

#endif
