/* Any bytes as a signature of one content. Once the leaf that it carries is trusted, once the other certificates, so that the
 * corpus, which was made with real keys, gets through to the end; nobody can sign for those keys any more. */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "keys/cms.h"
#include "tests/fuzz/need.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char content[] = "{\"schema\": 1}\n", other[] = "{\"schema\": 2}\n";
static const int64_t now = 1800000000;

static void check_refused(const struct err *e)
{
	if (err_status(e->code) != 11)
		abort();
}

static void check_signer(const struct cms_signer *signer, const struct cert_info *peeked)
{
	if (signer->chain_count < 1 || signer->chain_count > ARRAY_LEN(signer->chain) ||
	    !digest_equal(&signer->signer, &signer->chain[0]) || !digest_equal(&signer->signer, &peeked->signer) ||
	    !signer->cert.code_signing)
		abort();
}

/* The other certificates that the signature carries, as a host would have them whose root signed the leaf. */
static void trust_issuers(const uint8_t *data, size_t size, const struct cert_info *leaf, struct trust *trust)
{
	const uint8_t *p = data;
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
	STACK_OF(X509) *certs = CMS_get1_certs(cms);

	for (int i = 0; sk_X509_num(certs) > 1 && i < sk_X509_num(certs); i++) {
		OWN(cert) struct cert *cert = NULL;
		struct cert_info info;
		char *pem = NULL;
		BIO *bio = BIO_new(BIO_s_mem());
		need(!bio || PEM_write_bio_X509(bio, sk_X509_value(certs, i)) != 1);
		long pem_size = BIO_get_mem_data(bio, &pem);
		if (cert_from_pem((uint8_t *)pem, (size_t)pem_size, &cert, NULL) == 0) {
			cert_info(cert, &info);
			need(!digest_equal(&info.digest, &leaf->digest) && trust_add(trust, cert, NULL));
		}
		BIO_free(bio);
	}
	sk_X509_pop_free(certs, X509_free);
	CMS_ContentInfo_free(cms);
	ERR_clear_error();
}

static void verify(struct cms *cms, struct trust *trust, const struct cert_info *peeked)
{
	struct cms_signer signer;
	struct err e = ERR_INIT;

	int failed = cms_verify(cms, content, sizeof(content) - 1, trust, now, &signer, &e);
	if (failed)
		check_refused(&e);
	/* What was installed once differs in nothing but that it may have expired. */
	need(cms_verify_installed(cms, content, sizeof(content) - 1, trust, now, &signer, NULL) !=
	     (failed && e.code != ERR_CERTIFICATE_EXPIRED ? -1 : 0));
	if (failed)
		return;
	check_signer(&signer, peeked);
	need(!cms_verify(cms, other, sizeof(other) - 1, trust, now, &signer, &e) || e.code != ERR_SIGNATURE_INVALID);
	/* Whoever of the chain is revoked, it counts no more. */
	need(trust_revoke(trust, &signer.chain[signer.chain_count - 1], 1, NULL));
	need(!cms_verify(cms, content, sizeof(content) - 1, trust, now, &signer, &e) ||
	     e.code != ERR_CERTIFICATE_REVOKED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(trust) struct trust *issuers = NULL;
	OWN(trust) struct trust *empty = NULL;
	OWN(cert) struct cert *leaf = NULL;
	OWN(cms) struct cms *cms = NULL;
	struct cms_signer signer;
	struct cert_info info;
	struct err e = ERR_INIT;

	if (cms_open(data, size, &cms, &e)) {
		check_refused(&e);
		return 0;
	}
	need(trust_new(&trust, NULL) || trust_new(&issuers, NULL) || trust_new(&empty, NULL));
	cms_info(cms, &info);
	need(cms_cert(cms, &leaf, NULL) || trust_add(trust, leaf, NULL));
	need(!cms_verify(cms, content, sizeof(content) - 1, empty, now, &signer, &e));
	check_refused(&e);
	verify(cms, trust, &info);
	trust_issuers(data, size, &info, issuers);
	if (trust_count(issuers))
		verify(cms, issuers, &info);
	return 0;
}
