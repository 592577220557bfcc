/* dns.lookup: a question and its answer, matched by socket, peer and id. The message goes out as it came: it is
 * untrusted bytes from the network, and the unprivileged worker takes it apart. Reported at the side that asks (peer
 * port 53); with dns_servers also at the side that answers. A question that stays without answer is reported by a
 * sweep. */
#ifndef NETWORK_DNS_H
#define NETWORK_DNS_H

#include "owner.h"

enum { DNS_PORT = 53, DNS_HEADER = 12, DNS_QUESTION_BYTES = 288, DNS_MESSAGE_BYTES = 1232, DNS_MESSAGES_A_SEGMENT = 64 };

OBS_PARAM_BOOL(dns, true, "follow DNS lookups");
OBS_PARAM_BOOL(dns_servers, false, "report lookups at the answering side too");
OBS_PARAM(__u32, dns_timeout_ms, 10000, 500, 600000, "when a lookup counts as unanswered, in ms");

enum dns_role { dns_role__client, dns_role__server };
enum dns_error { dns_error__none, dns_error__timeout };

struct dns_lookup {
	struct obs_header header;
	struct obs_process process;
	struct obs_endpoint endpoint;
	__u64 duration_ns OBS_AS("dns.lookup.duration_ns") OBS_FORMAT("ns"); /* from the first time it was asked */
	enum dns_role role OBS_AS("dns.role");
	enum dns_error error OBS_AS("error.type") OBS_OMIT_ZERO;
	__u32 attempts OBS_AS("dns.attempts"); /* how often the question was sent */
	__u32 size OBS_AS("dns.message.size") OBS_FORMAT("bytes");
	__u32 captured OBS_AS("dns.message.captured") OBS_FORMAT("bytes"); /* of size, from the start */
	__u32 _reserved;
	__u8 message[DNS_MESSAGE_BYTES] OBS_AS("dns.message.data") OBS_FORMAT("dns") OBS_LENGTH("captured");
} OBS_EVENT(dns_lookup, 1, "dns.lookup");

OBS_RING(events, 2 * 1024 * 1024);

struct lookup_key {
	__u8 peer[16];
	__u64 cookie;
	__u16 port, id;
	__u32 role;
};

struct lookup {
	struct obs_process process;
	struct obs_endpoint endpoint;
	__u64 first_ns, last_ns;
	__u32 attempts;
	__u32 size, captured;
	__u32 reserved;
	__u8 question[DNS_QUESTION_BYTES];
};

/* Emptied by answers and by the sweep. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct lookup_key);
	__type(value, struct lookup);
} lookups SEC(".maps");

static const struct lookup no_lookup;

struct dns_message {
	__u32 offset; /* in the packet */
	__u32 here;   /* bytes that this packet has of it */
	__u32 size;
};

/* n, but at least 1 and at most `most`, in a form that the verifier keeps track of: Linux 6.1 refuses a length that may
 * be 0. A message with nothing there fails to be read, which is seen. */
static __always_inline __u32 dns_clamp(__u32 n, __u32 most)
{
	asm volatile("if %0 <= %1 goto +1\n%0 = %1\nif %0 > 0 goto +1\n%0 = 1" : "+r"(n) : "i"(most));
	return n;
}

static __always_inline void dns_question(struct __sk_buff *skb, const struct packet *p, struct lookup_key *key,
					 const struct dns_message *m, const struct owned *o)
{
	struct lookup *lookup = bpf_map_lookup_elem(&lookups, key);
	__u64 now = bpf_ktime_get_ns();
	__u32 n;

	if (lookup) {
		lookup->attempts++;
		lookup->last_ns = now;
		return;
	}
	bpf_map_update_elem(&lookups, key, &no_lookup, BPF_NOEXIST);
	lookup = bpf_map_lookup_elem(&lookups, key);
	if (!lookup) {
		obs_count_lost(OBS_LOST_MAP);
		return;
	}
	lookup->process = o->process;
	lookup->endpoint = p->endpoint;
	lookup->first_ns = now;
	lookup->last_ns = now;
	lookup->attempts = 1;
	lookup->size = m->size;
	n = dns_clamp(m->here, DNS_QUESTION_BYTES);
	if (!bpf_skb_load_bytes(skb, m->offset, lookup->question, n))
		lookup->captured = n;
}

static __always_inline struct dns_lookup *dns_event(const struct lookup *lookup, __u64 now, __u32 role)
{
	struct dns_lookup *e = obs_reserve(&events, struct dns_lookup, 1);

	if (!e)
		return NULL;
	e->process = lookup->process;
	e->endpoint = lookup->endpoint;
	e->duration_ns = now - lookup->first_ns;
	e->role = role;
	e->error = dns_error__none;
	e->attempts = lookup->attempts;
	e->_reserved = 0;
	return e;
}

