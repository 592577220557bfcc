#include "loader/worker/dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "bundles/base/own.h"
#include "loader/worker/json.h"

enum { HEADER_BYTES = 12, NAME_WIRE_MAX = 255, LABEL_MAX = 63 };

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static char *label_text(char *p, const uint8_t *label, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t c = label[i];
		if (c == '.' || c == '\\') {
			*p++ = '\\';
			*p++ = (char)c;
		} else if (c > 0x20 && c < 0x7f) {
			*p++ = (char)c;
		} else {
			*p++ = '\\';
			*p++ = (char)('0' + c / 100);
			*p++ = (char)('0' + c / 10 % 10);
			*p++ = (char)('0' + c % 10);
		}
	}
	return p;
}

/* Reads the name at *at; *at is then behind it. text may be NULL to skip it. */
static bool read_name(const uint8_t *data, size_t size, size_t *at, char *text)
{
	size_t here = *at, end = 0, wire = 1;
	unsigned pointers = 0;
	char *p = text;

	for (;;) {
		if (here >= size)
			return false;
		unsigned len = data[here];
		if ((len & 0xc0) == 0xc0) {
			if (size - here < 2)
				return false;
			size_t target = get16(data + here) & 0x3fff;
			if (!end)
				end = here + 2;
			/* Backwards only, so that a loop is impossible; counted all the same, to bound the work. */
			if (target >= here || ++pointers > DNS_MAX_POINTERS)
				return false;
			here = target;
			continue;
		}
		if (len > LABEL_MAX)
			return false; /* 0x40 and 0x80: label types that nobody uses */
		if (len == 0)
			break;
		wire += len + 1;
		if (wire > NAME_WIRE_MAX || size - here - 1 < len)
			return false;
		if (text) {
			if (p != text)
				*p++ = '.';
			p = label_text(p, data + here + 1, len);
		}
		here += len + 1;
	}
	if (text) {
		if (p == text)
			*p++ = '.';
		*p = '\0';
	}
	*at = end ? end : here + 1;
	return true;
}

bool dns_parse(const uint8_t *data, size_t size, struct dns_message *out)
{
	if (size < HEADER_BYTES)
		return false;
	out->data = data;
	out->size = size;
	out->is_response = data[2] & 0x80;
	out->truncated = data[2] & 0x02;
	out->code = data[3] & 0x0f;
	out->answers = get16(data + 6);
	out->answers_at = 0;

	unsigned questions = get16(data + 4);
	size_t at = HEADER_BYTES;
	if (questions == 0 || !read_name(data, size, &at, out->name) || size - at < 4)
		return false;
	out->type = get16(data + at);
	at += 4;
	for (unsigned i = 1; i < questions; i++) {
		if (!read_name(data, size, &at, NULL) || size - at < 4)
			return true;
		at += 4;
	}
	out->answers_at = at;
	return true;
}

/* RFC 3597, section 5: \# LENGTH HEX, as much of it as there is room for. */
static void unknown_text(const uint8_t *data, size_t size, char text[static DNS_ANSWER_TEXT])
{
	int n = snprintf(text, DNS_ANSWER_TEXT, "\\# %zu ", size);
	size_t shown = size;

	if (shown > 256)
		shown = 256;
	*json_put_hex(text + n, data, shown) = '\0';
}

static bool txt_text(const uint8_t *data, size_t size, char text[static DNS_ANSWER_TEXT])
{
	char *p = text;

	for (size_t at = 0; at < size; at += data[at] + 1U) {
		size_t len = data[at];
		if (len > size - at - 1)
			return false;
		if (p != text)
			*p++ = ' ';
		if ((size_t)(p - text) + 4 * len + 2 > DNS_ANSWER_TEXT)
			break;
		p = label_text(p, data + at + 1, len);
	}
	*p = '\0';
	return true;
}

/* The data of one record, at bytes at to end of the message. Names in it may be compressed and point anywhere before. */
static bool answer_text(const struct dns_message *m, unsigned type, size_t at, size_t end,
			char text[static DNS_ANSWER_TEXT])
{
	const uint8_t *data = m->data + at;
	size_t size = end - at, prefix = 0;
	int n = 0;

	switch (type) {
	case 1: /* A */
		if (size != 4)
			return false;
		*json_put_ip4(text, data) = '\0';
		return true;
	case 28: /* AAAA */
		return size == 16 && inet_ntop(AF_INET6, data, text, DNS_ANSWER_TEXT);
	case 15: /* MX */
		prefix = 2;
		if (size > prefix)
			n = snprintf(text, DNS_ANSWER_TEXT, "%u ", get16(data));
		break;
	case 33: /* SRV */
		prefix = 6;
		if (size > prefix)
			n = snprintf(text, DNS_ANSWER_TEXT, "%u %u %u ", get16(data), get16(data + 2), get16(data + 4));
		break;
	case 2:  /* NS */
	case 5:  /* CNAME */
	case 12: /* PTR */
	case 39: /* DNAME */
		break;
	case 16: /* TXT */
		return txt_text(data, size, text);
	default:
		unknown_text(data, size, text);
		return true;
	}
	if (size <= prefix)
		return false;
	at += prefix;
	return read_name(m->data, m->size, &at, text + n) && at <= end;
}

bool dns_next_answer(const struct dns_message *m, size_t *at, unsigned *left, char text[static DNS_ANSWER_TEXT])
{
	if (*left == 0 || *at == 0 || !read_name(m->data, m->size, at, NULL) || m->size - *at < 10)
		return false;
	unsigned type = get16(m->data + *at);
	size_t size = get16(m->data + *at + 8);
	*at += 10;
	if (size > m->size - *at)
		return false;
	size_t start = *at;
	*at += size;
	(*left)--;
	return answer_text(m, type, start, start + size, text);
}

void dns_type_text(unsigned type, char text[static DNS_TYPE_TEXT])
{
	static const struct {
		unsigned type;
		const char *name;
	} types[] = {
	    {1, "A"},     {2, "NS"},     {5, "CNAME"},  {6, "SOA"},    {12, "PTR"},    {13, "HINFO"}, {15, "MX"},
	    {16, "TXT"},  {28, "AAAA"},  {29, "LOC"},   {33, "SRV"},   {35, "NAPTR"},  {39, "DNAME"}, {41, "OPT"},
	    {43, "DS"},   {44, "SSHFP"}, {46, "RRSIG"}, {47, "NSEC"},  {48, "DNSKEY"}, {50, "NSEC3"}, {52, "TLSA"},
	    {64, "SVCB"}, {65, "HTTPS"}, {99, "SPF"},   {249, "TKEY"}, {250, "TSIG"},  {251, "IXFR"}, {252, "AXFR"},
	    {255, "ANY"}, {256, "URI"},  {257, "CAA"},
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		if (types[i].type == type) {
			snprintf(text, DNS_TYPE_TEXT, "%s", types[i].name);
			return;
		}
	}
	snprintf(text, DNS_TYPE_TEXT, "TYPE%u", type & 0xffff);
}

void dns_code_text(unsigned code, char text[static DNS_CODE_TEXT])
{
	static const char *const names[] = {"NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
					    "YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE"};

	if (code < ARRAY_LEN(names))
		snprintf(text, DNS_CODE_TEXT, "%s", names[code]);
	else
		snprintf(text, DNS_CODE_TEXT, "RCODE%u", code & 0xffff);
}
