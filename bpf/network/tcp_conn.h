/* State of a connection, by the address of its socket. tcp_destroy_sock, which every TCP socket passes, takes it away; what
 * it did not see is found by the walk of tcp_flow.h. An address is used again by later sockets: the number that the kernel
 * gives each socket (its cookie) tells them apart. */
#ifndef NETWORK_TCP_CONN_H
#define NETWORK_TCP_CONN_H

#include "tcp_events.h"

/* How far the owner is known; a better source replaces a worse one. */
enum owner { OWNER_NONE, OWNER_USER, OWNER_SURE };

struct conn {
	struct obs_process process;
	__u64 cookie;	      /* 0: not known, as on kernels before 5.12 */
	__u64 start_ns;       /* connect() */
	__u64 established_ns; /* 0: opened before the attach */
	__u64 flow_ns;        /* last tcp.flow */
	__u8 owner, role, closed_by, reset;
	__u8 told;	     /* of a connect() that failed, which the next call may fetch once more */
	__u8 deaf;	     /* closed by close(), which takes no data any more */
	__u8 reserved[2];
	__u32 data_segments; /* received until then */
	__u32 reserved_end;
};

/* Not the sockets' own storage: to make and free that costs four times as much. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct conn);
} conns SEC(".maps");

OBS_PARAM_BOOL(tcp_events, true, "follow TCP connections");

static __always_inline struct conn *conn_of(__u64 key, __u64 cookie)
{
	struct conn *c = bpf_map_lookup_elem(&conns, &key);

	return c && (!c->cookie || c->cookie == cookie) ? c : NULL;
}

/* Takes the place of what an earlier socket may have left there. */
static __always_inline void conn_put(__u64 key, const struct conn *c)
{
	if (bpf_map_update_elem(&conns, &key, c, BPF_ANY))
		obs_count_lost(OBS_LOST_MAP);
}

static __always_inline struct conn *conn_make(__u64 key, __u64 cookie)
{
	struct conn *c = conn_of(key, cookie);
	struct conn fresh = {.cookie = cookie};

	if (c)
		return c;
	conn_put(key, &fresh);
	return bpf_map_lookup_elem(&conns, &key);
}

/* Has the kernel number the socket, also so that every event of it is sampled alike. */
static __always_inline __u64 conn_number(struct sock *sk)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_for_each_map_elem))
		return bpf_get_socket_cookie(sk);
	return 0;
}

/* For pointers that the kernel gave to the program. */
static __always_inline struct conn *conn_find(struct sock *sk)
{
	return conn_of((__u64)sk, sk->__sk_common.skc_cookie.counter);
}

static __always_inline struct conn *conn_get(struct sock *sk)
{
	return conn_make((__u64)sk, conn_number(sk));
}

/* A socket without a number (on old kernels; before its first SYN) has its address. */
static __always_inline bool conn_sampled(__u64 key, __u64 cookie)
{
	/* The verifier does not reckon with a pointer: its bytes are read as a number. */
	if (!cookie)
		bpf_probe_read_kernel(&cookie, sizeof(cookie), &key);
	return obs_sampled(cookie);
}

static __always_inline bool tcp_wanted(const struct conn *c, struct sock *sk, struct obs_endpoint *endpoint)
{
	return obs_process_wanted(&c->process) && obs_endpoint_fill_known(endpoint, sk, obs_transport__tcp) &&
	       obs_endpoint_wanted(endpoint) && conn_sampled((__u64)sk, sk->__sk_common.skc_cookie.counter);
}

enum { RCV_SHUTDOWN = 1 };

static __always_inline void conn_deafen(struct sock *sk, struct conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (!tp || !(sk->sk_shutdown & RCV_SHUTDOWN))
		return;
	c->deaf = 1;
	c->data_segments = tp->data_segs_in;
}

/* Data that comes after close() is answered with a reset, for which the kernel ends the connection as if one had come. */
static __always_inline bool conn_answers_data(struct sock *sk, const struct conn *c)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp && c->deaf && tp->data_segs_in != c->data_segments;
}

/* Whose connection has just ended on this CPU: that reset leaves after tcp_destroy_sock, in the same turn. */
struct ended {
	__u64 cookie;
	struct obs_process process;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ended);
} ended SEC(".maps");

static __always_inline void ended_keep(const struct conn *c)
{
	__u32 zero = 0;
	struct ended *e = bpf_map_lookup_elem(&ended, &zero);

	if (!e)
		return;
	e->cookie = c->cookie;
	e->process = c->process;
}

static __always_inline void ended_take(struct sock *sk, struct obs_process *process)
{
	__u32 zero = 0;
	struct ended *e = bpf_map_lookup_elem(&ended, &zero);

	if (!e || !e->cookie || e->cookie != sk->__sk_common.skc_cookie.counter)
		return;
	*process = e->process;
	e->cookie = 0;
}

/* The same three numbers as `ss -ti`: bytes_sent - bytes_retrans; bytes_received, less the FIN, which the kernel counts
 * as a byte; and rtt. tp may be NULL if it is known. */
static __always_inline void tcp_count(struct tcp_counters *t, const struct conn *c, const struct tcp_sock *tp, __u64 now,
				      bool known)
{
	t->sent = t->received = t->retransmits = t->srtt_us = 0;
	if (!known || tp) {
		unsigned long flags = obs_field_(known, tp, inet_conn.icsk_inet.sk.__sk_common.skc_flags);

		t->received = obs_field_(known, tp, bytes_received);
		if (t->received && (flags & (1UL << SOCK_DONE_BIT)))
			t->received--;
		/* The connection goes on meanwhile: sent again, and read first, is never more than sent. */
		t->sent = -obs_field_(known, tp, bytes_retrans);
		asm volatile("" ::: "memory");
		t->sent += obs_field_(known, tp, bytes_sent);
		t->retransmits = obs_field_(known, tp, total_retrans);
		t->srtt_us = obs_field_(known, tp, srtt_us) >> 3;
	}
	t->duration_ns = c->established_ns ? now - c->established_ns : 0;
}

#endif
