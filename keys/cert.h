/* Certificates and the host's trust store. A signer is the public key of a certificate: the SHA-256 of its
 * SubjectPublicKeyInfo (RFC 5280). No OpenSSL type leaves this module. */
#ifndef OBS_KEYS_CERT_H
#define OBS_KEYS_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"
#include "bundles/digest.h"

enum { CERT_PEM_MAX_BYTES = 64 << 10 }; /* of a file with certificates */

struct cert; /* one certificate */

/* Exactly one certificate; text and other PEM blocks around it are skipped. ERR_CERTIFICATE_MALFORMED. */
MUST_CHECK int cert_from_pem(const uint8_t *pem, size_t size, struct cert **out, struct err *e);
/* The first certificate with those that follow it, which are its issuers: cms_sign sends them along, so that a host that
 * trusts only the root can build the chain. At most 8 in all. */
MUST_CHECK int cert_chain_from_pem(const uint8_t *pem, size_t size, struct cert **out, struct err *e);
void cert_free(struct cert **cert);

struct cert_info {
	struct digest signer;          /* SHA-256 of the SubjectPublicKeyInfo */
	struct digest digest;          /* SHA-256 of the DER certificate */
	char subject[256];             /* RFC 2253, made printable */
	char algorithm[32];            /* "ec-p256", "ec-p384", "rsa-3072", ... */
	int64_t not_before, not_after; /* seconds since the epoch, UTC */
	bool code_signing;             /* extended key usage has codeSigning */
	bool ca;
};

void cert_info(const struct cert *cert, struct cert_info *out);
/* PEM text of the certificate; the caller frees *out. */
MUST_CHECK int cert_to_pem(const struct cert *cert, char **out, size_t *out_size, struct err *e);

struct trust; /* the certificates that a host trusts, and what it has revoked */

/* First of all uses of OpenSSL, in a process that only verifies: no openssl.cnf is read, neither the host's nor one that
 * the environment names, since it can put other code in the place of every algorithm. (Signing reads it: tokens may need
 * what it says.) */
MUST_CHECK int trust_no_config(struct err *e);

MUST_CHECK int trust_new(struct trust **out, struct err *e);
void trust_free(struct trust **trust);
/* The same certificate twice counts once. */
MUST_CHECK int trust_add(struct trust *trust, const struct cert *cert, struct err *e);
/* A signature whose chain has this key, as signer or as issuer, does not count any more, and a manifest of this digest is
 * refused whoever signed it: an identity is of one or the other. What is there already counts once. */
MUST_CHECK int trust_revoke(struct trust *trust, const struct digest *identities, size_t count, struct err *e);
bool trust_revoked(const struct trust *trust, const struct digest *identity);
/* Every *.pem of the folder, in the order of their names; a file that is no certificate is an error naming it. A folder
 * that does not exist is an empty store. */
MUST_CHECK int trust_load(int dir_fd, const char *folder, struct trust **out, struct err *e);
size_t trust_count(const struct trust *trust);
const struct cert *trust_at(const struct trust *trust, size_t i);

#endif
