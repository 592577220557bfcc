/* A subscriber's request: one line of JSON, obs-events(5). Strict: unknown keys, duplicate keys, wrong types and values
 * out of range are request.invalid with the place.
 */
#ifndef OBS_WORKER_REQUEST_H
#define OBS_WORKER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

enum {
	REQUEST_MAX_BYTES = 64 << 10,
	REQUEST_MAX_PATTERNS = 64, /* in "events", and in "bundles" */
	REQUEST_MAX_CONDITIONS = 32,
	/* In all conditions: what each record may cost. */
	REQUEST_MAX_VALUES = 256,
	REQUEST_MAX_GLOBS = 1024, /* bytes of the patterns of "~" */
	REQUEST_MAX_TEXT = 1024,
	REQUEST_MAX_SAMPLE = 1000000,
	REQUEST_MAX_LAST = 100000,
};

enum request_op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_GLOB, OP_IN };

enum operand_kind { OPERAND_INT, OPERAND_REAL, OPERAND_BOOL, OPERAND_TEXT };

struct operand {
	enum operand_kind kind;
	int64_t integer;
	double real;
	bool boolean;
	char *text;
	size_t text_size;
	/* Of a text that is an address or a network in CIDR form; IPv4 as v4-mapped, prefix counted from 96. */
	bool is_network;
	uint8_t address[16];
	uint8_t prefix_len;
};

struct condition {
	char *field;
	enum request_op op;
	struct operand *values; /* more than one only for OP_IN */
	size_t value_count;
};

struct request {
	char **events; /* glob patterns; none: all */
	size_t event_count;
	char **bundles;
	size_t bundle_count;
	struct condition *conditions; /* all must hold */
	size_t condition_count;
	uint32_t sample; /* one of so many; 1: all */
	uint32_t last;   /* so many recent events first */
};

/* line: without its newline, borrowed. */
MUST_CHECK int request_parse(const char *line, size_t size, struct request **out, struct err *e);
void request_free(struct request **r);

bool request_wants_event(const struct request *r, const char *event);
bool request_wants_bundle(const struct request *r, const char *bundle);

/* `*` any bytes, `?` one byte, everything else itself. Takes time of at most pattern times text. */
bool request_glob(const char *pattern, const char *text, size_t text_size);

#endif
