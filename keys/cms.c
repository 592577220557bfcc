#include "keys/cms.h"

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>

#include "bundles/base/text.h"
#include "bundles/limits.h"
#include "keys/cert_impl.h"

struct cms {
	CMS_ContentInfo *content;
	CMS_SignerInfo *signer; /* borrowed from it, as is the leaf */
	X509 *leaf;
	struct cert_info info; /* of the leaf */
};

void cms_free(struct cms **cms)
{
	if (!*cms)
		return;
	CMS_ContentInfo_free((*cms)->content);
	free(*cms);
	*cms = NULL;
}

static void content_free(CMS_ContentInfo **content)
{
	CMS_ContentInfo_free(*content);
	*content = NULL;
}

static void certs_free(STACK_OF(X509) * *certs)
{
	sk_X509_pop_free(*certs, X509_free);
	*certs = NULL;
}

static void bio_free(BIO **bio)
{
	BIO_free(*bio);
	*bio = NULL;
}

/* Threat: two encodings of one signature, or bytes that no reader looks at. */
static int decode(const uint8_t *der, size_t size, CMS_ContentInfo **out, struct err *e)
{
	OWN(content) CMS_ContentInfo *cms = NULL;
	OWN_FREE uint8_t *again = NULL;
	const uint8_t *p = der;

	if (size == 0 || size > BUNDLE_SIGNATURE_MAX_BYTES)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "a signature of %zu bytes", size);
	cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
	if (!cms)
		return x509_error(e, ERR_SIGNATURE_MALFORMED, "not a CMS structure");
	if (p != der + size)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "%zu bytes follow the signature", (size_t)(der + size - p));
	int n = i2d_CMS_ContentInfo(cms, &again);
	if (n < 0 || (size_t)n != size || memcmp(again, der, size) != 0)
		return x509_error(e, ERR_SIGNATURE_MALFORMED, "the signature is not in DER form");
	*out = TAKE_PTR(cms);
	return 0;
}

static bool has_crls(CMS_ContentInfo *cms)
{
	STACK_OF(X509_CRL) *crls = CMS_get1_crls(cms);
	bool some = sk_X509_CRL_num(crls) > 0;

	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return some;
}

static int check_shape(CMS_ContentInfo *cms, CMS_SignerInfo **out, struct err *e)
{
	if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "not CMS SignedData");
	if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signed content is not plain data");
	ASN1_OCTET_STRING **content = CMS_get0_content(cms);
	if (!content || *content)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signature is not detached");
	STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
	if (sk_CMS_SignerInfo_num(signers) != 1)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "%d signers in one signature",
			       sk_CMS_SignerInfo_num(signers));
	CMS_SignerInfo *signer = sk_CMS_SignerInfo_value(signers, 0);
	/* Threat: without signed attributes, a signature over attributes is also one over content of those bytes. */
	if (CMS_signed_get_attr_count(signer) <= 0)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signature has no signed attributes");
	if (CMS_unsigned_get_attr_count(signer) > 0 || has_crls(cms))
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signature carries things that nobody signed");
	*out = signer;
	return 0;
}

/* ---- what nobody signed must have one form: versions, digest algorithms, and how the signer is named ---- */

struct der {
	const uint8_t *at;
	long left;
};

/* Reads one element's head: *in becomes its content, *d goes on behind it. False, and nothing read, unless it has this
 * class and tag. */
static bool der_next(struct der *d, int class, int tag, struct der *in)
{
	const uint8_t *content = d->at;
	int found_tag, found_class;
	long size;

	if (d->left <= 0 || (ASN1_get_object(&content, &size, &found_tag, &found_class, d->left) & 0x80) ||
	    found_tag != tag || found_class != class)
		return false;
	d->left -= content + size - d->at;
	d->at = content + size;
	*in = (struct der){.at = content, .left = size};
	return true;
}

static bool der_enter(struct der *d, int class, int tag)
{
	struct der in;

	if (!der_next(d, class, tag, &in))
		return false;
	*d = in;
	return true;
}

static bool der_version(struct der *d, uint8_t version)
{
	struct der in;

	return der_next(d, V_ASN1_UNIVERSAL, V_ASN1_INTEGER, &in) && in.left == 1 && in.at[0] == version;
}

