/* Between keys/cert.c, keys/sign.c and keys/cms.c only: the OpenSSL side of certificates and keys. */
#ifndef OBS_KEYS_CERT_IMPL_H
#define OBS_KEYS_CERT_IMPL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "keys/cms.h"

/* Sets code and origin, and takes OpenSSL's error queue into the log. Returns -1. */
int x509_error(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
#ifdef __clang_analyzer__ /* sees one file at a time, and not that it always fails */
#define x509_error(...) (x509_error(__VA_ARGS__), -1)
#endif

/* Takes a reference of its own. */
MUST_CHECK int cert_from_x509(X509 *x509, struct cert **out, struct err *e);

/* Borrowed from the certificate. */
X509 *cert_x509(const struct cert *cert);
STACK_OF(X509) * cert_issuers(const struct cert *cert); /* NULL: none */

/* SHA-256 of the SubjectPublicKeyInfo, which must have one encoding only, since the digest is an identity:
 * ERR_SIGNATURE_ALGORITHM for keys that are not accepted, or are written in another form than the usual one. */
MUST_CHECK int x509_signer(X509 *x509, struct digest *out, struct err *e);
/* ERR_CERTIFICATE_MALFORMED if it cannot be described. */
MUST_CHECK int x509_info(X509 *x509, struct cert_info *out, struct err *e);

/* Chain building against the store at one time. */
struct x509_chain {
	struct digest key[ARRAY_LEN(((struct cms_signer *)NULL)->chain)];
	size_t count;
	bool leaf_trusted;           /* the store holds the leaf itself: it needs nothing above it */
	bool expired, not_yet_valid; /* of any certificate of the chain, at `now` */
	char expired_subject[256];   /* of the certificate that those speak of */
};

/* Everything but time is refused here; time is told, so that the caller may weigh it after the signature itself.
 * untrusted: certificates that came with a signature, or NULL. No chain of a trusted leaf is refused because of them, or of
 * what the store holds above it: where it does not stand with them, it is the one without. */
MUST_CHECK int trust_chain(const struct trust *trust, X509 *leaf, STACK_OF(X509) * untrusted, int64_t now,
			   struct x509_chain *out, struct err *e);
/* The chain that is the trusted leaf. */
MUST_CHECK int trust_chain_alone(const struct trust *trust, X509 *leaf, int64_t now, struct x509_chain *out,
				 struct err *e);

/* Borrowed. */
EVP_PKEY *signing_key_pkey(const struct signing_key *key);

#endif
