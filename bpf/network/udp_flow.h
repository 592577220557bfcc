/* udp.flow: what each socket exchanged with each peer since the last sample. The loader reads the map on the
 * interval and empties it, so a flow that ends leaves nothing. */
#ifndef NETWORK_UDP_FLOW_H
#define NETWORK_UDP_FLOW_H

#include "flow_interval.h"
#include "owner.h"

OBS_PARAM_BOOL(udp_flows, true, "follow UDP flows");

struct udp_flow_key {
	struct obs_endpoint endpoint;
	__u64 _socket; /* the same ends may be in use in another network namespace */
};

struct udp_flow {
	struct obs_process process;
	__u64 sent_bytes OBS_AS("udp.sent_bytes") OBS_FORMAT("bytes");
	__u64 received_bytes OBS_AS("udp.received_bytes") OBS_FORMAT("bytes");
	__u64 sent_packets OBS_AS("udp.sent_packets");
	__u64 received_packets OBS_AS("udp.received_packets");
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct udp_flow_key);
	__type(value, struct udp_flow);
} flows SEC(".maps") OBS_SAMPLE("udp.flow", 10000) OBS_SAMPLE_CLEAR OBS_SAMPLE_INTERVAL_PARAM("flow_interval_ms");

static const struct udp_flow no_flow;

static __always_inline void udp_flow_count(struct __sk_buff *skb, const struct packet *p, const struct owned *o)
{
	struct udp_flow_key key;
	struct udp_flow *flow;
	__u32 packets = skb->gso_segs ? skb->gso_segs : 1;

	key.endpoint = p->endpoint;
	key._socket = p->cookie;
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) {
		bpf_map_update_elem(&flows, &key, &no_flow, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&flows, &key);
		if (!flow) {
			obs_count_lost(OBS_LOST_MAP);
			return;
		}
	}
	if (!flow->process.pid)
		flow->process = o->process;
	if (p->egress) {
		__sync_fetch_and_add(&flow->sent_bytes, p->length);
		__sync_fetch_and_add(&flow->sent_packets, packets);
	} else {
		__sync_fetch_and_add(&flow->received_bytes, p->length);
		__sync_fetch_and_add(&flow->received_packets, packets);
	}
}

#endif