/* An element with its head. */
static bool der_whole(struct der *d, int class, int tag, struct der *whole)
{
	const uint8_t *start = d->at;
	struct der in;

	if (!der_next(d, class, tag, &in))
		return false;
	*whole = (struct der){.at = start, .left = d->at - start};
	return true;
}

/* RFC 5652, 5.1 and 5.3: both versions are 1, or 3 where the signer is named by a key identifier, and the list of digest
 * algorithms holds the signer's. OpenSSL ignores the versions, takes a list with others in it, and loses memory over one
 * that it does not know. */
static bool unsigned_right(const uint8_t *der, size_t size, bool key_id)
{
	uint8_t version = key_id ? 3 : 1;
	struct der d = {.at = der, .left = (long)size}, skipped, list, digest;
	bool head = der_enter(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE) &&
		    der_next(&d, V_ASN1_UNIVERSAL, V_ASN1_OBJECT, &skipped) &&
		    der_enter(&d, V_ASN1_CONTEXT_SPECIFIC, 0) && der_enter(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE) &&
		    der_version(&d, version) && der_next(&d, V_ASN1_UNIVERSAL, V_ASN1_SET, &list) &&
		    der_next(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE, &skipped);
	/* certificates, signerInfos; in the one of these: version, the signer's name, its digest algorithm */
	bool signer = head && der_next(&d, V_ASN1_CONTEXT_SPECIFIC, 0, &skipped) &&
		      der_enter(&d, V_ASN1_UNIVERSAL, V_ASN1_SET) && der_enter(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE) &&
		      der_version(&d, version) &&
		      (key_id ? der_next(&d, V_ASN1_CONTEXT_SPECIFIC, 0, &skipped)
			      : der_next(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE, &skipped)) &&
		      der_whole(&d, V_ASN1_UNIVERSAL, V_ASN1_SEQUENCE, &digest);

	return signer && list.left == digest.left && memcmp(list.at, digest.at, (size_t)digest.left) == 0;
}

/* OpenSSL compares names without regard to case and spaces. */
static bool names_equal(const X509_NAME *a, const X509_NAME *b)
{
	OWN_FREE uint8_t *one = NULL, *other = NULL;
	int n = i2d_X509_NAME(a, &one);

	return n > 0 && i2d_X509_NAME(b, &other) == n && memcmp(one, other, (size_t)n) == 0;
}

static int check_form(const uint8_t *der, size_t size, CMS_SignerInfo *signer, X509 *leaf, struct err *e)
{
	ASN1_OCTET_STRING *key_id = NULL;
	X509_NAME *issuer = NULL;

	if (!CMS_SignerInfo_get0_signer_id(signer, &key_id, &issuer, NULL) || (!key_id && !issuer))
		return x509_error(e, ERR_SIGNATURE_MALFORMED, "the signature does not name its signer");
	if (issuer && !names_equal(issuer, X509_get_issuer_name(leaf)))
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signature spells its signer's issuer in another way");
	if (!unsigned_right(der, size, key_id != NULL))
		return err_set(e, ERR_SIGNATURE_MALFORMED,
			       "the signature's versions or digest algorithms are not those of its form");
	return 0;
}

int cms_open(const uint8_t *der, size_t size, struct cms **out, struct err *e)
{
	OWN(cms) struct cms *cms = calloc(1, sizeof(*cms));

	if (!cms)
		return err_errno(e, ERR_NOMEM, "a signature");
	ERR_clear_error();
	if (decode(der, size, &cms->content, e) || check_shape(cms->content, &cms->signer, e))
		return -1;
	/* Binds the signer to one certificate, which is the one that CMS_verify uses then. */
	if (CMS_set1_signers_certs(cms->content, NULL, 0) < 0)
		return x509_error(e, ERR_SIGNATURE_MALFORMED, "the certificates of the signature cannot be read");
	CMS_SignerInfo_get0_algs(cms->signer, NULL, &cms->leaf, NULL, NULL);
	if (!cms->leaf)
		return err_set(e, ERR_SIGNATURE_MALFORMED, "the signature does not carry its signer's certificate");
	if (check_form(der, size, cms->signer, cms->leaf, e) || x509_info(cms->leaf, &cms->info, e))
		return -1;
	*out = TAKE_PTR(cms);
	return 0;
}

