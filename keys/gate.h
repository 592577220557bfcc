/* The gate: the one function that turns bytes into a struct verified_bundle. Nothing else can make one, and every
 * function that touches the kernel takes one. Steps 3 to 7 of the design, in that order; step 1 and 2 (sealed file,
 * unprivileged unpacking) are the caller's, step 8 (this kernel) is the monitor's. */
#ifndef OBS_KEYS_GATE_H
#define OBS_KEYS_GATE_H

#include "bundles/files.h"
#include "bundles/manifest.h"
#include "keys/cms.h"
#include "keys/policy.h"

struct verified_bundle; /* immutable */

struct gate {
	const struct trust *trust;
	/* NULL: obspkg verify, where any trusted signer is enough and only the default capabilities hold. */
	const struct policy *policy;
	int64_t now; /* seconds since the epoch */
	/* Bundles that were installed before: signatures hold, certificates may have expired since. Revocation still
	 * counts. */
	bool installed;
	/* Step 6, the host's rollback memory; NULL: no host. */
	int (*serial)(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e);
	void *serial_ctx;
};

/* A signature that does not count: its signer is unknown here, revoked, expired, ... Its file name is the signer, which
 * is proven for none of these. */
struct gate_aside {
	struct digest signer;
	enum err_code code;
};

/* Takes files over on success. What was decided until a refusal (signers, name) is in *seen for the audit, which may be
 * NULL, and is set whatever fails; seen->name only after a signature held.
 *
 * Several signatures: one that does not count (signature.untrusted and .algorithm, certificate.expired, .not_yet_valid,
 * .usage and .revoked) is set aside, and the others decide; if none is left, the refusal has the gravest of their codes.
 * One that is malformed, or misnamed, or a trusted signer's and not of this manifest, refuses the bundle whatever the
 * others say. */
struct gate_seen {
	struct digest manifest;
	bool manifest_known;
	struct cms_signer signers[BUNDLE_MAX_SIGNATURES];
	size_t signer_count;
	struct gate_aside aside[BUNDLE_MAX_SIGNATURES];
	size_t aside_count;
	char name[2 * MANIFEST_NAME_MAX + 2];
	uint64_t serial;
};

MUST_CHECK int gate_verify(const struct gate *gate, struct bundle_files **files, struct verified_bundle **out,
			   struct gate_seen *seen, struct err *e);
void verified_bundle_free(struct verified_bundle **bundle);

const struct manifest *verified_manifest(const struct verified_bundle *bundle);
const struct digest *verified_digest(const struct verified_bundle *bundle); /* SHA-256 of the manifest's bytes */
const struct bundle_file *verified_manifest_file(const struct verified_bundle *bundle);
const struct bundle_file *verified_object(const struct verified_bundle *bundle, const struct manifest_object *object);
size_t verified_signers(const struct verified_bundle *bundle, const struct cms_signer **out);

#endif
