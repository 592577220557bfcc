/* Signing a bundle, for the commands that do. */
#ifndef OBS_PACKAGER_SIGN_H
#define OBS_PACKAGER_SIGN_H

#include "bundles/files.h"
#include "keys/cms.h"

struct signing {
	const char *key;  /* PEM file or pkcs11: URI */
	const char *cert; /* PEM file: the key's certificate, maybe followed by its issuers */
	struct passphrase pass;
};

/* The number behind --passphrase-fd. */
MUST_CHECK int signing_parse_fd(const char *text, int *out, struct err *e);

/* Adds the signature to the files, in place of one by the same signer. */
MUST_CHECK int signing_add(const struct signing *signing, struct bundle_files **files, struct digest *out_signer,
			   struct err *e);

/* The last look before a bundle is written: the gate must let it pass for a host that trusts this one certificate and
 * allows every capability. tar is what will be written. */
MUST_CHECK int signing_check(const uint8_t *tar, size_t size, const struct cert *cert, struct err *e);

#endif
