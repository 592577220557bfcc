/* The process behind a UDP socket, and what DNS needs to know of a TCP one; kept in the socket. */
#ifndef NETWORK_OWNER_H
#define NETWORK_OWNER_H

#include "packet.h"

/* One direction of a DNS stream: where the next message begins. */
struct dns_stream {
	__u32 next_seq;
	__u32 skip;   /* bytes of the message before that are still to come */
	__u16 length; /* of the message whose length prefix came alone */
	__u8 prefix;  /* bytes of the prefix that are in `length` */
	__u8 known;
};

struct owned {
	struct obs_process process;
	struct dns_stream stream[2]; /* received, sent */
	__u8 owner;
	__u8 reserved[7];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct owned);
} owners SEC(".maps");

/* Payload is sent in the process's own context; a kernel thread here is softirq catching up. */
static __always_inline void owner_take(struct owned *o)
{
	struct task_struct *task;

	if (o->owner || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return;
	task = bpf_get_current_task_btf();
	if (task->flags & PF_KTHREAD)
		return;
	obs_process_of(&o->process, task);
	o->owner = 1;
}

static __always_inline int owner_receiving(struct sock *sk)
{
	struct owned *o;

	if (sk->sk_protocol != IPPROTO_UDP ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o)
		obs_count_lost(OBS_LOST_MAP);
	else
		owner_take(o);
	return 0;
}

/* Sockets that only receive are told by their first recv(): by a function that UDP alone calls, where it can be hooked, else by
 * the tracepoint that every recv() of the host passes. */
OBS_OPTIONAL OBS_ALTERNATIVE("udp_receive", 0) OBS_SINCE("5.11")
    SEC("fentry/__skb_recv_udp") int BPF_PROG(udp_receiving, struct sock *sk)
{
	return owner_receiving(sk);
}

OBS_OPTIONAL OBS_ALTERNATIVE("udp_receive", 1) OBS_SINCE("6.3")
    SEC("tp_btf/sock_recv_length") int BPF_PROG(udp_received, struct sock *sk, int ret, int flags)
{
	return owner_receiving(sk);
}

/* Once, after the attach: sockets that were there before. */
OBS_OPTIONAL OBS_SINCE("5.11") SEC("iter/task_file") int udp_seed(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct owned *o;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || (sk->sk_protocol != IPPROTO_UDP && sk->sk_protocol != IPPROTO_TCP) ||
	    (sk->__sk_common.skc_family != AF_INET && sk->__sk_common.skc_family != AF_INET6))
		return 0;
	if (sk->sk_protocol == IPPROTO_TCP && sk->__sk_common.skc_dport != bpf_htons(53) &&
	    sk->__sk_common.skc_num != 53)
		return 0;
	o = bpf_sk_storage_get(&owners, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!o || o->owner)
		return 0;
	obs_process_of(&o->process, task);
	o->owner = 1;
	return 0;
}

#endif
