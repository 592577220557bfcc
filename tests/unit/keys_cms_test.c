#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/limits.h"
#include "tests/unit/pki.h"

static const char content[] = "{\"schema\": 1}\n";
enum { CONTENT = sizeof(content) - 1, RAW = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP };

static struct err e;
static struct cms_signer seen;

#define OWN_TRUST OWN(trust) struct trust *

static int verify(const uint8_t *der, size_t size, const struct trust *trust, int64_t now)
{
	OWN(cms) struct cms *cms = NULL;

	return cms_open(der, size, &cms, &e) ? -1 : cms_verify(cms, content, CONTENT, trust, now, &seen, &e);
}

/* Verifies and compares the code; on failure *out must be as before. */
static void expect(enum err_code code, const uint8_t *der, size_t size, const struct trust *trust, int64_t now)
{
	struct cms_signer before;

	memset(&seen, 0x5a, sizeof(seen));
	before = seen;
	e = (struct err)ERR_INIT;
	int rc = verify(der, size, trust, now);
	if (e.code != code) {
		char text[2048];
		fail_msg("expected %s, got %s: %s\n%s", err_name(code), err_name(e.code),
			 err_text(&e, text, sizeof(text)), e.log);
	}
	assert_int_equal(rc, code ? -1 : 0);
	if (code)
		assert_memory_equal(&seen, &before, sizeof(seen));
	assert_int_equal(ERR_peek_error(), 0);
}

static void expect_of(enum err_code code, const struct pki *signer, const struct pki *sent, const struct trust *trust)
{
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	pki_sign_raw(signer, sent, content, CONTENT, RAW, "SHA256", &der, &size);
	expect(code, der, size, trust, PKI_NOW);
}

static void verify_trusted_leaf_accepted(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "alice"});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	struct cert_info info;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	expect(ERR_NONE, der, size, trust, PKI_NOW);
	cert_info(a->cert, &info);
	assert_true(digest_equal(&seen.signer, &info.signer));
	assert_int_equal(seen.chain_count, 1);
	assert_true(digest_equal(&seen.chain[0], &info.signer));
	assert_string_equal(seen.cert.subject, "CN=alice");
}

static void verify_each_accepted_key_accepted(void **state)
{
	static const char *const kinds[] = {"P-256", "P-384", "RSA-3072", "RSA-4096"};
	static const char *const names[] = {"ec-p256", "ec-p384", "rsa-3072", "rsa-4096"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		OWN_PKI struct pki *a = pki_make((struct pki_spec){.key = kinds[i]});
		OWN_TRUST trust = pki_trust(a, NULL);
		OWN_FREE uint8_t *der = NULL, *other = NULL;
		size_t size;

		pki_sign(a, content, CONTENT, &der, &size);
		expect(ERR_NONE, der, size, trust, PKI_NOW);
		assert_string_equal(seen.cert.algorithm, names[i]);
		pki_sign_raw(a, NULL, content, CONTENT, RAW, "SHA384", &other, &size);
		expect(ERR_NONE, other, size, trust, PKI_NOW);
	}
}

/* Other tools name the signer by its key identifier. */
static void verify_signer_named_by_key_identifier_accepted(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	pki_sign_raw(a, NULL, content, CONTENT, RAW | CMS_USE_KEYID, "SHA256", &der, &size);
	expect(ERR_NONE, der, size, trust, PKI_NOW);
}

static void verify_weak_or_unusual_key_refused(void **state)
{
	static const char *const kinds[] = {"RSA-2048", "P-521", "secp256k1", "brainpoolP256r1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		OWN_PKI struct pki *a = pki_make((struct pki_spec){.key = kinds[i]});
		OWN_TRUST trust = pki_trust(a, NULL);

		expect_of(ERR_SIGNATURE_ALGORITHM, a, NULL, trust);
	}
}

/* The same key with a compressed point would have a second identity. */
static void verify_compressed_point_refused(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.compressed_point = true});
	OWN_TRUST trust = pki_trust(a, NULL);

	(void)state;
	expect_of(ERR_SIGNATURE_ALGORITHM, a, NULL, trust);
}

