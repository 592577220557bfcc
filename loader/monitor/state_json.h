/* state.json as text. */
#ifndef OBS_MONITOR_STATE_JSON_H
#define OBS_MONITOR_STATE_JSON_H

#include "loader/monitor/state.h"

/* Fills an empty state. Strict: what state_format would not write is ERR_STATE_CORRUPT, another schema is
 * ERR_STATE_VERSION. On failure the caller frees what was filled in. */
MUST_CHECK int state_parse(const uint8_t *json, size_t size, struct state *state, struct err *e);
/* The caller frees *out. */
MUST_CHECK int state_format(const struct state *state, char **out, struct err *e);

#endif
