/* One event as one line for people: time, event, process, endpoints, and the rest as key=value. */
#ifndef OBS_CLIENT_PRETTY_H
#define OBS_CLIENT_PRETTY_H

#include "loader/client/term.h"

/* Columns widen as longer texts come, up to a limit, so that lines stay aligned without knowing what comes. */
struct pretty {
	struct term term;
	size_t event_columns, process_columns, endpoint_columns;
};

void pretty_init(struct pretty *p, const struct term *term);

/* line is one JSON object, with or without its newline. Everything in it is untrusted: control characters come out
 * escaped. What is no JSON object is written as it is, escaped. */
void pretty_event(struct pretty *p, FILE *f, const char *line, size_t size);

#endif