static void verify_other_digest_refused(void **state)
{
	static const char *const digests[] = {"SHA1", "SHA224", "SHA512"};
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_PKI struct pki *rsa = pki_make((struct pki_spec){.key = "RSA-3072"});
	OWN_TRUST trust = pki_trust(a, rsa, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
		OWN_FREE uint8_t *der = NULL, *der_rsa = NULL;
		size_t size;

		pki_sign_raw(a, NULL, content, CONTENT, RAW, digests[i], &der, &size);
		expect(ERR_SIGNATURE_ALGORITHM, der, size, trust, PKI_NOW);
		pki_sign_raw(rsa, NULL, content, CONTENT, RAW, digests[i], &der_rsa, &size);
		expect(ERR_SIGNATURE_ALGORITHM, der_rsa, size, trust, PKI_NOW);
	}
}

static void verify_unknown_signer_untrusted(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "alice"});
	/* The same name, so that OpenSSL finds a candidate and must tell them apart. */
	OWN_PKI struct pki *twin = pki_make((struct pki_spec){.name = "alice"});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_TRUST empty = pki_trust(NULL, NULL);

	(void)state;
	expect_of(ERR_SIGNATURE_UNTRUSTED, twin, NULL, trust);
	expect_of(ERR_SIGNATURE_UNTRUSTED, a, NULL, empty);
}

static struct pki *make_ca(const char *name, const struct pki *issuer, const char *constraints)
{
	return pki_make((struct pki_spec){.name = name,
					  .issuer = issuer,
					  .constraints = constraints ? constraints : "critical,CA:TRUE",
					  .usage = "critical,keyCertSign,cRLSign",
					  .extended = ""});
}

static void verify_chain_to_root_tells_its_keys(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *middle = make_ca("middle", root, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = middle});
	OWN_TRUST trust = pki_trust(root, NULL);
	struct cert_info info;

	(void)state;
	expect_of(ERR_NONE, leaf, middle, trust);
	assert_int_equal(seen.chain_count, 3);
	const struct pki *order[] = {leaf, middle, root};
	for (size_t i = 0; i < 3; i++) {
		cert_info(order[i]->cert, &info);
		assert_true(digest_equal(&seen.chain[i], &info.signer));
	}
	assert_true(digest_equal(&seen.signer, &seen.chain[0]));
	expect_of(ERR_SIGNATURE_UNTRUSTED, leaf, NULL, trust); /* without the middle there is no way up */
}

/* A chain file is sent along whole. */
static void sign_with_chain_file_verifies_to_root(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *middle = make_ca("middle", root, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = middle});
	OWN_TRUST trust = pki_trust(root, NULL);
	OWN_FREE char *first = pki_cert_pem(leaf), *second = pki_cert_pem(middle), *both = NULL;
	OWN(cert) struct cert *chain = NULL, *single = NULL;
	OWN(signing_key) struct signing_key *key = pki_signing_key(leaf);
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	assert_true(asprintf(&both, "%s%s", first, second) > 0);
	assert_int_equal(cert_from_pem((const uint8_t *)both, strlen(both), &single, &e), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
	assert_int_equal(cert_chain_from_pem((const uint8_t *)both, strlen(both), &chain, &e), 0);
	assert_int_equal(cms_sign(content, CONTENT, chain, key, &der, &size, &e), 0);
	expect(ERR_NONE, der, size, trust, PKI_NOW);
	assert_int_equal(seen.chain_count, 3);
}

/* What came with the signature above a trusted leaf says nothing. */
static void verify_untrusted_issuer_of_trusted_leaf_not_in_chain(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = root});
	OWN_TRUST trust = pki_trust(leaf, NULL);

	(void)state;
	expect_of(ERR_NONE, leaf, root, trust);
	assert_int_equal(seen.chain_count, 1);
}

enum { BAD_ISSUERS = 4 };

/* Expired, not valid yet, or not allowed to issue. */
static struct pki *bad_issuer(size_t which)
{
	const struct pki_spec of_ca = {
	    .name = "root", .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign", .extended = ""};
	struct pki_spec specs[BAD_ISSUERS] = {of_ca, of_ca, of_ca, {.name = "plain"}};

	specs[0].not_after = PKI_NOW - 5;
	specs[1].not_before = PKI_NOW + 5;
	specs[2].extended = "serverAuth";
	return pki_make(specs[which]);
}

/* Nor does it refuse one. */
static void verify_untrusted_issuer_does_not_fail_a_trusted_leaf(void **state)
{
	(void)state;
	for (size_t i = 0; i < BAD_ISSUERS; i++) {
		OWN_PKI struct pki *issuer = bad_issuer(i);
		OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = issuer});
		OWN_TRUST trust = pki_trust(leaf, NULL);
		expect_of(ERR_NONE, leaf, issuer, trust);
		assert_int_equal(seen.chain_count, 1);
	}
}

