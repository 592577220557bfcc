/* Readable forms of what the daemon answers. A member that is missing or of another type reads as empty or 0. */
#ifndef OBS_CLIENT_VIEW_H
#define OBS_CLIENT_VIEW_H

#include "bundles/base/err.h"
#include "loader/client/table.h"

struct json_t; /* jansson's */

const char *view_text(const struct json_t *object, const char *key);
uint64_t view_number(const struct json_t *object, const char *key);

/* "running" green, "partial" yellow, "refused" red, ... */
enum style view_state_style(const char *state);

/* "2026-11-22 19:04:05" in local time, from RFC 3339 text or seconds; what is neither is kept as it is. */
void view_time(const struct json_t *time, char *dst, size_t size);

/* The programs of a bundle: the array of STATUS, INSTALL and VERIFY. */
MUST_CHECK int view_programs(const struct json_t *programs, FILE *f, const struct term *term, struct err *e);

/* What INSTALL and VERIFY answer. */
MUST_CHECK int view_bundle_result(const struct json_t *answer, struct err *e);

/* Writes untrusted text to standard output, made harmless. */
void view_put(const char *text);

/* The same for the first 16 characters: enough of a digest to tell it from others, and a prefix that commands take. */
void view_put_short(const char *hex);

#endif
