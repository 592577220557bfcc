/* The manifest: what is in a bundle, derived by the packager, signed, and never believed before its signature holds.
 * obs-manifest(5) is the format. JSON is strict both ways: unknown keys, duplicate keys, wrong types, values out of
 * range and trailing text are errors that name the place (manifest.*).
 *
 * Strings are owned by the manifest, valid UTF-8, never NULL ("" where optional and absent). Arrays have <x>_count.
 */
#ifndef OBS_BUNDLES_MANIFEST_H
#define OBS_BUNDLES_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"
#include "bundles/digest.h"
#include "bundles/limits.h"

enum { MANIFEST_SCHEMA = 1 };

/* How a field's bytes are read. */
enum field_kind {
	FIELD_UINT,  /* 1, 2, 4 or 8 bytes, host (little-endian BPF) order; or a bit field */
	FIELD_INT,   /* the same, two's complement */
	FIELD_BOOL,  /* 1 byte or bit field; non-zero is true */
	FIELD_ENUM,  /* as UINT or INT of its size; the name from an enum table, or the number where it has none */
	FIELD_CHARS, /* text up to the first NUL or to size */
	FIELD_BYTES, /* raw bytes; format says how they are shown */
	FIELD_KIND_COUNT,
};

/* How a field is shown. Numbers stay numbers in JSON: ns and bytes only inform people. */
enum field_format {
	FORMAT_PLAIN,  /* number, bool, name, text; BYTES: hex */
	FORMAT_IP,     /* BYTES of 4 (IPv4) or 16 (IPv6; v4-mapped is shown as IPv4), network order: text */
	FORMAT_MAC,    /* BYTES of 6: "02:42:..." */
	FORMAT_PORT,   /* UINT, host order */
	FORMAT_NS,     /* UINT: a duration in nanoseconds */
	FORMAT_US,     /* UINT: a duration in microseconds */
	FORMAT_BYTES,  /* UINT: an amount of bytes */
	FORMAT_HEX,    /* BYTES: hex text; UINT: "0x..." text */
	FORMAT_TIME,   /* UINT: bpf_ktime_get_ns() value: RFC 3339 text in UTC */
	FORMAT_KSTACK, /* UINT u64 with count: kernel addresses, leaf first, 0 ends: array of "symbol+0xoff" */
	FORMAT_DNS, /* BYTES: a DNS message (RFC 1035): expands to dns.question.name, .type, dns.answers, dns.response_code */
	FORMAT_LOG2,   /* UINT with count: histogram, slot i counts values v with 2^i <= v < 2^(i+1), slot 0 also 0 */
	FORMAT_LINEAR, /* UINT with count: histogram, slot i counts base + i*step <= v < base + (i+1)*step */
	FORMAT_COUNT,
};

struct manifest_enumerator {
	char *name;
	int64_t value;
};

struct manifest_enum {
	char *name;
	struct manifest_enumerator *values;
	size_t value_count;
};

struct manifest_field {
	char *name;      /* dotted path in the event: "network.peer.port" */
	uint32_t offset; /* bytes from the start of the record, key or value */
	uint32_t size;   /* bytes of one element; 0 (BYTES only): to the end of the record */
	/* bit_size 0: no bit field. bit_offset from the least significant bit at offset. */
	uint16_t bit_offset, bit_size;
	uint32_t count;  /* elements of an array, 0: scalar */
	uint32_t stride; /* bytes between elements, where count */
	enum field_kind kind;
	enum field_format format;
	int32_t enum_index; /* into manifest.enums, -1: none */
	bool omit_zero;     /* all bytes zero: the field is left out */
	/* CHARS, BYTES, arrays: index in the same table of the UINT field that tells how many bytes (or elements) are in
	 * use; -1: none. */
	int32_t length_field;
	int64_t base, step; /* FORMAT_LINEAR */
};

/* A struct that is written to a ring. Every one starts with struct obs_header (bpf/include/obs/event.h). */
struct manifest_event {
	char *name;    /* "tcp.close" */
	char *object;  /* object whose programs send it */
	uint32_t id;   /* obs_header.event; unique in its object */
	uint32_t size; /* least bytes of a record; with a field of size 0 a record may be longer */
	struct manifest_field *fields;
	size_t field_count;
};

enum output_kind {
	OUTPUT_RING,   /* BPF_MAP_TYPE_RINGBUF of events of its object */
	OUTPUT_SAMPLE, /* a map read on an interval, one event an entry */
	OUTPUT_LOST,   /* the per-CPU array of drop counters that <obs/obs.h> declares */
	OUTPUT_KIND_COUNT,
};

struct manifest_output {
	enum output_kind kind;
	char *object, *map;
	/* OUTPUT_SAMPLE only */
	char *event;          /* name of the event that each entry becomes */
	uint32_t interval_ms; /* 100 to 3600000 */
	bool only_changed;    /* entries whose value is as at the last sample are left out */
	bool clear;           /* entries are removed (arrays: zeroed) after they are read */
	struct manifest_field *key_fields, *value_fields;
	size_t key_field_count, value_field_count;
	char *interval_param; /* parameter (u32, ms) that overrides interval_ms, or "" */
};

enum param_kind {
	PARAM_UINT,
	PARAM_INT,
	PARAM_BOOL,
	PARAM_ENUM,
	PARAM_CHARS, /* text, NUL-padded */
	PARAM_CIDR,  /* struct obs_cidr */
	PARAM_KIND_COUNT,
};