/* Also where that issuer is trusted itself. */
static void verify_trusted_issuer_does_not_fail_a_trusted_leaf(void **state)
{
	(void)state;
	for (size_t i = 0; i < BAD_ISSUERS; i++) {
		OWN_PKI struct pki *issuer = bad_issuer(i);
		OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = issuer});
		OWN_PKI struct pki *other = pki_make((struct pki_spec){.name = "other", .issuer = issuer});
		OWN_TRUST trust = pki_trust(leaf, issuer, NULL);
		expect_of(ERR_NONE, leaf, NULL, trust);
		assert_int_equal(seen.chain_count, 1);
		expect_of(ERR_NONE, leaf, issuer, trust);
		assert_int_equal(seen.chain_count, 1);
		expect_of(i == 0   ? ERR_CERTIFICATE_EXPIRED
			  : i == 1 ? ERR_CERTIFICATE_NOT_YET_VALID
				   : ERR_CERTIFICATE_USAGE,
			  other, NULL, trust);
	}
}

/* A way up from a trusted leaf to a trusted authority is one only as long as it is valid; the authority's revocation takes the
 * leaf along all the same. */
static void verify_late_way_up_from_a_trusted_leaf_is_none(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *middle = pki_make((struct pki_spec){.name = "middle",
								.issuer = root,
								.constraints = "critical,CA:TRUE",
								.usage = "critical,keyCertSign",
								.extended = "",
								.not_after = PKI_NOW + 5});
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = middle});
	OWN_TRUST trust = pki_trust(leaf, root, NULL);
	OWN_FREE uint8_t *der = NULL;
	struct cert_info info;
	size_t size;

	(void)state;
	pki_sign_raw(leaf, middle, content, CONTENT, RAW, "SHA256", &der, &size);
	expect(ERR_NONE, der, size, trust, PKI_NOW);
	assert_int_equal(seen.chain_count, 3);
	expect(ERR_NONE, der, size, trust, PKI_NOW + 10);
	assert_int_equal(seen.chain_count, 1);
	expect(ERR_CERTIFICATE_EXPIRED, der, size, trust, PKI_NOW + 2 * PKI_DAY);
	cert_info(root->cert, &info);
	assert_int_equal(trust_revoke(trust, &info.signer, 1, &e), 0);
	expect(ERR_CERTIFICATE_REVOKED, der, size, trust, PKI_NOW + 10);
}

static void verify_issuer_that_may_not_issue_refused(void **state)
{
	OWN_PKI struct pki *plain = pki_make((struct pki_spec){.name = "plain"});
	OWN_PKI struct pki *below = pki_make((struct pki_spec){.name = "below", .issuer = plain});
	OWN_PKI struct pki *root = make_ca("root", NULL, "critical,CA:TRUE,pathlen:0");
	OWN_PKI struct pki *middle = make_ca("middle", root, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = middle});
	OWN_PKI struct pki *web = pki_make((struct pki_spec){.name = "web",
							     .constraints = "critical,CA:TRUE",
							     .usage = "critical,keyCertSign",
							     .extended = "serverAuth"});
	OWN_PKI struct pki *of_web = pki_make((struct pki_spec){.name = "of web", .issuer = web});
	OWN_TRUST trust = pki_trust(plain, root, web, NULL);

	(void)state;
	expect_of(ERR_CERTIFICATE_USAGE, below, NULL, trust);
	expect_of(ERR_CERTIFICATE_USAGE, leaf, middle, trust);
	expect_of(ERR_CERTIFICATE_USAGE, of_web, NULL, trust);
}

static void verify_forged_issuer_untrusted(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *fake = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = fake});
	OWN_TRUST trust = pki_trust(root, NULL);

	(void)state;
	expect_of(ERR_SIGNATURE_UNTRUSTED, leaf, fake, trust);
	expect_of(ERR_SIGNATURE_UNTRUSTED, leaf, root, trust);
}

