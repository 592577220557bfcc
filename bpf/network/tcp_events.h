/* What the TCP programs send. */
#ifndef NETWORK_TCP_EVENTS_H
#define NETWORK_TCP_EVENTS_H

#include <obs/filter.h>

enum tcp_event {
	EVENT_CONNECT = 1,
	EVENT_ACCEPT,
	EVENT_FAILED,
	EVENT_CLOSE,
	EVENT_FLOW,
	EVENT_RETRANSMIT,
	EVENT_RESET,
	EVENT_DROP
};

enum role { role__unknown, role__client, role__server, role__listener };

/* Whose FIN or abort came first. */
enum side { side__unknown, side__local, side__remote };

enum reset { reset__none, reset__sent, reset__received };

/* Names of states as people know them from ss(8). */
enum state {
	state__established = TCP_ESTABLISHED,
	state__syn_sent,
	state__syn_recv,
	state__fin_wait1,
	state__fin_wait2,
	state__time_wait,
	state__close,
	state__close_wait,
	state__last_ack,
	state__listen,
	state__closing,
	state__new_syn_recv,
};

/* errno of connect() and of a connection that broke. The numbers are the same on x86_64 and aarch64. */
enum error {
	error__cancelled = 0, /* connect_failed only: given up by the process before an answer came */
	error__interrupted = 4,
	error__permission = 1,
	error__again = 11,
	error__access = 13,
	error__invalid = 22,
	error__broken_pipe = 32,
	error__address_in_use = 98,
	error__address_not_available = 99,
	error__network_down = 100,
	error__network_unreachable = 101,
	error__aborted = 103,
	error__reset = 104,
	error__no_buffers = 105,
	error__timed_out = 110,
	error__refused = 111,
	error__host_down = 112,
	error__host_unreachable = 113,
	error__protocol = 71,
	error__no_protocol = 92,
	error__message_size = 90,
};

/* Payload only: what the application wrote and what was received in order, each byte once. */
struct tcp_counters {
	__u64 sent OBS_AS("tcp.sent_bytes") OBS_FORMAT("bytes");
	__u64 received OBS_AS("tcp.received_bytes") OBS_FORMAT("bytes");
	__u64 duration_ns OBS_AS("tcp.duration_ns")
	    OBS_FORMAT("ns") OBS_OMIT_ZERO; /* since established, if that was seen */
	__u32 retransmits OBS_AS("tcp.retransmits");
	__u32 srtt_us OBS_AS("tcp.srtt_us") OBS_FORMAT("us") OBS_OMIT_ZERO;
};

struct tcp_connect {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	__u64 handshake_ns OBS_AS("tcp.handshake_ns") OBS_FORMAT("ns"); /* first SYN to SYN-ACK, retries included */
	__u32 retransmits OBS_AS("tcp.retransmits");                    /* of the SYN */
	__u32 _reserved;
} OBS_EVENT(tcp_connect, 1, "tcp.connect");

struct tcp_accept {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
} OBS_EVENT(tcp_accept, 2, "tcp.accept");

struct tcp_connect_failed {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	__u64 duration_ns OBS_AS("tcp.duration_ns") OBS_FORMAT("ns");
	enum error error OBS_AS("error.type");
	__u32 retransmits OBS_AS("tcp.retransmits");
} OBS_EVENT(tcp_connect_failed, 3, "tcp.connect_failed");

struct tcp_close {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	struct tcp_counters counters;
	enum role role OBS_AS("tcp.role") OBS_OMIT_ZERO;
	enum side closed_by OBS_AS("tcp.closed_by");
	enum reset reset OBS_AS("tcp.reset");
	enum error error OBS_AS("error.type") OBS_OMIT_ZERO;
} OBS_EVENT(tcp_close, 4, "tcp.close");

struct tcp_flow {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	struct tcp_counters counters;
	enum role role OBS_AS("tcp.role") OBS_OMIT_ZERO;
	enum state state OBS_AS("tcp.state");
} OBS_EVENT(tcp_flow, 5, "tcp.flow");

struct tcp_retransmit {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	enum state state OBS_AS("tcp.state");
	__u32 bytes OBS_AS("tcp.segment_bytes") OBS_FORMAT("bytes");
	__u32 segments OBS_AS("tcp.segments"); /* sent at once; their sum is tcp.retransmits of the connection */
	__u32 _reserved;
} OBS_EVENT(tcp_retransmit, 6, "tcp.retransmit");

OBS_RING(events, 4 * 1024 * 1024);

#define tcp_send(type, event, process_, endpoint_) tcp_send_at(type, event, process_, endpoint_, bpf_ktime_get_ns())
#define tcp_send_at(type, event, process_, endpoint_, now_)                                                            \
	({                                                                                                             \
		struct type *e_ = obs_reserve_at(&events, struct type, event, now_);                                   \
		if (e_) {                                                                                              \
			e_->process = *(process_);                                                                     \
			e_->endpoint = *(endpoint_);                                                                   \
		}                                                                                                      \
		e_;                                                                                                    \
	})

#endif
