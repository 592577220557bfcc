/* Integer types and the few kernel structs that programs read, with CO-RE relocations. No vmlinux.h: a shipped object
 * must not depend on the kernel of the machine that built it. Add a struct or member when a program needs it: only the
 * members named here are looked up in the running kernel, wherever they are there. Members that some supported kernel
 * lacks are read under bpf_core_field_exists(). An author who brings a vmlinux.h of his own includes it first. */
#ifndef OBS_TYPES_H
#define OBS_TYPES_H

#ifndef __VMLINUX_H__

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef signed short __s16;
typedef unsigned int __u32;
typedef signed int __s32;
typedef unsigned long long __u64;
typedef signed long long __s64;
typedef __u16 __be16;
typedef __u16 __le16;
typedef __u32 __be32;
typedef __u32 __le32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0
#ifndef NULL
#define NULL ((void *)0)
#endif

#include <obs/uapi.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* ---- processes ---- */
struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct file {
	void *private_data;
	const void *f_op;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	int pid, tgid;
	unsigned int flags;
	char comm[16];
	struct task_struct *group_leader;
	struct css_set *cgroups;
	struct files_struct *files;
};

/* Registers as a syscall found them: user memory's addresses for programs at its exit. */
#if defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs {
	struct user_pt_regs user_regs;
	__u64 orig_x0;
};
#else
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, flags, sp;
};
#endif

/* ---- sockets ---- */
typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	atomic_t refs;
} refcount_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
	unsigned long skc_flags;
	refcount_t skc_refcnt;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type, sk_protocol;
	int sk_err;
	__u32 sk_ack_backlog, sk_max_ack_backlog;
	__u8 sk_shutdown;
	struct socket *sk_socket;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct inet_sock {
	struct sock sk;
	__be32 inet_saddr;
	__be16 inet_sport;
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u8 icsk_retransmits;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_sent, bytes_retrans, bytes_acked, bytes_received;
	__u32 total_retrans, data_segs_in;
	__u32 srtt_us; /* eight times the average */
	__u32 rcv_nxt, snd_nxt, snd_una, write_seq, copied_seq;
	__u32 snd_cwnd;
};

struct proto_accept_arg { /* 6.10 */
	int flags;
};

struct request_sock {
	struct sock_common __req_common;
	__u8 num_retrans;
};

struct tcp_skb_cb { /* what TCP keeps in sk_buff.cb */
	__u16 tcp_gso_segs;
};

struct sk_buff {
	struct sock *sk;
	char cb[48];
	unsigned int len, data_len;
	__be16 protocol;
	__u16 transport_header, network_header;
	unsigned char *head, *data;
};

/* ---- tracepoints' and iterators' contexts ---- */
struct trace_event_raw_sys_exit {
	long id;
	long ret;
};

struct trace_event_raw_sys_enter {
	long id;
	unsigned long args[6];
};

struct trace_event_raw_tcp_retransmit_skb {
	int err; /* 6.17: tcp_retransmit_skb has a third argument */
};

struct trace_event_raw_kfree_skb {
	void *rx_sk; /* 6.11: kfree_skb has a fourth argument */
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id, seq_num;
};

struct bpf_map {
	__u32 id;
	__u32 max_entries;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key, *value;
};

#pragma clang attribute pop

/* ---- constants of the kernel that are not BPF's ---- */
enum { AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10 };
enum { IPPROTO_TCP = 6, IPPROTO_UDP = 17, IPPROTO_ICMPV6 = 58 };
enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd };
enum { PF_KTHREAD = 0x00200000 };
enum { SOCK_DONE_BIT = 1 }; /* enum sock_flags: a FIN was received */

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
	TCP_NEW_SYN_RECV,
};

#endif /* __VMLINUX_H__ */

#endif