static void verify_without_code_signing_refused(void **state)
{
	static const char *const uses[] = {"", "serverAuth", "emailProtection,timeStamping", "anyExtendedKeyUsage"};
	OWN_PKI struct pki *agree = pki_make((struct pki_spec){.usage = "critical,keyAgreement"});
	OWN_TRUST agrees = pki_trust(agree, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
		OWN_PKI struct pki *a = pki_make((struct pki_spec){.extended = uses[i]});
		OWN_TRUST trust = pki_trust(a, NULL);

		expect_of(ERR_CERTIFICATE_USAGE, a, NULL, trust);
	}
	/* OpenSSL itself will not sign with it: swap the certificate for one of the same key. */
	expect_of(ERR_CERTIFICATE_USAGE, agree, NULL, agrees);
}

static void verify_unknown_critical_extension_refused(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.critical_oid = "1.3.6.1.4.1.99999.1"});
	OWN_TRUST trust = pki_trust(a, NULL);

	(void)state;
	expect_of(ERR_CERTIFICATE_USAGE, a, NULL, trust);
}

static void verify_time_decides_validity(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN(cms) struct cms *cms = NULL;
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	expect(ERR_NONE, der, size, trust, PKI_NOW - PKI_DAY);
	expect(ERR_NONE, der, size, trust, PKI_NOW + PKI_DAY - 1);
	expect(ERR_CERTIFICATE_NOT_YET_VALID, der, size, trust, PKI_NOW - PKI_DAY - 1);
	expect(ERR_CERTIFICATE_EXPIRED, der, size, trust, PKI_NOW + PKI_DAY + 1);
	e = (struct err)ERR_INIT;
	assert_int_equal(cms_open(der, size, &cms, &e), 0);
	assert_int_equal(cms_verify_installed(cms, content, CONTENT, trust, PKI_NOW + PKI_DAY + 1, &seen, &e), 0);
	assert_int_equal(cms_verify_installed(cms, content, CONTENT, trust, PKI_NOW - PKI_DAY - 1, &seen, &e), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_NOT_YET_VALID);
}

static void verify_expired_issuer_refused(void **state)
{
	OWN_PKI struct pki *root = pki_make((struct pki_spec){.name = "root",
							      .constraints = "critical,CA:TRUE",
							      .usage = "critical,keyCertSign",
							      .extended = "",
							      .not_after = PKI_NOW - 5});
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = root});
	OWN_TRUST trust = pki_trust(root, NULL);

	(void)state;
	expect_of(ERR_CERTIFICATE_EXPIRED, leaf, NULL, trust);
	assert_non_null(strstr(e.frame[0], "CN=root"));
}

/* What was changed is told as such, even when the certificate has expired too. */
static void verify_invalid_before_expired(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	pki_sign(a, "other", 5, &der, &size);
	expect(ERR_SIGNATURE_INVALID, der, size, trust, PKI_NOW);
	expect(ERR_SIGNATURE_INVALID, der, size, trust, PKI_NOW + 2 * PKI_DAY);
	assert_true(e.log[0] != '\0');
}

static void verify_revoked_key_refused(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = root});
	OWN_PKI struct pki *renewed = pki_make((struct pki_spec){.name = "renewed", .issuer = root, .same_key = leaf});
	struct cert_info info;

	(void)state;
	const struct pki *revoked[] = {leaf, root};
	for (size_t i = 0; i < 2; i++) {
		OWN_TRUST trust = pki_trust(root, NULL);
		cert_info(revoked[i]->cert, &info);
		assert_int_equal(trust_revoke(trust, &info.signer, 1, &e), 0);
		expect_of(ERR_CERTIFICATE_REVOKED, leaf, NULL, trust);
		expect_of(ERR_CERTIFICATE_REVOKED, renewed, NULL, trust);
	}
}

/* Whatever bit is flipped, it is no signature any more: nothing in it is unread or has two forms. */
static void flip_every_bit(const struct pki *signer, const struct pki *issuer, const struct trust *trust,
			   unsigned flags)
{
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	pki_sign_raw(signer, issuer, content, CONTENT, flags, "SHA256", &der, &size);
	for (size_t bit = 0; bit < size * 8; bit++) {
		der[bit / 8] ^= (uint8_t)(1U << (bit % 8));
		e = (struct err)ERR_INIT;
		if (!verify(der, size, trust, PKI_NOW))
			fail_msg("accepted with bit %zu of %zu flipped", bit, size * 8);
		if (err_status(e.code) != 11)
			fail_msg("bit %zu of %zu: %s", bit, size * 8, err_name(e.code));
		der[bit / 8] ^= (uint8_t)(1U << (bit % 8));
	}
	expect(ERR_NONE, der, size, trust, PKI_NOW);
}

