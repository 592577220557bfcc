/* Detached CMS signatures (RFC 5652) over the exact bytes of a manifest. The only file with OpenSSL's CMS.
 * Accepted: DER, one SignerInfo, SHA-256 or SHA-384, RSA of at least 3072 bits or ECDSA P-256 or P-384. */
#ifndef OBS_KEYS_CMS_H
#define OBS_KEYS_CMS_H

#include "keys/cert.h"

/* Who made one good signature. */
struct cms_signer {
	struct digest signer;	    /* the leaf key: what thresholds count */
	struct digest chain[8];	    /* signer and the keys of the certificates above it, up to the trusted one */
	size_t chain_count;
	struct cert_info cert;	    /* of the leaf */
};

/* Verifies one signature against the trust store at the time `now`. Chains end at a certificate of the store (which may
 * be the leaf itself); the system's store and the network are never asked. Codes signature.*, certificate.*. */
MUST_CHECK int cms_verify(const uint8_t *der, size_t der_size, const void *content, size_t content_size,
			  const struct trust *trust, int64_t now, struct cms_signer *out, struct err *e);

/* The leaf certificate that a signature carries, unverified, for showing (obspkg inspect). */
MUST_CHECK int cms_peek(const uint8_t *der, size_t der_size, struct cert_info *out, struct err *e);

/* A private key: PEM file, or pkcs11: URI (RFC 7512) through OpenSSL's pkcs11 engine. */
struct signing_key;

/* Where a passphrase or PIN comes from: never a command line or the environment. */
struct passphrase {
	int fd;		  /* read one line from it, -1: none */
	const char *file; /* read its first line, NULL: none */
	bool ask;	  /* ask on /dev/tty if needed and neither is given */
};

MUST_CHECK int signing_key_open(const char *path_or_uri, const struct passphrase *pass, struct signing_key **out,
				struct err *e);
void signing_key_free(struct signing_key **key);

/* A new P-256 key with a self-signed certificate for code signing, valid from now for `days`. key_pem is encrypted
 * (PKCS#8, AES-256) if pass is not NULL. The caller frees both texts; the key's memory is cleansed by
 * signing_text_free. */
MUST_CHECK int signing_key_generate(const char *common_name, unsigned days, const char *pass, char **key_pem,
				    size_t *key_size, char **cert_pem, size_t *cert_size, struct err *e);
void signing_text_free(char **text, size_t size);

/* Detached DER CMS over content with signed attributes, certificate included. ERR_KEY_MISMATCH if key and cert are not
 * a pair. Deterministic given key type: no signing time is included. The caller frees *out. */
MUST_CHECK int cms_sign(const void *content, size_t content_size, const struct cert *cert,
			const struct signing_key *key, uint8_t **out, size_t *out_size, struct err *e);

#endif
