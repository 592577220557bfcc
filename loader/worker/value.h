/* One value of a record: where it stands, how it is read, how it is shown. Made from a manifest's field by table.c; also
 * what conditions of requests are evaluated on. Nothing here reads past `size` bytes of `record`.
 */
#ifndef OBS_WORKER_VALUE_H
#define OBS_WORKER_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/manifest.h"
#include "loader/worker/dns.h"
#include "loader/worker/json.h"

struct kallsyms;

/* What writing needs besides the record. */
struct value_env {
	struct json_clock clock;
	const struct kallsyms *kallsyms; /* NULL: addresses are shown as numbers */
	bool dns_parsed, dns_ok;         /* of the record at hand */
	struct dns_message dns;
};

enum value_op {
	VALUE_UINT,
	VALUE_INT,
	VALUE_BOOL,
	VALUE_ENUM,
	VALUE_CHARS,
	VALUE_HEX, /* BYTES */
	VALUE_HEX_NUMBER,
	VALUE_IP,
	VALUE_MAC,
	VALUE_TIME,
	VALUE_KSTACK,
	VALUE_LOG2,
	VALUE_LINEAR,
	VALUE_DNS_NAME, /* the four values of a DNS message */
	VALUE_DNS_TYPE,
	VALUE_DNS_ANSWERS,
	VALUE_DNS_CODE,
};

struct enum_names;

struct value {
	enum value_op op;
	bool is_signed;
	bool omit_zero;
	uint32_t offset, size, count, stride; /* as in struct manifest_field, but from the start of the record */
	uint16_t bit_offset, bit_size;
	/* Where the number in use stands: bytes of a scalar, elements of an array. Size 0: none. */
	uint32_t length_offset, length_size;
	uint16_t length_bit_offset, length_bit_size;
	int64_t base, step; /* LINEAR */
	const struct enum_names *names;
};

/* Fills *v from field f, which must lie within part_size bytes, its part standing at part_offset in the record. length is
 * the field that f->length_field names, or NULL. VALUE_DNS_NAME stands for all four where f is a DNS message.
 * ERR_MANIFEST_VALUE where the field makes no sense; the caller names it. */
MUST_CHECK int value_init(struct value *v, const struct manifest_field *f, const struct manifest_field *length,
			  uint32_t part_offset, uint32_t part_size, struct err *e);

/* Most bytes that value_write may write, in a record of at most EVENT_MAX_BYTES where size is 0. */
size_t value_write_max(const struct value *v);

/* Writes the value as JSON. NULL: there is nothing to show, and nothing was written. */
char *value_write(const struct value *v, struct value_env *env, const uint8_t *record, size_t size, char *p);

/* True if it may be left out of a line. */
bool value_is_optional(const struct value *v);

/* Reading. at is the element: record + offset + index * stride. */
uint64_t value_number(const struct value *v, const uint8_t *at);     /* sign-extended where signed */
size_t value_elements(const struct value *v, const uint8_t *record); /* in use; 1 for a scalar */
size_t value_bytes(const struct value *v, const uint8_t *record, size_t size, const uint8_t *at); /* of CHARS, BYTES */
bool value_is_zero(const struct value *v, const uint8_t *record, size_t size);

/* Names of an enum, with their JSON text ready. */
MUST_CHECK int enum_names_new(const struct manifest_enum *source, struct enum_names **out, struct err *e);
void enum_names_free(struct enum_names **names);
bool enum_names_number(const struct enum_names *names, const char *name, int64_t *out); /* false: no such name */
const char *enum_names_name(const struct enum_names *names, int64_t number);            /* NULL: none */
char *enum_names_write(const struct enum_names *names, int64_t number, char *p);        /* as JSON; NULL: no name */
size_t enum_names_longest(const struct enum_names *names);                              /* bytes with quotes */
bool enum_names_signed(const struct enum_names *names);                                 /* some number is negative */

#endif
