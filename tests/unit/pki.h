/* Keys, certificates and signatures for tests, made when they run; good and bad ones. Ends the program on failure. */
#ifndef OBS_TESTS_PKI_H
#define OBS_TESTS_PKI_H

#include <openssl/cms.h>
#include <openssl/x509.h>
#include <stdint.h>

#include "keys/cms.h"

enum { PKI_NOW = 1700000000, PKI_DAY = 86400 };

struct pki {
	X509 *x509;
	EVP_PKEY *pkey;
	struct cert *cert;
};

/* Zero and NULL mean the usual: CN=test, self-signed, P-256, valid a day around PKI_NOW, codeSigning, no CA. */
struct pki_spec {
	const char *name, *key; /* "P-256", "P-384", "P-521", "RSA-3072", "RSA-2048", "ED25519", ... */
	const struct pki *issuer, *same_key;
	int64_t not_before, not_after;
	const char *usage, *extended, *constraints; /* in OpenSSL's words; "": without that extension */
	const char *critical_oid;                   /* an unknown extension, critical */
	const char *digest;
	bool compressed_point;
};

struct pki *pki_make(struct pki_spec spec);
void pki_free(struct pki **pki);
#define OWN_PKI __attribute__((cleanup(pki_free)))

/* PEM text of the certificate or the key; the caller frees. */
char *pki_cert_pem(const struct pki *pki);
char *pki_key_pem(const struct pki *pki);

/* The key as obspkg opens it. */
struct signing_key *pki_signing_key(const struct pki *pki);

/* cms_sign with the pki's own key. */
void pki_sign(const struct pki *pki, const void *content, size_t size, uint8_t **out, size_t *out_size);
/* What OpenSSL makes of flags and digest; extra certificates may be NULL. */
void pki_sign_raw(const struct pki *pki, const struct pki *issuer, const void *content, size_t size, unsigned flags,
		  const char *digest, uint8_t **out, size_t *out_size);
void pki_encode(CMS_ContentInfo *cms, uint8_t **out, size_t *out_size);

/* A store that holds the given certificates (NULL-terminated). */
struct trust *pki_trust(const struct pki *first, ...) __attribute__((sentinel));

#endif
