/* Shared by the describe*.c files alone. */
#ifndef OBS_PACKAGER_DESCRIBE_IMPL_H
#define OBS_PACKAGER_DESCRIBE_IMPL_H

#include <bpf/btf.h>

#include "packager/packager.h"

struct field_table {
	struct manifest_field **fields;
	size_t *count;
	uint32_t record_size;
	const char *title; /* for messages: "struct exec" or "map rtt" */
	unsigned members;  /* seen so far, with those of nested structs */
};

/* Type behind typedefs, const and volatile; *id follows. */
const struct btf_type *describe_plain(const struct btf *btf, uint32_t *id);
const char *describe_text(const struct btf *btf, uint32_t offset);

/* From -2^63 to 2^64 - 1. */
struct number {
	uint64_t bits; /* two's complement where negative */
	bool negative;
};

/* A whole number: decimal, 0x, with sign and C suffixes, maybe in parentheses; or the name of an enumerator of the
 * object. False if it is neither. */
bool describe_number(const struct btf *btf, const char *text, struct number *out);
/* False: it does not fit, and *out is not it. */
bool describe_signed(const struct number *n, int64_t *out);

/* Index of an enum in the manifest, added if it is new. name: for anonymous ones. */
MUST_CHECK int describe_enum(struct describing *d, uint32_t type, const char *name, int32_t *out, struct err *e);

/* Adds all visible members of a struct, from first_member on. base: where the struct starts in the record. */
MUST_CHECK int describe_struct(struct describing *d, struct field_table *table, uint32_t type, unsigned first_member,
			       const char *prefix, uint32_t base, struct err *e);
/* Adds one field for a whole type: a map's scalar key or value. variable: BTF VAR with its tags. */
MUST_CHECK int describe_scalar(struct describing *d, const struct field_table *table, uint32_t type, uint32_t variable,
			       const char *name, struct err *e);
MUST_CHECK int describe_params(struct describing *d, struct err *e);

/* "[a-z][a-z0-9_]*", joined by dots where dots is true. */
bool describe_name_valid(const char *name, bool dots);

#endif
