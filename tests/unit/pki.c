#include "tests/unit/pki.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/core_names.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <string.h>

#define MUST(x)                                                                                                        \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                        \
			ERR_print_errors_fp(stderr);                                                                   \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static EVP_PKEY *make_key(const char *kind)
{
	if (strncmp(kind, "RSA-", 4) == 0)
		return EVP_RSA_gen((unsigned)strtoul(kind + 4, NULL, 10));
	if (strcmp(kind, "ED25519") == 0)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	return EVP_EC_gen(kind);
}

static void extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	if (!*value)
		return;
	X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	MUST(extension && X509_add_ext(x509, extension, -1));
	X509_EXTENSION_free(extension);
}

static void extend_unknown(X509 *x509, const char *oid)
{
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	X509_EXTENSION *extension;

	MUST(value && object && ASN1_OCTET_STRING_set(value, (const uint8_t *)"\x05", 2));
	extension = X509_EXTENSION_create_by_OBJ(NULL, object, 1, value);
	MUST(extension && X509_add_ext(x509, extension, -1));
	X509_EXTENSION_free(extension);
	ASN1_OBJECT_free(object);
	ASN1_OCTET_STRING_free(value);
}

#define OR(a, b) ((a) ? (a) : (b))

struct pki *pki_make(struct pki_spec spec)
{
	struct pki *pki = calloc(1, sizeof(*pki));
	const char *name = OR(spec.name, "test");
	time_t from = (time_t)OR(spec.not_before, PKI_NOW - PKI_DAY),
	       to = (time_t)OR(spec.not_after, PKI_NOW + PKI_DAY);
	static long serial;

	MUST(pki);
	if (spec.same_key) {
		pki->pkey = spec.same_key->pkey;
		EVP_PKEY_up_ref(pki->pkey);
	} else {
		pki->pkey = make_key(OR(spec.key, "P-256"));
	}
	pki->x509 = X509_new();
	MUST(pki->pkey && pki->x509);
	if (spec.compressed_point)
		MUST(EVP_PKEY_set_utf8_string_param(pki->pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
						    "compressed"));
	X509 *issuer = spec.issuer ? spec.issuer->x509 : pki->x509;
	EVP_PKEY *signing = spec.issuer ? spec.issuer->pkey : pki->pkey;
	MUST(X509_set_version(pki->x509, X509_VERSION_3));
	MUST(ASN1_INTEGER_set(X509_get_serialNumber(pki->x509), ++serial));
	MUST(X509_NAME_add_entry_by_txt(X509_get_subject_name(pki->x509), "CN", MBSTRING_UTF8, (const uint8_t *)name,
					-1, -1, 0));
	MUST(X509_set_issuer_name(pki->x509, X509_get_subject_name(issuer)));
	MUST(ASN1_TIME_set(X509_getm_notBefore(pki->x509), from) && ASN1_TIME_set(X509_getm_notAfter(pki->x509), to));
	MUST(X509_set_pubkey(pki->x509, pki->pkey));
	extend(pki->x509, issuer, NID_basic_constraints, OR(spec.constraints, "critical,CA:FALSE"));
	extend(pki->x509, issuer, NID_key_usage, OR(spec.usage, "critical,digitalSignature"));
	extend(pki->x509, issuer, NID_ext_key_usage, OR(spec.extended, "codeSigning"));
	extend(pki->x509, issuer, NID_subject_key_identifier, "hash");
	if (spec.critical_oid)
		extend_unknown(pki->x509, spec.critical_oid);
	const EVP_MD *md = EVP_PKEY_is_a(signing, "ED25519") ? NULL : EVP_get_digestbyname(OR(spec.digest, "SHA256"));
	MUST(X509_sign(pki->x509, signing, md));
	/* Through text, so that every test starts from what a file would hold. */
	char *pem = pki_cert_pem(pki);
	MUST(cert_from_pem((const uint8_t *)pem, strlen(pem), &pki->cert, NULL) == 0);
	free(pem);
	return pki;
}

void pki_free(struct pki **pki)
{
	if (!*pki)
		return;
	cert_free(&(*pki)->cert);
	X509_free((*pki)->x509);
	EVP_PKEY_free((*pki)->pkey);
	free(*pki);
	*pki = NULL;
}

static char *text_of(BIO *bio)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	char *text = strndup(data, (size_t)size);

	MUST(text);
	BIO_free(bio);
	return text;
}

char *pki_cert_pem(const struct pki *pki)
{
	BIO *bio = BIO_new(BIO_s_mem());

	MUST(bio && PEM_write_bio_X509(bio, pki->x509));
	return text_of(bio);
}

char *pki_key_pem(const struct pki *pki)
{
	BIO *bio = BIO_new(BIO_s_mem());

	MUST(bio && PEM_write_bio_PKCS8PrivateKey(bio, pki->pkey, NULL, NULL, 0, NULL, NULL));
	return text_of(bio);
}

struct signing_key *pki_signing_key(const struct pki *pki)
{
	char path[] = "/tmp/obs-test-key.XXXXXX";
	struct signing_key *key = NULL;
	char *pem = pki_key_pem(pki);
	int fd = mkstemp(path);

	MUST(fd >= 0 && write(fd, pem, strlen(pem)) == (ssize_t)strlen(pem));
	close(fd);
	free(pem);
	int rc = signing_key_open(path, NULL, &key, NULL);
	unlink(path);
	MUST(rc == 0);
	return key;
}

void pki_sign(const struct pki *pki, const void *content, size_t size, uint8_t **out, size_t *out_size)
{
	struct signing_key *key = pki_signing_key(pki);

	MUST(cms_sign(content, size, pki->cert, key, out, out_size, NULL) == 0);
	signing_key_free(&key);
}

void pki_encode(CMS_ContentInfo *cms, uint8_t **out, size_t *out_size)
{
	*out = NULL;
	int n = i2d_CMS_ContentInfo(cms, out);
	MUST(n > 0);
	*out_size = (size_t)n;
}

void pki_sign_raw(const struct pki *pki, const struct pki *issuer, const void *content, size_t size, unsigned flags,
		  const char *digest, uint8_t **out, size_t *out_size)
{
	BIO *bio = BIO_new_mem_buf(content, (int)size);
	CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, NULL, flags | CMS_PARTIAL);

	MUST(bio && cms);
	MUST(CMS_add1_signer(cms, pki->x509, pki->pkey, EVP_get_digestbyname(digest), flags | CMS_PARTIAL));
	if (issuer)
		MUST(CMS_add1_cert(cms, issuer->x509));
	MUST(CMS_final(cms, bio, NULL, flags));
	pki_encode(cms, out, out_size);
	CMS_ContentInfo_free(cms);
	BIO_free(bio);
}

struct trust *pki_trust(const struct pki *first, ...)
{
	struct trust *trust = NULL;
	va_list ap;

	MUST(trust_new(&trust, NULL) == 0);
	va_start(ap, first);
	for (const struct pki *pki = first; pki; pki = va_arg(ap, const struct pki *))
		MUST(trust_add(trust, pki->cert, NULL) == 0);
	va_end(ap);
	return trust;
}
