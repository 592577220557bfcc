/* How structs of the manifest stand in JSON, told once by tables: parsing, formatting and freeing follow the same table,
 * so that they cannot disagree. Inside of the manifest module only.
 *
 * Parsing is strict about form (codes manifest.syntax, manifest.unknown_key) and about the bounds in the table
 * (manifest.value); what values mean together is manifest_check's.
 */
#ifndef OBS_BUNDLES_MANIFEST_IMPL_H
#define OBS_BUNDLES_MANIFEST_IMPL_H

#include "bundles/manifest.h"

struct json_t; /* jansson's */

/* A place in the JSON, on the stack of those who walk through it: "objects[0].programs[2].section". */
struct place {
	const struct place *up; /* NULL: the top */
	const char *key;        /* NULL: an element of an array */
	size_t index;
};

enum { PLACE_BYTES = 192 };

const char *manifest_place_text(const struct place *at, char text[static PLACE_BYTES]);

/* err_set with the place in front. */
int manifest_place_error(const struct place *at, struct err *e, enum err_code code, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* manifest.syntax: the value is of another type than wanted. */
int manifest_type_error(const struct json_t *value, const struct place *at, const char *wanted, struct err *e);

/* What a hook sees. Items are parsed in the order of their table: earlier ones of base and m are there. */
struct item_hooks {
	/* value is NULL where the key is absent. */
	int (*parse)(struct json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e);
	/* A new reference, or NULL in *out to leave the key out; -1: no memory. */
	int (*format)(const void *base, const struct manifest *m, struct json_t **out);
	void (*release)(void *base); /* or NULL */
};

enum item_type {
	ITEM_TEXT,   /* char *; min and max bytes; no control characters */
	ITEM_TEXTS,  /* char **; min and max elements, each of 1 to width bytes */
	ITEM_UINT,   /* uint16_t, uint32_t or uint64_t by width */
	ITEM_INT,    /* int32_t or int64_t by width */
	ITEM_BOOL,   /* bool */
	ITEM_WORD,   /* an enum, by name */
	ITEM_DIGEST, /* struct digest, hex */
	ITEM_SHAPES, /* array of structs of another shape; min and max elements */
	ITEM_HOOKS,
};

/* One key. Without `required` it is left out, both ways, where the value is empty, zero, or equal to fallback. */
struct item {
	const char *key;
	enum item_type type;
	bool required;
	size_t offset, count_offset, width;
	uint64_t min, max;
	int64_t fallback; /* ITEM_INT, ITEM_BOOL, ITEM_WORD */
	const char *const *words;
	const struct shape *shape;
	const struct item_hooks *hooks;
};

struct shape {
	size_t size;
	const struct item *items;
	size_t item_count;
};

/* base is zeroed memory; on failure it may be half filled, and manifest_shape_free frees it either way. */
MUST_CHECK int manifest_shape_parse(const struct shape *shape, struct json_t *json, void *base, const struct place *at,
				    const struct manifest *m, struct err *e);
/* The bounds of the table, for structs that were not parsed. Hooks are manifest_check's. */
MUST_CHECK int manifest_shape_check(const struct shape *shape, const void *base, const struct place *at, struct err *e);
/* A new reference in *out. Fails for want of memory only: base passed manifest_check. */
MUST_CHECK int manifest_shape_format(const struct shape *shape, const void *base, const struct manifest *m,
				     struct json_t **out);
void manifest_shape_free(const struct shape *shape, void *base);

/* Whole numbers: a JSON number up to 2^53 - 1 in magnitude, which every reader of JSON keeps exact; beyond that, the
 * decimal digits as a string. Each number has one form only. */
MUST_CHECK int manifest_number_unsigned(struct json_t *value, const struct place *at, uint64_t *out, struct err *e);
MUST_CHECK int manifest_number_signed(struct json_t *value, const struct place *at, int64_t *out, struct err *e);
struct json_t *manifest_number_of_unsigned(uint64_t value);
struct json_t *manifest_number_of_signed(int64_t value);

/* Text of min to max bytes without control characters; borrowed from value. */
MUST_CHECK int manifest_text_parse(struct json_t *value, const struct place *at, size_t min, size_t max,
				   const char **out, struct err *e);

/* The shape of struct manifest without its "schema". */
extern const struct shape manifest_shape;

/* What the values mean together (manifest.value). Takes any manifest, also one that was not parsed: NULL strings are
 * errors, not crashes. */
MUST_CHECK int manifest_check(const struct manifest *m, struct err *e);

/* Text that a manifest may hold: valid UTF-8 without control characters, min to max bytes. */
bool manifest_text_valid(const char *text, size_t min, size_t max);

/* JSON with indent 2, where what fits on a line of 120 columns stands on one. *out is the caller's. */
MUST_CHECK int manifest_print(struct json_t *json, char **out, size_t *out_size, struct err *e);

/* "min", "max" and "default" of a parameter, whose form follows its kind. */
extern const struct item_hooks manifest_param_min, manifest_param_max, manifest_param_default;

/* Bytes that a parameter's elements take. */
size_t manifest_param_bytes(const struct manifest_param *p);
/* Whether an element may hold these bytes: within bounds, one of its enumerators, well-formed text. */
bool manifest_element_valid(const struct manifest_param *p, const struct manifest *m, const uint8_t *element);

/* A network as text, "10.0.0.0/8" or "2001:db8::/32"; false if it has no such text. */
enum { CIDR_BYTES = 24, CIDR_TEXT_BYTES = 64 };
bool manifest_cidr_format(const uint8_t cidr[static CIDR_BYTES], char text[static CIDR_TEXT_BYTES]);
bool manifest_cidr_parse(const char *text, uint8_t cidr[static CIDR_BYTES]);

#endif