static void verify_any_flipped_bit_refused(void **state)
{
	OWN_PKI struct pki *root = make_ca("root", NULL, NULL);
	OWN_PKI struct pki *middle = make_ca("middle", root, NULL);
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.name = "leaf", .issuer = middle});
	OWN_PKI struct pki *rsa = pki_make((struct pki_spec){.key = "RSA-3072"});
	OWN_TRUST trust = pki_trust(root, rsa, NULL);

	(void)state;
	flip_every_bit(leaf, middle, trust, RAW);
	flip_every_bit(leaf, middle, trust, RAW | CMS_USE_KEYID);
	flip_every_bit(rsa, NULL, trust, RAW);
}

static void verify_truncated_or_trailing_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	OWN_FREE uint8_t *longer = NULL;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	for (size_t n = 0; n < size; n++)
		expect(ERR_SIGNATURE_MALFORMED, der, n, trust, PKI_NOW);
	longer = calloc(1, BUNDLE_SIGNATURE_MAX_BYTES + 1);
	assert_non_null(longer);
	memcpy(longer, der, size);
	expect(ERR_SIGNATURE_MALFORMED, longer, size + 1, trust, PKI_NOW);
	expect(ERR_SIGNATURE_MALFORMED, longer, BUNDLE_SIGNATURE_MAX_BYTES + 1, trust, PKI_NOW);
}

/* 30 82 xx xx ... with an indefinite length instead: BER that OpenSSL reads. */
static void verify_ber_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	OWN_FREE uint8_t *ber = NULL;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	assert_int_equal(der[0], 0x30);
	assert_int_equal(der[1], 0x82);
	ber = calloc(1, size);
	assert_non_null(ber);
	ber[0] = 0x30;
	ber[1] = 0x80;
	memcpy(ber + 2, der + 4, size - 4);
	const uint8_t *p = ber;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
	assert_non_null(cms); /* else this test shows nothing */
	CMS_ContentInfo_free(cms);
	expect(ERR_SIGNATURE_MALFORMED, ber, size, trust, PKI_NOW);
}

static void verify_unwanted_shape_malformed(void **state)
{
	static const unsigned flags[] = {
	    CMS_BINARY | CMS_NOSMIMECAP, /* content inside */
	    RAW | CMS_NOATTR,            /* no signed attributes */
	    RAW | CMS_NOCERTS,           /* no certificate */
	};
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		OWN_FREE uint8_t *der = NULL;
		size_t size;

		pki_sign_raw(a, NULL, content, CONTENT, flags[i], "SHA256", &der, &size);
		expect(ERR_SIGNATURE_MALFORMED, der, size, trust, PKI_NOW);
	}
}

static void verify_two_signers_in_one_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, b, NULL);
	BIO *bio = BIO_new_mem_buf(content, CONTENT);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, RAW | CMS_PARTIAL);
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	assert_non_null(CMS_add1_signer(cms, a->x509, a->pkey, EVP_sha256(), RAW | CMS_PARTIAL));
	assert_non_null(CMS_add1_signer(cms, b->x509, b->pkey, EVP_sha256(), RAW | CMS_PARTIAL));
	assert_int_equal(CMS_final(cms, bio, NULL, RAW), 1);
	pki_encode(cms, &der, &size);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	expect(ERR_SIGNATURE_MALFORMED, der, size, trust, PKI_NOW);
}

static void verify_unsigned_attribute_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	OWN_FREE uint8_t *more = NULL;
	const uint8_t *p;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	p = der;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
	CMS_SignerInfo *si = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
	assert_int_equal(CMS_unsigned_add1_attr_by_txt(si, "1.2.3.4", V_ASN1_UTF8STRING, "x", 1), 1);
	pki_encode(cms, &more, &size);
	CMS_ContentInfo_free(cms);
	expect(ERR_SIGNATURE_MALFORMED, more, size, trust, PKI_NOW);
}

