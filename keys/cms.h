/* Detached CMS signatures (RFC 5652) over the exact bytes of a manifest. The only file with OpenSSL's CMS.
 * Accepted: DER with nothing behind it, one SignerInfo with signed attributes and its certificate, no unsigned attribute
 * and no CRL, SHA-256 or SHA-384, RSA of 3072 to 8192 bits (PKCS #1 v1.5) or ECDSA P-256 or P-384. */
#ifndef OBS_KEYS_CMS_H
#define OBS_KEYS_CMS_H

#include "keys/cert.h"

/* Who made one good signature. */
struct cms_signer {
	struct digest signer;   /* the leaf key: what thresholds count */
	struct digest chain[8]; /* signer and the keys of the certificates above it, up to the trusted one */
	size_t chain_count;
	struct cert_info cert; /* of the leaf */
};

/* One signature in the form above. Nothing of it is verified yet. */
struct cms;

/* ERR_SIGNATURE_MALFORMED        not the form above
 * ERR_CERTIFICATE_MALFORMED      its leaf certificate cannot be read
 */
MUST_CHECK int cms_open(const uint8_t *der, size_t size, struct cms **out, struct err *e);
void cms_free(struct cms **cms);

/* Of the leaf certificate, which anyone may have put there: for showing, and for the name of a signature's file. */
void cms_info(const struct cms *cms, struct cert_info *out);
/* The same certificate itself, also unverified: for attaching a signature that was made elsewhere. */
MUST_CHECK int cms_cert(const struct cms *cms, struct cert **out, struct err *e);

/* Verifies it against the trust store at the time `now`. Chains end at a certificate of the store (which may be the
 * leaf itself); the system's store and the network are never asked. The first of these that is so is told:
 *
 *   ERR_CERTIFICATE_MALFORMED      a certificate cannot be read
 *   ERR_CERTIFICATE_REVOKED        the leaf key is revoked
 *   ERR_SIGNATURE_UNTRUSTED        no chain to the store
 *   ERR_SIGNATURE_ALGORITHM        key or digest of the signature or of its chain is not accepted
 *   ERR_CERTIFICATE_USAGE          leaf without codeSigning, or an issuer that may not issue it
 *   ERR_SIGNATURE_INVALID          it is not a signature of this content by this key
 *   ERR_CERTIFICATE_REVOKED        a key above the leaf is revoked
 *   ERR_CERTIFICATE_NOT_YET_VALID, ERR_CERTIFICATE_EXPIRED   of any certificate of the chain
 */
MUST_CHECK int cms_verify(struct cms *cms, const void *content, size_t size, const struct trust *trust, int64_t now,
			  struct cms_signer *out, struct err *e);

/* The same for what was installed while its certificates were valid: they may have expired since. */
MUST_CHECK int cms_verify_installed(struct cms *cms, const void *content, size_t size, const struct trust *trust,
				    int64_t now, struct cms_signer *out, struct err *e);

/* A private key: PEM file, or pkcs11: URI (RFC 7512) through OpenSSL's pkcs11 engine. */
struct signing_key;

/* Where a passphrase or PIN comes from: never a command line or the environment. */
struct passphrase {
	int fd;           /* read one line from it, -1: none */
	const char *file; /* read its first line, NULL: none */
	bool ask;         /* ask on /dev/tty if needed and neither is given */
};

/* The passphrase itself, for writing an encrypted key; *out is NULL if none is given. signing_text_free frees it. */
MUST_CHECK int passphrase_read(const struct passphrase *pass, char **out, size_t *out_size, struct err *e);

MUST_CHECK int signing_key_open(const char *path_or_uri, const struct passphrase *pass, struct signing_key **out,
				struct err *e);
void signing_key_free(struct signing_key **key);

/* A new P-256 key with a self-signed certificate for code signing, valid for `days` from ten minutes ago, since clocks
 * differ. common_name: 1 to 64 characters of UTF-8 without control characters; days: 1 to 36500. key_pem is encrypted
 * (PKCS#8, AES-256) if pass is not NULL. The caller frees both texts; the key's memory is cleansed by
 * signing_text_free. */
MUST_CHECK int signing_key_generate(const char *common_name, unsigned days, const char *pass, char **key_pem,
				    size_t *key_size, char **cert_pem, size_t *cert_size, struct err *e);
void signing_text_free(char **text, size_t size);

/* Detached DER CMS over content with signed attributes, certificate (and its issuers, if it was read with them) included.
 * ERR_KEY_MISMATCH if key and cert are not a pair. OpenSSL states the signing time, which nobody vouches for and nothing
 * reads. The caller frees *out. */
MUST_CHECK int cms_sign(const void *content, size_t content_size, const struct cert *cert,
			const struct signing_key *key, uint8_t **out, size_t *out_size, struct err *e);

#endif
