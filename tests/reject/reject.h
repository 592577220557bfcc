/* Whole bundles, each with one broken thing, named after the code that it must give. One list for both ways to look at
 * them: through the gate in one process (tests/unit/reject_test.c), and written to files for a daemon
 * (tests/e2e/reject.sh). Keys are made anew each time. */
#ifndef OBS_TESTS_REJECT_REJECT_H
#define OBS_TESTS_REJECT_REJECT_H

#include "keys/policy.h"
#include "tests/unit/gate_fixture.h"

struct reject {
	/* ERR_NONE: at a limit, and accepted. */
	void (*take)(struct reject *r, enum err_code code, const char *name, const uint8_t *tar, size_t size);
	bool host; /* fewer of those that differ only a little */
};

/* Signers, objects, and what a host trusts and grants: obs/... to any one of the trusted signers, two/... to two of them,
 * bob/... to bob alone, and oth/... to nobody. */
void reject_setup(int64_t now);
void reject_teardown(void);
extern struct trust *reject_trust;
extern struct pki *reject_rsa, *reject_leaf; /* good signers of other kinds than alice */
/* policy.json; the caller frees. */
char *reject_policy(void);
/* Gives each trusted certificate, and each signer that was revoked. */
void reject_trusted(void (*give)(void *ctx, const char *name, const struct pki *signer, bool revoked), void *ctx);

void reject_archives(struct reject *r);
void reject_signatures(struct reject *r);
void reject_manifests(struct reject *r);
void reject_objects(struct reject *r);
void reject_policies(struct reject *r);
void reject_limits(struct reject *r);
void reject_manifest_limits(struct reject *r);
void reject_host(struct reject *r); /* for a host where the good bundle has serial 6 */

/* Assembles p and gives it. */
void refuse(struct reject *r, enum err_code code, const char *name, struct parts p);
void refuse_files(struct reject *r, enum err_code code, const char *name, const struct bundle_files *files);

#define SIGNERS(...) ((struct pki *const[]){__VA_ARGS__, NULL})

#endif
