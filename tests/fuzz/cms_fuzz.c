/* Any bytes as a signature of one content. The leaf that it carries is trusted, so that the corpus, which was made with
 * real keys, gets through to the end; nobody can sign for those keys any more. */
#include <stdlib.h>
#include <string.h>

#include "keys/cms.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(trust) struct trust *trust = NULL;
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
	cms_info(cms, &info);
	if (trust_new(&trust, NULL) || trust_new(&empty, NULL) || cms_cert(cms, &leaf, NULL) ||
	    trust_add(trust, leaf, NULL))
		abort();
	if (!cms_verify(cms, content, sizeof(content) - 1, empty, now, &signer, &e))
		abort();
	check_refused(&e);
	if (cms_verify(cms, content, sizeof(content) - 1, trust, now, &signer, &e)) {
		check_refused(&e);
		return 0;
	}
	check_signer(&signer, &info);
	if (!cms_verify(cms, other, sizeof(other) - 1, trust, now, &signer, &e) || e.code != ERR_SIGNATURE_INVALID)
		abort();
	return 0;
}
