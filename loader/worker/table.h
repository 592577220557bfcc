/* Turns a manifest's field table into instructions that write a record as one line of JSON:
 *
 *   {"time":"...","event":"tcp.close","bundle":"obs/network","host":"web-1","seq":17, fields nested by their dots}\n
 *
 * Fields with a common prefix share one object, wherever they stand in the table; the object stands where the first of
 * them does. Text between values is prepared, so that a line is copies of literals and values.
 *
 * Refused (ERR_MANIFEST_VALUE, with the field's name): a name that is both a value and a prefix, a name given twice, a
 * name that collides with the envelope, a field outside its record, and a table whose line could pass EVENT_LINE_MAX_BYTES.
 */
#ifndef OBS_WORKER_TABLE_H
#define OBS_WORKER_TABLE_H

#include "loader/worker/value.h"

enum {
	TABLE_MAX_RECORD = 2 * EVENT_MAX_BYTES + 16, /* a sample's header, key and value */
};

/* The fields of one struct and where in the record it stands. */
struct table_part {
	const struct manifest_field *fields;
	size_t count;
	uint32_t offset; /* added to every field's offset */
	uint32_t size;   /* bytes that it surely has */
};

struct table_source {
	const char *event;
	const char *bundle; /* NULL: no "bundle" in the envelope, and a field may be named so */
	const char *host;
	const struct manifest_enum *enums;
	size_t enum_count;
	const struct table_part *parts;
	size_t part_count;
};

struct table;

/* Nothing of source is needed afterwards. */
MUST_CHECK int table_compile(const struct table_source *source, struct table **out, struct err *e);
void table_free(struct table **t);

const char *table_event(const struct table *t);
const char *table_bundle(const struct table *t); /* NULL: none in the envelope */
const char *table_host(const struct table *t);
uint32_t table_min_size(const struct table *t); /* a shorter record cannot be decoded */
size_t table_line_max(const struct table *t);   /* bytes of the longest line, with its newline */
bool table_needs_kallsyms(const struct table *t);

/* NULL if there is no such field. The fields of a DNS message go by the four names that it expands to. */
const struct value *table_find(const struct table *t, const char *name);

/* False: bytes of the record make no sense where a field should be, which its line leaves out. */
bool table_makes_sense(const struct table *t, const uint8_t *record, size_t size);

/* Writes the line of a record that starts with struct obs_header and is of table_min_size to EVENT_MAX_BYTES bytes (or
 * TABLE_MAX_RECORD, where no field reaches to the end of the record). p has room for table_line_max + JSON_SLACK. */
char *table_format(const struct table *t, struct value_env *env, uint64_t seq, const uint8_t *record, size_t size,
		   char *p);

#endif
