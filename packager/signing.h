/* Signing a bundle, for the commands that do. */
#ifndef OBS_PACKAGER_SIGNING_H
#define OBS_PACKAGER_SIGNING_H

#include "bundles/files.h"
#include "keys/cms.h"

struct signing {
	const char *key;  /* PEM file or pkcs11: URI */
	const char *cert; /* PEM file: the key's certificate, maybe followed by its issuers */
	struct passphrase pass;
};

/* What is signed; ERR_MANIFEST_MISSING. It is the files'. */
MUST_CHECK int signing_manifest(const struct bundle_files *files, const struct bundle_file **out, struct err *e);

/* Signs and adds the signature to the files, in place of one by the same signer, whose certificate *out_cert is. */
MUST_CHECK int signing_add(const struct signing *signing, struct bundle_files **files, struct cert **out_cert,
			   struct err *e);

/* The same with a signature that was made elsewhere: a file with detached CMS in DER. */
MUST_CHECK int signing_attach(const char *path, struct bundle_files **files, struct cert **out_cert, struct err *e);

/* The last look before a bundle is written: the gate must let it pass for a host that trusts this one certificate and
 * allows every capability. tar is what will be written. */
MUST_CHECK int signing_check(const uint8_t *tar, size_t size, const struct cert *cert, struct err *e);

#endif
