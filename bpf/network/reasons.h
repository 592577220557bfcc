/* Why the kernel dropped a packet or sent a reset, by name. The kernel numbers its reasons anew in almost every
 * release, so the names here have numbers of this file's own, and a table from the running kernel's numbers to these
 * is filled by CO-RE: each enumerator's value is looked up, when the program is loaded, in the BTF of the kernel
 * that runs. A reason that is younger than this list is "other"; the kernel's number goes with the event either way. */
#ifndef NETWORK_REASONS_H
#define NETWORK_REASONS_H

#include <obs/obs.h>

#include <bpf/bpf_core_read.h>

/* clang-format off */
/* X(the kernel's name, ours). New ones go to the end: the numbers are in manifests. */
#define DROP_REASONS(X) \
	X(NO_SOCKET, no_socket) \
	X(SOCKET_CLOSE, socket_close) \
	X(SOCKET_FILTER, socket_filter) \
	X(SOCKET_RCVBUFF, socket_rcvbuff) \
	X(PKT_TOO_SMALL, pkt_too_small) \
	X(TCP_CSUM, tcp_csum) \
	X(NETFILTER_DROP, netfilter_drop) \
	X(OTHERHOST, otherhost) \
	X(IP_CSUM, ip_csum) \
	X(IP_INHDR, ip_inhdr) \
	X(IP_RPFILTER, ip_rpfilter) \
	X(UNICAST_IN_L2_MULTICAST, unicast_in_l2_multicast) \
	X(XFRM_POLICY, xfrm_policy) \
	X(IP_NOPROTO, ip_noproto) \
	X(PROTO_MEM, proto_mem) \
	X(TCP_AUTH_HDR, tcp_auth_hdr) \
	X(TCP_MD5NOTFOUND, tcp_md5notfound) \
	X(TCP_MD5UNEXPECTED, tcp_md5unexpected) \
	X(TCP_MD5FAILURE, tcp_md5failure) \
	X(TCP_AONOTFOUND, tcp_aonotfound) \
	X(TCP_AOUNEXPECTED, tcp_aounexpected) \
	X(TCP_AOKEYNOTFOUND, tcp_aokeynotfound) \
	X(TCP_AOFAILURE, tcp_aofailure) \
	X(SOCKET_BACKLOG, socket_backlog) \
	X(TCP_FLAGS, tcp_flags) \
	X(TCP_ABORT_ON_DATA, tcp_abort_on_data) \
	X(TCP_ZEROWINDOW, tcp_zerowindow) \
	X(TCP_OLD_DATA, tcp_old_data) \
	X(TCP_OVERWINDOW, tcp_overwindow) \
	X(TCP_OFOMERGE, tcp_ofomerge) \
	X(TCP_RFC7323_PAWS, tcp_rfc7323_paws) \
	X(TCP_RFC7323_PAWS_ACK, tcp_rfc7323_paws_ack) \
	X(TCP_RFC7323_TW_PAWS, tcp_rfc7323_tw_paws) \
	X(TCP_RFC7323_TSECR, tcp_rfc7323_tsecr) \
	X(TCP_LISTEN_OVERFLOW, tcp_listen_overflow) \
	X(TCP_OLD_SEQUENCE, tcp_old_sequence) \
	X(TCP_INVALID_SEQUENCE, tcp_invalid_sequence) \
	X(TCP_INVALID_END_SEQUENCE, tcp_invalid_end_sequence) \
	X(TCP_INVALID_ACK_SEQUENCE, tcp_invalid_ack_sequence) \
	X(TCP_RESET, tcp_reset) \
	X(TCP_INVALID_SYN, tcp_invalid_syn) \
	X(TCP_CLOSE, tcp_close) \
	X(TCP_FASTOPEN, tcp_fastopen) \
	X(TCP_OLD_ACK, tcp_old_ack) \
	X(TCP_TOO_OLD_ACK, tcp_too_old_ack) \
	X(TCP_ACK_UNSENT_DATA, tcp_ack_unsent_data) \
	X(TCP_OFO_QUEUE_PRUNE, tcp_ofo_queue_prune) \
	X(TCP_OFO_DROP, tcp_ofo_drop) \
	X(IP_OUTNOROUTES, ip_outnoroutes) \
	X(BPF_CGROUP_EGRESS, bpf_cgroup_egress) \
	X(IPV6DISABLED, ipv6disabled) \
	X(NEIGH_CREATEFAIL, neigh_createfail) \
	X(NEIGH_FAILED, neigh_failed) \
	X(NEIGH_QUEUEFULL, neigh_queuefull) \
	X(NEIGH_DEAD, neigh_dead) \
	X(NEIGH_HH_FILLFAIL, neigh_hh_fillfail) \
	X(TC_EGRESS, tc_egress) \
	X(SECURITY_HOOK, security_hook) \
	X(QDISC_DROP, qdisc_drop) \
	X(QDISC_OVERLIMIT, qdisc_overlimit) \
	X(QDISC_CONGESTED, qdisc_congested) \
	X(CAKE_FLOOD, cake_flood) \
	X(FQ_BAND_LIMIT, fq_band_limit) \
	X(FQ_HORIZON_LIMIT, fq_horizon_limit) \
	X(FQ_FLOW_LIMIT, fq_flow_limit) \
	X(CPU_BACKLOG, cpu_backlog) \
	X(XDP, xdp) \
	X(TC_INGRESS, tc_ingress) \
	X(UNHANDLED_PROTO, unhandled_proto) \
	X(SKB_CSUM, skb_csum) \
	X(SKB_GSO_SEG, skb_gso_seg) \
	X(SKB_UCOPY_FAULT, skb_ucopy_fault) \
	X(DEV_HDR, dev_hdr) \
	X(DEV_READY, dev_ready) \
	X(FULL_RING, full_ring) \
	X(NOMEM, nomem) \
	X(HDR_TRUNC, hdr_trunc) \
	X(TAP_FILTER, tap_filter) \
	X(TAP_TXFILTER, tap_txfilter) \
	X(INVALID_PROTO, invalid_proto) \
	X(IP_INADDRERRORS, ip_inaddrerrors) \
	X(IP_INNOROUTES, ip_innoroutes) \
	X(IP_LOCAL_SOURCE, ip_local_source) \
	X(IP_INVALID_SOURCE, ip_invalid_source) \
	X(IP_LOCALNET, ip_localnet) \
	X(IP_INVALID_DEST, ip_invalid_dest) \
	X(PKT_TOO_BIG, pkt_too_big) \
	X(DUP_FRAG, dup_frag) \
	X(FRAG_REASM_TIMEOUT, frag_reasm_timeout) \
	X(FRAG_TOO_FAR, frag_too_far) \
	X(TCP_MINTTL, tcp_minttl) \
	X(IPV6_BAD_EXTHDR, ipv6_bad_exthdr) \
	X(QUEUE_PURGE, queue_purge) \
	X(TC_COOKIE_ERROR, tc_cookie_error) \
	X(TC_CHAIN_NOTFOUND, tc_chain_notfound) \
	X(TC_RECLASSIFY_LOOP, tc_reclassify_loop) \
	X(NO_TX_TARGET, no_tx_target) \
	X(IP_TUNNEL_ECN, ip_tunnel_ecn) \
	X(TUNNEL_TXINFO, tunnel_txinfo) \
	X(PFMEMALLOC, pfmemalloc) \
	X(DUALPI2_STEP_DROP, dualpi2_step_drop) \
	X(RECURSION_LIMIT, recursion_limit) \
	X(TCP_FILTER, tcp_filter) \
	X(PTYPE_ABSENT, ptype_absent) \
	X(UDP_CSUM, udp_csum)