/* The list of digest algorithms, which nobody signed, with another in place of the signer's, or one more. */
static void verify_other_digest_list_malformed(void **state)
{
	static const uint8_t sha256[] = {0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01};
	static const size_t around[] = {2, 17, 21}; /* the lengths of what holds the list: 30 82, a0 82, 30 82 */
	enum { LIST = 26 };                         /* 31 0d, then the list */
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *der = NULL;
	OWN_FREE uint8_t *more = NULL;
	size_t size, room = sizeof(sha256);

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	assert_int_equal(der[LIST], 0x31);
	assert_memory_equal(der + LIST + 2, sha256, sizeof(sha256));
	der[LIST + 1 + sizeof(sha256)] = 0x7f; /* an algorithm that OpenSSL does not know */
	expect(ERR_SIGNATURE_MALFORMED, der, size, trust, PKI_NOW);
	der[LIST + 1 + sizeof(sha256)] = 0x01;

	more = malloc(size + room);
	assert_non_null(more);
	memcpy(more, der, LIST + 2 + room);
	memcpy(more + LIST + 2 + room, sha256, room);
	memcpy(more + LIST + 2 + 2 * room, der + LIST + 2 + room, size - LIST - 2 - room);
	more[LIST + 1] = (uint8_t)(2 * room);
	more[LIST + 1 + 2 * room] = 0x02; /* SHA-384 */
	for (size_t i = 0; i < ARRAY_LEN(around); i++) {
		size_t length = ((size_t)more[around[i]] << 8 | more[around[i] + 1]) + room;
		more[around[i]] = (uint8_t)(length >> 8);
		more[around[i] + 1] = (uint8_t)length;
	}
	const uint8_t *p = more;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)(size + room));
	assert_non_null(cms); /* else this test shows nothing */
	CMS_ContentInfo_free(cms);
	expect(ERR_SIGNATURE_MALFORMED, more, size + room, trust, PKI_NOW);
}

static void verify_other_cms_type_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_TRUST trust = pki_trust(a, NULL);
	BIO *bio = BIO_new_mem_buf(content, CONTENT);
	CMS_ContentInfo *cms = CMS_data_create(bio, CMS_BINARY);
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	(void)state;
	pki_encode(cms, &der, &size);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
	expect(ERR_SIGNATURE_MALFORMED, der, size, trust, PKI_NOW);
}

/* A signature that says it is of somebody's certificate, which it also carries, but is of another key. */
static void verify_signature_by_other_key_invalid(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "alice"});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){.name = "bob"});
	OWN_TRUST trust = pki_trust(a, NULL);
	OWN_FREE uint8_t *good = NULL, *bad = NULL, *mixed = NULL;
	size_t good_size, bad_size, size;
	const uint8_t *p;

	(void)state;
	pki_sign(a, content, CONTENT, &good, &good_size);
	pki_sign(b, content, CONTENT, &bad, &bad_size);
	p = good;
	CMS_ContentInfo *of_a = d2i_CMS_ContentInfo(NULL, &p, (long)good_size);
	p = bad;
	CMS_ContentInfo *of_b = d2i_CMS_ContentInfo(NULL, &p, (long)bad_size);
	ASN1_OCTET_STRING *to = CMS_SignerInfo_get0_signature(sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(of_a), 0));
	ASN1_OCTET_STRING *from = CMS_SignerInfo_get0_signature(sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(of_b), 0));
	assert_int_equal(ASN1_STRING_copy(to, from), 1);
	pki_encode(of_a, &mixed, &size);
	CMS_ContentInfo_free(of_a);
	CMS_ContentInfo_free(of_b);
	expect(ERR_SIGNATURE_INVALID, mixed, size, trust, PKI_NOW);
}

static void open_tells_leaf_unverified(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "alice"});
	OWN(cms) struct cms *cms = NULL;
	OWN(cms) struct cms *cut = NULL;
	OWN_FREE uint8_t *der = NULL;
	struct cert_info expected, info;
	size_t size;

	(void)state;
	pki_sign(a, content, CONTENT, &der, &size);
	e = (struct err)ERR_INIT;
	assert_int_equal(cms_open(der, size, &cms, &e), 0);
	cms_info(cms, &info);
	cert_info(a->cert, &expected);
	assert_true(digest_equal(&info.signer, &expected.signer));
	assert_true(digest_equal(&info.digest, &expected.digest));
	assert_int_equal(cms_open(der, size - 1, &cut, &e), -1);
	assert_int_equal(e.code, ERR_SIGNATURE_MALFORMED);
}