void cms_info(const struct cms *cms, struct cert_info *out)
{
	*out = cms->info;
}

int cms_cert(const struct cms *cms, struct cert **out, struct err *e)
{
	return cert_from_x509(cms->leaf, out, e);
}

static int check_algorithm(CMS_SignerInfo *signer, struct err *e)
{
	static const struct {
		int signature, digest;
	} accepted[] = {
	    {NID_rsaEncryption, NID_sha256},           {NID_rsaEncryption, NID_sha384},
	    {NID_sha256WithRSAEncryption, NID_sha256}, {NID_sha384WithRSAEncryption, NID_sha384},
	    {NID_ecdsa_with_SHA256, NID_sha256},       {NID_ecdsa_with_SHA384, NID_sha384},
	};
	const ASN1_OBJECT *digest_name, *signature_name;
	X509_ALGOR *digest, *signature;
	int digest_parameters, signature_parameters;

	CMS_SignerInfo_get0_algs(signer, NULL, NULL, &digest, &signature);
	X509_ALGOR_get0(&digest_name, &digest_parameters, NULL, digest);
	X509_ALGOR_get0(&signature_name, &signature_parameters, NULL, signature);
	int digest_nid = OBJ_obj2nid(digest_name), signature_nid = OBJ_obj2nid(signature_name);
	if ((digest_parameters != V_ASN1_UNDEF && digest_parameters != V_ASN1_NULL) ||
	    (signature_parameters != V_ASN1_UNDEF && signature_parameters != V_ASN1_NULL))
		return err_set(e, ERR_SIGNATURE_ALGORITHM, "signed with parameters that none of the algorithms has");
	for (size_t i = 0; i < ARRAY_LEN(accepted); i++)
		if (accepted[i].signature == signature_nid && accepted[i].digest == digest_nid)
			return 0;
	return err_set(e, ERR_SIGNATURE_ALGORITHM, "signed with %s over %s, which is not accepted",
		       OBJ_nid2sn(signature_nid), OBJ_nid2sn(digest_nid));
}

static int check_signature(CMS_ContentInfo *cms, const void *content, size_t size, const char *subject, struct err *e)
{
	OWN(bio) BIO *bio = BIO_new_mem_buf(size ? content : "", (int)size);

	if (!bio)
		return x509_error(e, ERR_NOMEM, "checking a signature");
	/* The certificate is judged by trust_chain, against the host's store alone. */
	if (CMS_verify(cms, NULL, NULL, bio, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY) != 1)
		return x509_error(e, ERR_SIGNATURE_INVALID, "the signature of %s is not one of this manifest", subject);
	return 0;
}

static int check_time(const struct x509_chain *chain, int64_t now, bool installed, struct err *e)
{
	char when[TEXT_TIME_BYTES];

	text_time(now, when);
	if (chain->not_yet_valid)
		return err_set(e, ERR_CERTIFICATE_NOT_YET_VALID, "%s is not valid yet at %s", chain->expired_subject,
			       when);
	if (chain->expired && !installed)
		return err_set(e, ERR_CERTIFICATE_EXPIRED, "%s has expired at %s", chain->expired_subject, when);
	return 0;
}

static bool is_late(const struct x509_chain *chain, bool installed)
{
	return chain->not_yet_valid || (chain->expired && !installed);
}

/* A trusted leaf whose chain is late because of certificates above it is one without them: without those that only came along,
 * and else without any. */
static int leave_out_late(const struct cms *cms, const struct trust *trust, int64_t now, bool installed,
			  struct x509_chain *chain, struct err *e)
{
	if (!is_late(chain, installed) || !chain->leaf_trusted)
		return 0;
	if (trust_chain(trust, cms->leaf, NULL, now, chain, e))
		return -1;
	return is_late(chain, installed) ? trust_chain_alone(trust, cms->leaf, now, chain, e) : 0;
}

