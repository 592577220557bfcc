/* What a table of fields may be. The gate asks this of a manifest and the packager of what it derives, so that an author is
 * told, with file and line, what a host would refuse; and it is what the worker can show: a table that passes here never
 * costs its events there.
 */
#ifndef OBS_BUNDLES_FIELDS_H
#define OBS_BUNDLES_FIELDS_H

#include "bundles/manifest.h"

/* The fields of one struct: an event's record, or a key or a value of a map. */
struct fields_part {
	const struct manifest_field *fields;
	size_t count;
	uint64_t record_size;
	bool open_ended; /* a record may be longer than record_size */
};

struct fields_problem {
	const struct fields_part *part; /* NULL: it is about the event as a whole */
	size_t index;                   /* of the field in part */
	char text[224];                 /* what is wrong */
};

/* The first thing that is wrong with the parts that make one event; false: nothing. */
bool fields_problem(const char *event, const struct fields_part *parts, size_t part_count, const struct manifest *m,
		    struct fields_problem *out);

/* What is wrong with one field's format or name; NULL: nothing. */
const char *fields_format_problem(const struct manifest_field *f);
const char *fields_name_problem(const char *name);

/* Dotted words of [a-z0-9_]; names below "obs." are the daemon's own. */
bool fields_event_name_valid(const char *name);

/* Most bytes of the JSON that a field becomes, without its name; names: its enum, or NULL. */
size_t fields_text_max(const struct manifest_field *f, const struct manifest_enum *names);

/* What is shown of a DNS message, in place of the field that holds it: question, its type, answers, code. */
enum { FIELDS_DNS_COUNT = 4 };
extern const char *const fields_dns_names[FIELDS_DNS_COUNT];

#endif
