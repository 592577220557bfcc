/* state.json is lost or damaged: what it said is put together again from the stored bundles, the pins and the audit log. */
#ifndef OBS_MONITOR_RECOVER_H
#define OBS_MONITOR_RECOVER_H

#include "loader/monitor/bundles.h"

enum { RECOVER_NOTE_BYTES = 1024 };

/* Nothing to do where state.json was read, or where it is missing and nothing was ever installed. Else
 *
 * - the highest serial of a name is that of its pins, of its stored bundles, or of an install that the audit log tells,
 *   whichever is highest: nothing below is accepted;
 * - what is stored is installed; of several the one that is pinned, or else the highest. Whether it runs, the gate decides as
 *   at every start. Parameters are back at their defaults;
 * - the damaged file stays as state.json.damaged, and <state>/recovered tells what happened until somebody has seen it. */
MUST_CHECK int recover_state(struct bundles *b, struct err *e);

/* What happened, for a warning; "": nothing, or somebody has seen it. */
void recover_note(const struct state *state, char note[static RECOVER_NOTE_BYTES]);
/* Somebody has seen it. */
MUST_CHECK int recover_seen(const struct state *state, struct err *e);

#endif