static __always_inline void dns_answer(struct __sk_buff *skb, struct lookup_key *key, const struct dns_message *m,
				       const struct owned *o)
{
	struct lookup *lookup = bpf_map_lookup_elem(&lookups, key);
	struct dns_lookup *e;
	__u32 n;

	/* The second answer to a question that was asked twice, or one to a question from before the attach. */
	if (!lookup) {
		obs_count_lost(OBS_LOST_PARSER);
		return;
	}
	if (!lookup->process.pid)
		lookup->process = o->process;
	e = dns_event(lookup, bpf_ktime_get_ns(), key->role);
	if (e) {
		n = dns_clamp(m->here, DNS_MESSAGE_BYTES);
		e->size = m->size;
		e->captured = n;
		if (bpf_skb_load_bytes(skb, m->offset, e->message, n))
			e->captured = 0;
		obs_submit(&events, e);
	}
	bpf_map_delete_elem(&lookups, key);
}

/* Servers that ask others may do it from port 53 too: then only the message tells. */
static __always_inline enum dns_role dns_role_of(const struct packet *p, bool answer)
{
	if (p->endpoint.peer_port != DNS_PORT)
		return dns_role__server;
	if (p->endpoint.local_port != DNS_PORT)
		return dns_role__client;
	return answer == p->egress ? dns_role__server : dns_role__client;
}

static __noinline int dns_message(struct __sk_buff *skb, const struct packet *p, const struct dns_message *m,
				  const struct owned *o)
{
	struct lookup_key key = {};
	__u8 head[4];
	bool answer;

	if (!p || !m || !o)
		return 0;
	if (m->here < DNS_HEADER || bpf_skb_load_bytes(skb, m->offset, head, sizeof(head))) {
		obs_count_lost(OBS_LOST_PARSER);
		return 0;
	}
	answer = head[2] >> 7;
	key.role = dns_role_of(p, answer);
	if (key.role == dns_role__server && !dns_servers)
		return 0;
	/* A client sends questions and receives answers. */
	if (answer == (p->egress == (key.role == dns_role__client))) {
		obs_count_lost(OBS_LOST_PARSER);
		return 0;
	}
	__builtin_memcpy(key.peer, p->endpoint.peer_address, 16);
	key.cookie = p->cookie;
	key.port = key.role == dns_role__client ? p->endpoint.local_port : p->endpoint.peer_port;
	key.id = (__u16)head[0] << 8 | head[1];
	if (answer)
		dns_answer(skb, &key, m, o);
	else
		dns_question(skb, p, &key, m, o);
	return 0;
}

static __always_inline bool dns_follows(const struct obs_endpoint *e)
{
	return dns && (e->peer_port == DNS_PORT || (dns_servers && e->local_port == DNS_PORT));
}

static __always_inline void dns_datagram(struct __sk_buff *skb, const struct packet *p, const struct owned *o)
{
	struct dns_message m = {.offset = p->payload, .here = p->length, .size = p->length};

	dns_message(skb, p, &m, o);
}

struct unanswered {
	__u64 now, timeout_ns;
	__u64 oldest_ns; /* of what stays */
	bool report;
};

static long dns_sweep_one(struct bpf_map *map, struct lookup_key *key, struct lookup *lookup, struct unanswered *u)
{
	struct dns_lookup *e;

	/* What was asked during the walk is later than its start. */
	if (!lookup->last_ns || (__s64)(u->now - lookup->last_ns) < (__s64)u->timeout_ns) {
		if (lookup->last_ns && lookup->last_ns < u->oldest_ns)
			u->oldest_ns = lookup->last_ns;
		return 0;
	}
	if (u->report) {
		e = dns_event(lookup, u->now, key->role);
		if (e) {
			e->error = dns_error__timeout;
			e->size = lookup->size;
			e->captured = lookup->captured;
			__builtin_memcpy(e->message, lookup->question, DNS_QUESTION_BYTES);
			obs_submit(&events, e);
		}
	}
	bpf_map_delete_elem(map, key);
	return 0;
}

/* An iterator for the sake of being run on an interval: the first map it is shown is the occasion to walk this one. */
OBS_OPTIONAL OBS_SINCE("5.13") OBS_ATTACH("interval_ms=500")
    SEC("iter/bpf_map") int dns_sweep(struct bpf_iter__bpf_map *ctx)
{
	struct unanswered u = {};

	if (ctx->meta->seq_num)
		return 0;
	u.now = bpf_ktime_get_ns();
	u.oldest_ns = u.now;
	u.timeout_ns = (__u64)dns_timeout_ms * 1000000;
	u.report = dns;
	bpf_for_each_map_elem(&lookups, dns_sweep_one, &u, 0);
	/* What is asked from now on has its time before it. */
	obs_iterator_rest(ctx->meta, u.oldest_ns + u.timeout_ns);
	return 0;
}

#endif
