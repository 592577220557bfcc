/* policy.json: the host's own word (obs-policy(5)). Which signers may sign which names, how many are needed, and what
 * their programs may do.
 *
 *   {"schema": 1,
 *    "grants": [{"names": ["obs/net-*"], "signers": ["<64 hex>", ...], "threshold": 1,
 *                "capabilities": {"allow": ["helper:send_signal"], "deny": ["program:xdp"]}}],
 *    "capabilities": {"allow": [...], "deny": [...]}}
 *
 * Patterns are globs: '*' matches any run of characters, also none. A name is admitted by any one grant whose names
 * match and of whose signers at least `threshold` distinct ones signed. A capability is refused if any deny (global or
 * of that grant) matches it; else admitted if an allow (default list, global or of that grant) matches. */
#ifndef OBS_KEYS_POLICY_H
#define OBS_KEYS_POLICY_H

#include <stdint.h>

#include "bundles/manifest.h"
#include "keys/cms.h"

struct policy;

enum { POLICY_MAX_BYTES = 1 << 20 }; /* of policy.json */

/* Where no grant applies: the capabilities of the policy itself. */
#define POLICY_NO_GRANT SIZE_MAX

/* The policy of a host without a policy.json: no grants, the default capabilities. */
MUST_CHECK int policy_default(struct policy **out, struct err *e);
MUST_CHECK int policy_parse(const uint8_t *json, size_t size, struct policy **out, struct err *e);
/* The file at dir_fd/path; the default if it does not exist. */
MUST_CHECK int policy_load(int dir_fd, const char *path, struct policy **out, struct err *e);
/* ERR_LIMIT: it would be too large to be read. */
MUST_CHECK int policy_format(const struct policy *policy, char **out, size_t *out_size, struct err *e);
void policy_free(struct policy **policy);

/* Editing, for `obsload trust add|remove`: grants one signer a name pattern (threshold 1; merged with a grant of the same
 * signer and threshold; *changed is false where that one has it already); removes a signer from every grant, and grants left
 * without signers. */
MUST_CHECK int policy_grant(struct policy *policy, const char *name_pattern, const struct digest *signer, bool *changed,
			    struct err *e);
MUST_CHECK int policy_ungrant(struct policy *policy, const struct digest *signer, struct err *e);
/* The patterns granted to a signer, joined with ", " into dst, cut where it is full: for people. */
void policy_names_of(const struct policy *policy, const struct digest *signer, char *dst, size_t size);

/* Gate step 5: index of the first grant that admits this name for these signers in *out_grant. A signer is granted if the
 * grant lists its key or one above it in its chain; what counts are distinct leaf keys.
 * ERR_POLICY_NAME (nobody may sign it, or none of those who did), ERR_POLICY_THRESHOLD (too few of those who may). */
MUST_CHECK int policy_admit(const struct policy *policy, const char *name, const struct cms_signer *signers,
			    size_t signer_count, size_t *out_grant, struct err *e);

/* Gate step 7: ERR_CAPABILITY_REFUSED naming the first refused word. */
MUST_CHECK int policy_capabilities(const struct policy *policy, size_t grant, const struct capabilities *caps,
				   struct err *e);

/* The default allow list: what observing needs. NULL-terminated glob patterns. */
extern const char *const policy_default_allow[];

#endif
