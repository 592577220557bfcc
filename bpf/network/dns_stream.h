/* DNS over TCP (RFC 1035, 4.2.2; RFC 7766): messages after two bytes of length, several in a segment or one in
 * several. Where the next one begins is known by sequence number, so a segment that comes twice or out of order is
 * seen as that. Of a message that goes over several segments the part in its first one is kept. */
#ifndef NETWORK_DNS_STREAM_H
#define NETWORK_DNS_STREAM_H

#include "dns.h"

struct stream_at {
	__u32 offset, left;
};

/* Reads the length prefix, which may come in parts; false where the segment ends before the message begins. */
static __always_inline bool stream_prefix(struct __sk_buff *skb, struct dns_stream *s, struct stream_at *at)
{
	__u8 byte;

	for (int i = 0; i < 2; i++) {
		if (s->prefix == 2 || !at->left)
			break;
		if (bpf_skb_load_bytes(skb, at->offset, &byte, 1))
			return false;
		s->length = s->length << 8 | byte;
		s->prefix++;
		at->offset++;
		at->left--;
	}
	return s->prefix == 2 && at->left;
}

/* Whether the stream's state and this segment fit; else the segment is left out. */
static __always_inline bool stream_follow(struct dns_stream *s, const struct packet *p)
{
	if (p->syn) {
		s->known = 1;
		s->next_seq = p->seq + 1;
		s->skip = 0;
		s->prefix = 0;
		s->length = 0;
	}
	if (!p->length)
		return false;
	if (!s->known) { /* from before the attach: hope for a message's start, which the caller checks */
		s->known = 1;
		s->next_seq = p->seq;
	}
	if (p->seq == s->next_seq)
		return true;
	if ((__s32)(p->seq - s->next_seq) > 0) {
		s->known = 0;
		s->skip = 0;
		s->prefix = 0;
		s->length = 0;
		obs_count_lost(OBS_LOST_PARSER);
	}
	return false;
}

static __always_inline void dns_segment(struct __sk_buff *skb, const struct packet *p, struct owned *o)
{
	struct dns_stream *s = &o->stream[p->egress ? 1 : 0];
	struct stream_at at = {.offset = p->payload, .left = p->length};
	struct dns_message m;
	__u32 n;

	if (!stream_follow(s, p))
		return;
	s->next_seq = p->seq + p->length;
	n = s->skip < at.left ? s->skip : at.left;
	s->skip -= n;
	at.offset += n;
	at.left -= n;
	for (int i = 0; i < DNS_MESSAGES_A_SEGMENT && at.left; i++) {
		if (!stream_prefix(skb, s, &at))
			return;
		if (s->length < DNS_HEADER) {
			s->known = 0;
			s->prefix = 0;
			s->length = 0;
			obs_count_lost(OBS_LOST_PARSER);
			return;
		}
		n = s->length < at.left ? s->length : at.left;
		m.offset = at.offset;
		m.here = n;
		m.size = s->length;
		dns_message(skb, p, &m, o);
		s->skip = s->length - n;
		s->prefix = 0;
		s->length = 0;
		at.offset += n;
		at.left -= n;
	}
	if (at.left) { /* more messages than a segment is searched for */
		s->known = 0;
		obs_count_lost(OBS_LOST_PARSER);
	}
}

#endif