static void sign_with_other_key_mismatch(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){});
	OWN(signing_key) struct signing_key *key = pki_signing_key(b);
	uint8_t *der = NULL;
	size_t size = 0;

	(void)state;
	e = (struct err)ERR_INIT;
	assert_int_equal(cms_sign(content, CONTENT, a->cert, key, &der, &size, &e), -1);
	assert_int_equal(e.code, ERR_KEY_MISMATCH);
	assert_null(der);
}

/* ---- keys in files ---- */

struct generated {
	char *key, *cert;
	size_t key_size, cert_size;
	char path[64];
};

static void generate(struct generated *g, const char *pass)
{
	e = (struct err)ERR_INIT;
	assert_int_equal(
	    signing_key_generate("Build team", 30, pass, &g->key, &g->key_size, &g->cert, &g->cert_size, &e), 0);
	snprintf(g->path, sizeof(g->path), "/tmp/obs-test-key.XXXXXX");
	int fd = mkstemp(g->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, g->key, g->key_size), g->key_size);
	close(fd);
}

static void generated_free(struct generated *g)
{
	unlink(g->path);
	signing_text_free(&g->key, g->key_size);
	free(g->cert);
}

static int pass_fd(const char *text)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
	close(fds[1]);
	return fds[0];
}

static int open_with(const char *path, struct passphrase pass)
{
	OWN(signing_key) struct signing_key *key = NULL;

	e = (struct err)ERR_INIT;
	return signing_key_open(path, &pass, &key, &e);
}

static void generate_pair_signs_and_verifies(void **state)
{
	OWN(signing_key) struct signing_key *key = NULL;
	OWN(cert) struct cert *cert = NULL;
	OWN_TRUST trust = NULL;
	OWN_FREE uint8_t *der = NULL;
	struct generated g = {};
	struct cert_info info;
	size_t size;
	int64_t now = time(NULL);

	(void)state;
	generate(&g, NULL);
	assert_int_equal(signing_key_open(g.path, NULL, &key, &e), 0);
	assert_int_equal(cert_from_pem((uint8_t *)g.cert, g.cert_size, &cert, &e), 0);
	cert_info(cert, &info);
	assert_string_equal(info.subject, "CN=Build team");
	assert_string_equal(info.algorithm, "ec-p256");
	assert_true(info.code_signing);
	assert_false(info.ca);
	assert_true(info.not_before <= now && info.not_after > now + 29 * PKI_DAY &&
		    info.not_after < now + 31 * PKI_DAY);
	assert_int_equal(trust_new(&trust, &e), 0);
	assert_int_equal(trust_add(trust, cert, &e), 0);
	assert_int_equal(cms_sign(content, CONTENT, cert, key, &der, &size, &e), 0);
	expect(ERR_NONE, der, size, trust, now);
	generated_free(&g);
}

