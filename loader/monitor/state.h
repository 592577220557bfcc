/* What the host remembers: <state>/state.json and the stored bundles <state>/bundles/<namespace>/<name>/<serial>.tar.
 *
 * Invariants
 * 1. state.json is replaced as a whole (file_replace_at); it alone says what is installed. A stored bundle or a pin that
 *    it does not name is left over from a crash and is removed at start.
 * 2. highest only grows, and stays after a bundle is removed: it is the memory against rollback.
 * 3. A state.json that is damaged or missing is never taken for an empty one: recover.h.
 */
#ifndef OBS_MONITOR_STATE_H
#define OBS_MONITOR_STATE_H

#include "bundles/digest.h"
#include "bundles/limits.h"
#include "keys/cms.h"

enum {
	STATE_SCHEMA = 1,
	STATE_MAX_BYTES = 16 << 20,
	STATE_MAX_NAMES = 4096,
	STATE_NAME_BYTES = 2 * MANIFEST_NAME_MAX + 2,
	STATE_VERSION_BYTES = 128,
	BOOT_ID_BYTES = 37,
	STATE_DAMAGE_BYTES = 512,
};

/* A parameter that somebody set; both texts are owned. */
struct state_param {
	char *name, *text;
};

struct state_bundle {
	char name[STATE_NAME_BYTES];
	uint64_t highest;             /* serial, 0: none yet */
	struct digest highest_digest; /* all zero: not known (it was recovered from a pin) */
	bool installed;
	/* of the installed one */
	uint64_t serial;
	struct digest digest;
	char version[STATE_VERSION_BYTES];
	int64_t installed_at; /* seconds since the epoch */
	struct digest signers[BUNDLE_MAX_SIGNATURES];
	size_t signer_count;
	struct state_param *params;
	size_t param_count;
};

struct state {
	int dir_fd;
	char boot_id[BOOT_ID_BYTES]; /* of the boot that wrote it; "": a new state */
	struct state_bundle *bundles;
	size_t count;
	/* when it was opened */
	bool missing;
	char damage[STATE_DAMAGE_BYTES]; /* why state.json cannot be understood; "": it can, or is missing */
};

#define STATE_INIT                                                                                                     \
	{                                                                                                              \
		.dir_fd = -1                                                                                           \
	}

/* Reads the folder's state.json; where it is missing or damaged, the state is empty and says so. ERR_STATE_VERSION: it is of
 * a newer obsload. */
MUST_CHECK int state_open(const char *folder, struct state *out, struct err *e);
void state_free(struct state *state);

/* Writes state.json, atomic and durable. ERR_STATE_IO; the old one then stands. */
MUST_CHECK int state_save(const struct state *state, struct err *e);

/* NULL if the name was never installed. Valid until the next state_add. */
struct state_bundle *state_find(const struct state *state, const char *name);
/* The same, added if missing. */
MUST_CHECK int state_add(struct state *state, const char *name, struct state_bundle **out, struct err *e);

/* A copy to go back to if a step fails, and going back. */
MUST_CHECK int state_bundle_copy(const struct state_bundle *from, struct state_bundle *to, struct err *e);
void state_bundle_clear(struct state_bundle *bundle);

/* Sets, replaces or (text NULL) removes a parameter. */
MUST_CHECK int state_param_set(struct state_bundle *bundle, const char *name, const char *text, struct err *e);
const char *state_param_get(const struct state_bundle *bundle, const char *name);

/* Stores a bundle's bytes; opens them; removes them (a missing one is no error), with folders that become empty. */
MUST_CHECK int state_store(const struct state *state, const char *name, uint64_t serial, const void *data, size_t size,
			   struct err *e);
MUST_CHECK int state_stored(const struct state *state, const char *name, uint64_t serial, int *out_fd, struct err *e);
MUST_CHECK int state_unstore(const struct state *state, const char *name, uint64_t serial, struct err *e);

/* Calls each() for every stored bundle; files of other names are left out. */
MUST_CHECK int state_each_stored(const struct state *state,
				 int (*each)(void *ctx, const char *name, uint64_t serial, struct err *e), void *ctx,
				 struct err *e);

/* Removes stored files that state.json does not name, and temporaries. */
MUST_CHECK int state_sweep(const struct state *state, struct err *e);

/* The running kernel's boot id. */
MUST_CHECK int state_boot_id(char out[static BOOT_ID_BYTES], struct err *e);

#endif
