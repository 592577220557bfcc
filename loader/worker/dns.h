/* DNS messages (RFC 1035, 2782 SRV, 3596 AAAA; unknown types as in RFC 3597). Bytes come from the network: everything is
 * bounded, a compression pointer must point backwards and at most DNS_MAX_POINTERS are followed for a name.
 */
#ifndef OBS_WORKER_DNS_H
#define OBS_WORKER_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* 255 bytes on the wire, each shown as \DDD at worst, and a NUL. */
	DNS_NAME_TEXT = 1024,
	DNS_TYPE_TEXT = 16,
	DNS_CODE_TEXT = 16,
	DNS_ANSWER_TEXT = DNS_NAME_TEXT + 32,
	DNS_MAX_ANSWERS = 64,         /* shown of one message */
	DNS_MAX_ANSWERS_BYTES = 8192, /* of all their text */
	DNS_MAX_POINTERS = 32,
};

struct dns_message {
	const uint8_t *data; /* borrowed */
	size_t size;
	bool is_response, truncated;
	unsigned code;            /* low four bits of the header: no EDNS extension */
	unsigned answers;         /* as the header says; the captured bytes may hold fewer */
	unsigned type;            /* of the first question */
	size_t answers_at;        /* where the answer section starts; 0: not reached */
	char name[DNS_NAME_TEXT]; /* of the first question, without the last dot; "." is the root. Bytes that are not
				   * printable ASCII are \DDD, dots and backslashes within a label \. and \\ */
};

/* False: no header, or no first question that makes sense. What follows the question may be cut short. */
bool dns_parse(const uint8_t *data, size_t size, struct dns_message *out);

/* The answers in order: start with *at = message->answers_at and *left = message->answers. Writes the record's data as
 * text (address, name, "10 mail.example", or \# LENGTH HEX). False: no more, or cut short. */
bool dns_next_answer(const struct dns_message *message, size_t *at, unsigned *left, char text[static DNS_ANSWER_TEXT]);

/* "AAAA", "TYPE65280"; "NXDOMAIN", "RCODE13". */
void dns_type_text(unsigned type, char text[static DNS_TYPE_TEXT]);
void dns_code_text(unsigned code, char text[static DNS_CODE_TEXT]);

#endif
