/* <config>/revoked: signers and bundles that count no more, one identity of 64 hex digits a line; '#' starts a comment. An
 * identity is the SHA-256 of a key or of a manifest; no line says which, since no two things have the same. */
#ifndef OBS_MONITOR_REVOKED_H
#define OBS_MONITOR_REVOKED_H

#include "bundles/digest.h"

enum { REVOKED_NOTE_BYTES = 400 };

struct revoked_one {
	struct digest digest;
	char note[REVOKED_NOTE_BYTES]; /* the comment behind it, cut to fit; any bytes but a newline */
};

struct revoked {
	struct revoked_one *one;
	size_t count;
};

/* A missing file is an empty list. ERR_POLICY_MALFORMED names the line. */
MUST_CHECK int revoked_read(int config_fd, struct revoked *out, struct err *e);
void revoked_free(struct revoked *revoked);
const struct revoked_one *revoked_find(const struct revoked *revoked, const struct digest *digest);

/* Adds a line; takes every line of that identity away. What else is in the file stays. Atomic and durable. */
MUST_CHECK int revoked_add(int config_fd, const struct digest *digest, const char *note, struct err *e);
MUST_CHECK int revoked_drop(int config_fd, const struct digest *digest, struct err *e);

#endif