#define RESET_REASONS(X) \
	X(NO_SOCKET, no_socket) \
	X(TCP_INVALID_ACK_SEQUENCE, tcp_invalid_ack_sequence) \
	X(TCP_RFC7323_PAWS, tcp_rfc7323_paws) \
	X(TCP_TOO_OLD_ACK, tcp_too_old_ack) \
	X(TCP_ACK_UNSENT_DATA, tcp_ack_unsent_data) \
	X(TCP_FLAGS, tcp_flags) \
	X(TCP_OLD_ACK, tcp_old_ack) \
	X(TCP_ABORT_ON_DATA, tcp_abort_on_data) \
	X(TCP_TIMEWAIT_SOCKET, tcp_timewait_socket) \
	X(INVALID_SYN, invalid_syn) \
	X(TCP_ABORT_ON_CLOSE, tcp_abort_on_close) \
	X(TCP_ABORT_ON_LINGER, tcp_abort_on_linger) \
	X(TCP_ABORT_ON_MEMORY, tcp_abort_on_memory) \
	X(TCP_STATE, tcp_state) \
	X(TCP_KEEPALIVE_TIMEOUT, tcp_keepalive_timeout) \
	X(TCP_DISCONNECT_WITH_DATA, tcp_disconnect_with_data) \
	X(MPTCP_RST_EUNSPEC, mptcp_rst_eunspec) \
	X(MPTCP_RST_EMPTCP, mptcp_rst_emptcp) \
	X(MPTCP_RST_ERESOURCE, mptcp_rst_eresource) \
	X(MPTCP_RST_EPROHIBIT, mptcp_rst_eprohibit) \
	X(MPTCP_RST_EWQ2BIG, mptcp_rst_ewq2big) \
	X(MPTCP_RST_EBADPERF, mptcp_rst_ebadperf) \
	X(MPTCP_RST_EMIDDLEBOX, mptcp_rst_emiddlebox)

