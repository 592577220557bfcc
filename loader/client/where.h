/* The request line of `obsload events` (obs-events(5)). */
#ifndef OBS_CLIENT_WHERE_H
#define OBS_CLIENT_WHERE_H

#include "loader/client/options.h"

struct json_t; /* jansson's */

/* What the daemon takes (obs-events(5)); of its 64 patterns one is obs.lost. */
enum { WHERE_MAX_LAST = 100000, WHERE_MAX_PATTERNS = 63 };

/* One --where: "field op value" as {"field", "op", "value"}. Operators as in obs-events(5); spaces around them may be
 * left out. A value that reads as a JSON number, true or false is sent as such, unless it stands in double quotes; all
 * else is text. After "in" stand values between commas, or a network such as 10.0.0.0/8. ERR_USAGE, also for a whole number
 * that 64 bits with a sign do not hold: as text it would never be equal to a number. */
MUST_CHECK int where_parse(const char *text, struct json_t **out, struct err *e);

/* The whole request from options and event patterns, with its newline; the caller frees *out. Patterns are joined by
 * obs.lost, so that losses are told whatever was asked for. ERR_USAGE past the limits above. */
MUST_CHECK int where_request(const struct options *o, int argc, char **argv, char **out, struct err *e);

#endif
