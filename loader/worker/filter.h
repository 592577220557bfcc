/* The conditions of one request, compiled for the records of one event: evaluated on raw records, before any formatting.
 *
 * An event without the field does not match, except by !=. An array matches if any element does (!=: if none is equal).
 * The envelope's texts are decided when compiling, seq is a number like others.
 * Types that cannot be compared (a number with a text field) are as a field that is not there.
 */
#ifndef OBS_WORKER_FILTER_H
#define OBS_WORKER_FILTER_H

#include "loader/worker/request.h"
#include "loader/worker/table.h"

struct filter;

/* Both are borrowed and must outlive *out. *out is NULL where every record of the event matches; *never is true, and
 * *out NULL, where none can. */
MUST_CHECK int filter_compile(const struct request *r, const struct table *t, struct filter **out, bool *never,
			      struct err *e);
void filter_free(struct filter **f);

/* record: at least table_min_size bytes; seq: its number in the stream. */
bool filter_matches(const struct filter *f, uint64_t seq, const uint8_t *record, size_t size);

#endif