/* Where a parameter lives: the same parameter may be a variable of several objects. */
struct manifest_variable {
	char *object;
	char *map;       /* ".data.params" */
	uint32_t offset; /* in the map's only value */
};

struct manifest_param {
	char *name, *help;
	enum param_kind kind;
	uint32_t size;  /* bytes of one element */
	uint32_t count; /* capacity of a list, whose unused elements are zero; 0: scalar */
	int64_t min;    /* INT, ENUM */
	int64_t max;
	uint64_t umin, umax; /* UINT */
	int32_t enum_index;  /* PARAM_ENUM, else -1 */
	char *unit;          /* "ms", "pid", "cgroup", "port", ... for people; "" */
	uint8_t *initial;    /* size * max(count, 1) bytes: the default as it stands in the object */
	struct manifest_variable *variables;
	size_t variable_count;
};

struct manifest_program {
	char *name;     /* of the BPF function */
	char *section;  /* ELF section: "tp_btf/inet_sock_set_state" */
	char *type;     /* "tracing", "raw_tracepoint", "kprobe", ... (libbpf_bpf_prog_type_str) */
	char *attach;   /* attach kind: a word of obs-bundle(5), e.g. "tp_btf", "kprobe", "uprobe", "iter" */
	char *target;   /* "inet_sock_set_state", "/path:symbol", "", ... */
	bool required;  /* false: may be missing on this kernel, with the reason shown */
	char *group;    /* alternatives: of the programs of one group the first that works is used; "" none.
			  * A group is required if any of its programs is */
	uint32_t order; /* place in the group, 0 is best */
	char *since;    /* "6.3": the kernel it needs, for people; "" */
	char *options;  /* attach options as written by the author, "key=value key=value"; "" */
};

struct manifest_map {
	char *name, *type; /* type: libbpf_bpf_map_type_str */
	uint32_t key_size, value_size, max_entries;
};

/* Sorted, unique strings: what the code can do. Words in obs-policy(5). */
struct capabilities {
	char **word; /* "helper:map_lookup_elem", "kfunc:...", "program:tracing", "attach:tp_btf/inet_sock_set_state",
		      * "map:ringbuf", "verdict:xdp/pass", ... */
	size_t count;
};

struct manifest_object {
	char *name; /* "network": obj/<arch>/<name>.bpf.o */
	char *arch; /* "x86_64", "aarch64" */
	uint64_t size;
	struct digest digest;
	struct capabilities capabilities;
	struct manifest_program *programs;
	size_t program_count;
	struct manifest_map *maps;
	size_t map_count;
};

struct manifest_tool {
	char *name, *version;
};

struct manifest {
	char *name, *version, *description, *licence;
	uint64_t serial; /* 1 to 2^53 - 1 */
	char *created;   /* RFC 3339, UTC, seconds, from SOURCE_DATE_EPOCH */
	struct manifest_tool *toolchain;
	size_t toolchain_count;
	uint32_t kernel_major, kernel_minor; /* least kernel; 0.0: none asked */
	bool needs_btf;
	char **kernel_config; /* "CONFIG_X" */
	size_t kernel_config_count;
	struct manifest_object *objects; /* sorted by arch, then name; every arch has the same names */
	size_t object_count;
	struct manifest_enum *enums;
	size_t enum_count;
	struct manifest_event *events;
	size_t event_count;
	struct manifest_output *outputs;
	size_t output_count;
	struct manifest_param *params;
	size_t param_count;
};

/* Parses and checks everything that can be checked without the objects: grammar of names, ranges, indexes, that every
 * field lies within its record, that outputs name maps of their objects. json is borrowed. */
MUST_CHECK int manifest_parse(const uint8_t *json, size_t size, struct manifest **out, struct err *e);

/* The one form in which obspkg writes it: keys in the order of obs-manifest(5), indent 2, newline at the end.
 * Parsing it gives an equal manifest. The caller frees *out. */
MUST_CHECK int manifest_format(const struct manifest *m, char **out, size_t *out_size, struct err *e);

void manifest_free(struct manifest **m);

/* "namespace/name", each [a-z0-9][a-z0-9._-]{0,62}, no "..". */
bool manifest_name_valid(const char *name);

/* NULL if there is none. */
const struct manifest_object *manifest_object_find(const struct manifest *m, const char *arch, const char *name);
const struct manifest_map *manifest_map_find(const struct manifest_object *o, const char *name);
const struct manifest_param *manifest_param_find(const struct manifest *m, const char *name);

/* The architecture of this host's objects, as uname(2) names it, and an output's map in the one that is for it. */
const char *manifest_host_arch(void);
const struct manifest_map *manifest_output_map(const struct manifest *m, const struct manifest_output *o);

/* What is wrong with a parameter of m, its variables aside; NULL: nothing. It has a name, texts and a default. */
const char *manifest_param_problem(const struct manifest_param *p, const struct manifest *m);

/* Words of the JSON for enum field_kind, field_format, output_kind, param_kind, in order. */
extern const char *const field_kind_names[FIELD_KIND_COUNT];
extern const char *const field_format_names[FORMAT_COUNT];
extern const char *const output_kind_names[OUTPUT_KIND_COUNT];
extern const char *const param_kind_names[PARAM_KIND_COUNT];

/* Building (packager): grows *array of items of the given size by one zeroed item; returns it, or NULL with ERR_NOMEM. */
void *manifest_grow(void *array_pointer, size_t *count, size_t item_size, struct err *e);

#endif