static int verify(struct cms *cms, const void *content, size_t size, const struct trust *trust, int64_t now,
		  bool installed, struct cms_signer *out, struct err *e)
{
	OWN(certs) STACK_OF(X509) *certs = NULL;
	const char *subject = cms->info.subject;
	struct cms_signer found = {.cert = cms->info};
	struct x509_chain chain;

	if (size > BUNDLE_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "signed content of %zu bytes", size);
	if (trust_revoked(trust, &cms->info.signer))
		return err_set(e, ERR_CERTIFICATE_REVOKED, "%s is revoked", subject);
	ERR_clear_error();
	certs = CMS_get1_certs(cms->content);
	if (trust_chain(trust, cms->leaf, certs, now, &chain, e) || check_algorithm(cms->signer, e) ||
	    check_signature(cms->content, content, size, subject, e))
		return -1;
	for (size_t i = 0; i < chain.count; i++)
		if (trust_revoked(trust, &chain.key[i]))
			return err_set(e, ERR_CERTIFICATE_REVOKED, "an issuer of %s is revoked", subject);
	if (leave_out_late(cms, trust, now, installed, &chain, e) || check_time(&chain, now, installed, e))
		return -1;
	found.signer = chain.key[0];
	found.chain_count = chain.count;
	memcpy(found.chain, chain.key, sizeof(found.chain));
	*out = found;
	return 0;
}

int cms_verify(struct cms *cms, const void *content, size_t size, const struct trust *trust, int64_t now,
	       struct cms_signer *out, struct err *e)
{
	return verify(cms, content, size, trust, now, false, out, e);
}

int cms_verify_installed(struct cms *cms, const void *content, size_t size, const struct trust *trust, int64_t now,
			 struct cms_signer *out, struct err *e)
{
	return verify(cms, content, size, trust, now, true, out, e);
}

static int encode(CMS_ContentInfo *cms, uint8_t **out, size_t *out_size, struct err *e)
{
	OWN_FREE uint8_t *der = NULL;
	int n = i2d_CMS_ContentInfo(cms, &der);

	if (n <= 0)
		return x509_error(e, ERR_INTERNAL, "encoding a signature");
	if (n > BUNDLE_SIGNATURE_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "a signature of %d bytes: send fewer certificates along", n);
	*out = TAKE_PTR(der);
	*out_size = (size_t)n;
	return 0;
}

int cms_sign(const void *content, size_t content_size, const struct cert *cert, const struct signing_key *key,
	     uint8_t **out, size_t *out_size, struct err *e)
{
	static const unsigned flags = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP | CMS_PARTIAL;
	OWN(content) CMS_ContentInfo *cms = NULL;
	OWN(bio) BIO *bio = NULL;
	struct digest signer;
	struct cert_info info;
	X509 *x509 = cert_x509(cert);
	EVP_PKEY *pkey = signing_key_pkey(key);

	ERR_clear_error();
	cert_info(cert, &info);
	if (content_size > BUNDLE_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "content of %zu bytes", content_size);
	if (!X509_check_private_key(x509, pkey))
		return x509_error(e, ERR_KEY_MISMATCH, "the key is not that of %s", info.subject);
	if (x509_signer(x509, &signer, e))
		return err_wrap(e, "%s", info.subject);
	bio = BIO_new_mem_buf(content_size ? content : "", (int)content_size);
	cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
	if (!bio || !cms)
		return x509_error(e, ERR_NOMEM, "signing");
	const EVP_MD *md = strcmp(info.algorithm, "ec-p384") == 0 ? EVP_sha384() : EVP_sha256();
	if (!CMS_add1_signer(cms, x509, pkey, md, flags))
		return x509_error(e, ERR_KEY_UNREADABLE, "the key of %s does not sign", info.subject);
	for (int i = 0; i < sk_X509_num(cert_issuers(cert)); i++)
		if (!CMS_add1_cert(cms, sk_X509_value(cert_issuers(cert), i)))
			return x509_error(e, ERR_CERTIFICATE_MALFORMED, "%s: an issuer's certificate", info.subject);
	if (!CMS_final(cms, bio, NULL, flags))
		return x509_error(e, ERR_KEY_UNREADABLE, "the key of %s does not sign", info.subject);
	return encode(cms, out, out_size, e);
}