static void encrypted_key_opens_with_its_passphrase_only(void **state)
{
	struct generated g = {};
	int good = pass_fd("correct horse\nnot read"), bad = pass_fd("battery staple\n");
	char left[16] = "";

	(void)state;
	generate(&g, "correct horse");
	assert_non_null(strstr(g.key, "ENCRYPTED"));
	assert_int_equal(open_with(g.path, (struct passphrase){.fd = good}), 0);
	assert_int_equal(read(good, left, sizeof(left) - 1), 8); /* what follows the line is left for others */
	assert_int_equal(open_with(g.path, (struct passphrase){.fd = bad}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	assert_int_equal(open_with(g.path, (struct passphrase){.fd = -1}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	assert_non_null(strstr(e.frame[0], "no passphrase"));
	close(good);
	close(bad);
	generated_free(&g);
}

static void encrypted_key_opens_with_passphrase_file(void **state)
{
	char path[] = "/tmp/obs-test-pass.XXXXXX";
	struct generated g = {};
	int fd = mkstemp(path);

	(void)state;
	generate(&g, "correct horse");
	assert_int_equal(write(fd, "correct horse\r\n", 15), 15);
	close(fd);
	assert_int_equal(open_with(g.path, (struct passphrase){.fd = -1, .file = path}), 0);
	assert_int_equal(open_with(g.path, (struct passphrase){.fd = -1, .file = "/nonexistent"}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	unlink(path);
	generated_free(&g);
}

static void open_what_is_no_key_unreadable(void **state)
{
	(void)state;
	assert_int_equal(open_with("/nonexistent", (struct passphrase){.fd = -1}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	assert_int_equal(open_with("/dev/null", (struct passphrase){.fd = -1}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	assert_int_equal(open_with("/dev/zero", (struct passphrase){.fd = -1}), -1);
	assert_int_equal(e.code, ERR_KEY_UNREADABLE);
	assert_int_equal(open_with("pkcs11:token=x;object=y?pin-value=1234", (struct passphrase){.fd = -1}), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static void generate_bad_arguments_refused(void **state)
{
	char *key = NULL, *cert = NULL, longest[66];
	size_t a, b;

	(void)state;
	memset(longest, 'x', 65);
	longest[65] = '\0';
	const char *names[] = {"", longest, "a\nb", "\xff\xfe", "\x1b[31m"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(signing_key_generate(names[i], 1, NULL, &key, &a, &cert, &b, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
	}
	assert_int_equal(signing_key_generate("x", 0, NULL, &key, &a, &cert, &b, &e), -1);
	assert_int_equal(signing_key_generate("x", 36501, NULL, &key, &a, &cert, &b, &e), -1);
	assert_int_equal(signing_key_generate("x", 1, "abc", &key, &a, &cert, &b, &e), -1);
	assert_null(key);
	assert_null(cert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(verify_trusted_leaf_accepted),
	    cmocka_unit_test(verify_each_accepted_key_accepted),
	    cmocka_unit_test(verify_signer_named_by_key_identifier_accepted),
	    cmocka_unit_test(verify_weak_or_unusual_key_refused),
	    cmocka_unit_test(verify_compressed_point_refused),
	    cmocka_unit_test(verify_other_digest_refused),
	    cmocka_unit_test(verify_unknown_signer_untrusted),
	    cmocka_unit_test(verify_chain_to_root_tells_its_keys),
	    cmocka_unit_test(sign_with_chain_file_verifies_to_root),
	    cmocka_unit_test(verify_untrusted_issuer_of_trusted_leaf_not_in_chain),
	    cmocka_unit_test(verify_untrusted_issuer_does_not_fail_a_trusted_leaf),
	    cmocka_unit_test(verify_trusted_issuer_does_not_fail_a_trusted_leaf),
	    cmocka_unit_test(verify_late_way_up_from_a_trusted_leaf_is_none),
	    cmocka_unit_test(verify_issuer_that_may_not_issue_refused),
	    cmocka_unit_test(verify_forged_issuer_untrusted),
	    cmocka_unit_test(verify_without_code_signing_refused),
	    cmocka_unit_test(verify_unknown_critical_extension_refused),
	    cmocka_unit_test(verify_time_decides_validity),
	    cmocka_unit_test(verify_expired_issuer_refused),
	    cmocka_unit_test(verify_invalid_before_expired),
	    cmocka_unit_test(verify_revoked_key_refused),
	    cmocka_unit_test(verify_any_flipped_bit_refused),
	    cmocka_unit_test(verify_truncated_or_trailing_malformed),
	    cmocka_unit_test(verify_ber_malformed),
	    cmocka_unit_test(verify_unwanted_shape_malformed),
	    cmocka_unit_test(verify_two_signers_in_one_malformed),
	    cmocka_unit_test(verify_unsigned_attribute_malformed),
	    cmocka_unit_test(verify_other_digest_list_malformed),
	    cmocka_unit_test(verify_other_cms_type_malformed),
	    cmocka_unit_test(verify_signature_by_other_key_invalid),
	    cmocka_unit_test(open_tells_leaf_unverified),
	    cmocka_unit_test(sign_with_other_key_mismatch),
	    cmocka_unit_test(generate_pair_signs_and_verifies),
	    cmocka_unit_test(encrypted_key_opens_with_its_passphrase_only),
	    cmocka_unit_test(encrypted_key_opens_with_passphrase_file),
	    cmocka_unit_test(open_what_is_no_key_unreadable),
	    cmocka_unit_test(generate_bad_arguments_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
