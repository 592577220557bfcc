/* `obsload revoke`: signers and bundles that count no more on this host. */
#ifndef OBS_MONITOR_REVOKE_H
#define OBS_MONITOR_REVOKE_H

#include "loader/monitor/bundles.h"

enum { REVOKE_WHAT_BYTES = 320 };

/* One bundle that the revoked thing was part of, or that was refused and may run again. */
struct revoke_effect {
	char name[STATE_NAME_BYTES];
	bool runs;
};

struct revoke_result {
	struct digest digest;
	char what[REVOKE_WHAT_BYTES]; /* "signer CN=ci", "bundle obs/network, serial 3", "not known here" */
	bool changed;                 /* false: it was revoked before */
	struct revoke_effect effect[BUNDLES_MAX];
	size_t effect_count;
};

/* What: the signer of a PEM certificate (text is ""), or an identity of 64 hex digits, or at least 8 of those of something
 * that is known here: a signer, or an installed bundle by its digest.
 * On the disk first, so that a crash leaves the rest to the next start; then what runs from it is judged again, and detached
 * unless other signers are enough for it. ERR_TRUST_UNKNOWN; an error after it took effect says so. */
MUST_CHECK int revoke_add(struct bundles *b, const struct bundles_request *request, const char *text, int pem_fd,
			  struct revoke_result *out, struct err *e);
/* The other way round: what was refused is judged again, and runs if nothing else is against it. */
MUST_CHECK int revoke_undo(struct bundles *b, const struct bundles_request *request, const char *text, int pem_fd,
			   struct revoke_result *out, struct err *e);

#endif