/* clang-format on */

#define OURS_DROP(theirs, ours) drop__##ours,
enum drop_reason { drop__other, drop__not_specified, DROP_REASONS(OURS_DROP) };

#define OURS_RESET(theirs, ours) reset_reason__##ours,
enum reset_reason { reset_reason__none, reset_reason__other, reset_reason__not_specified, RESET_REASONS(OURS_RESET) };

/* The kernel's own, of which only the names matter. */
#define THEIRS_DROP(theirs, ours) SKB_DROP_REASON_##theirs,
enum skb_drop_reason { SKB_NOT_DROPPED_YET, SKB_CONSUMED, SKB_DROP_REASON_NOT_SPECIFIED,
		       SKB_DROP_REASON_PACKET_SOCK_ERROR, DROP_REASONS(THEIRS_DROP) };

#define THEIRS_RESET(theirs, ours) SK_RST_REASON_##theirs,
enum sk_rst_reason { SK_RST_REASON_NOT_SPECIFIED, RESET_REASONS(THEIRS_RESET) };

enum { REASON_SLOTS = 256 };

struct reasons {
	__u8 known[REASON_SLOTS]; /* by the kernel's number: ours */
	__u8 ready;
};

static struct reasons drop_reasons, reset_reasons;

#define LEARN(table, type, theirs, ours)                                                                               \
	if (bpf_core_enum_value_exists(type, theirs))                                                                  \
		(table)->known[bpf_core_enum_value(type, theirs) & (REASON_SLOTS - 1)] = ours;

#define LEARN_DROP(theirs, ours)  LEARN(t, enum skb_drop_reason, SKB_DROP_REASON_##theirs, drop__##ours)
#define LEARN_RESET(theirs, ours) LEARN(t, enum sk_rst_reason, SK_RST_REASON_##theirs, reset_reason__##ours)

/* Whoever comes first fills the table; two at once write the same. */
static __noinline int drop_reasons_learn(void)
{
	struct reasons *t = &drop_reasons;

	LEARN(t, enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED, drop__not_specified)
	DROP_REASONS(LEARN_DROP)
	t->ready = 1;
	return 0;
}

static __noinline int reset_reasons_learn(void)
{
	struct reasons *t = &reset_reasons;

	LEARN(t, enum sk_rst_reason, SK_RST_REASON_NOT_SPECIFIED, reset_reason__not_specified)
	RESET_REASONS(LEARN_RESET)
	t->ready = 1;
	return 0;
}

/* The verifier does not see through the compiler's way to compare; a mask it does. */
static __always_inline __u8 reason_look_up(const struct reasons *t, __u32 theirs)
{
	__u32 slot = theirs;

	if (theirs >= REASON_SLOTS)
		return 0;
	asm volatile("%0 &= 255" : "+r"(slot));
	return t->known[slot];
}

static __always_inline enum drop_reason drop_reason_of(__u32 theirs)
{
	if (!drop_reasons.ready)
		drop_reasons_learn();
	return reason_look_up(&drop_reasons, theirs);
}

static __always_inline enum reset_reason reset_reason_of(__u32 theirs)
{
	__u8 ours;

	if (!reset_reasons.ready)
		reset_reasons_learn();
	ours = reason_look_up(&reset_reasons, theirs);
	return ours ? ours : reset_reason__other;
}

#endif
