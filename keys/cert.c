#include "keys/cert.h"

#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "keys/cert_impl.h"

enum { RSA_LEAST_BITS = 3072, RSA_MOST_BITS = 8192 };

struct cert {
	X509 *x509;
	STACK_OF(X509) * issuers; /* NULL: none */
	struct cert_info info;
};

static int log_line(const char *line, size_t len, void *log)
{
	size_t used = strlen(log);

	if (used + len < ERR_LOG_BYTES)
		memcpy((char *)log + used, line, len + 1);
	return 1;
}

int(x509_error)(struct err *e, enum err_code code, const char *fmt, ...)
{
	char text[ERR_FRAME_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(e, code, "%s", text);
	if (e)
		ERR_print_errors_cb(log_line, e->log);
	ERR_clear_error();
	return -1;
}

X509 *cert_x509(const struct cert *cert)
{
	return cert->x509;
}

STACK_OF(X509) * cert_issuers(const struct cert *cert)
{
	return cert->issuers;
}

static void name_of_key(EVP_PKEY *key, char *dst, size_t size)
{
	char group[64];

	if (EVP_PKEY_is_a(key, "RSA"))
		snprintf(dst, size, "rsa-%d", EVP_PKEY_get_bits(key));
	else if (!EVP_PKEY_is_a(key, "EC") || !EVP_PKEY_get_group_name(key, group, sizeof(group), NULL))
		snprintf(dst, size, "%s", EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
	else if (strcmp(group, "prime256v1") == 0)
		snprintf(dst, size, "ec-p256");
	else if (strcmp(group, "secp384r1") == 0)
		snprintf(dst, size, "ec-p384");
	else
		snprintf(dst, size, "ec-%.24s", group);
}

static bool key_accepted(EVP_PKEY *key, const char *algorithm)
{
	if (strcmp(algorithm, "ec-p256") == 0 || strcmp(algorithm, "ec-p384") == 0)
		return true;
	/* The upper bound is the cost of checking, which a stranger could otherwise choose. */
	return EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_LEAST_BITS &&
	       EVP_PKEY_get_bits(key) <= RSA_MOST_BITS;
}

/* Threat: the same key with a compressed point, explicit curve parameters or odd RSA parameters has another digest, and
 * would count as another signer. An EC key has one form: everything before its two coordinates (RFC 5480), which OpenSSL
 * takes only below the field's prime. */
static bool key_written_usually(EVP_PKEY *key, const char *algorithm, const uint8_t *spki, size_t size)
{
	static const uint8_t p256[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
				       0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
				       0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
	static const uint8_t p384[] = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
				       0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};
	OWN_FREE uint8_t *again = NULL;

	if (strcmp(algorithm, "ec-p256") == 0)
		return size == sizeof(p256) + 64 && memcmp(spki, p256, sizeof(p256)) == 0;
	if (strcmp(algorithm, "ec-p384") == 0)
		return size == sizeof(p384) + 96 && memcmp(spki, p384, sizeof(p384)) == 0;
	int n = i2d_PUBKEY(key, &again);
	return n > 0 && (size_t)n == size && memcmp(again, spki, size) == 0;
}

static int spki_digest(X509 *x509, bool strict, struct digest *out, char algorithm[static 32], struct err *e)
{
	OWN_FREE uint8_t *spki = NULL;
	EVP_PKEY *key = X509_get0_pubkey(x509);
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &spki);

	if (n <= 0)
		return x509_error(e, ERR_CERTIFICATE_MALFORMED, "the certificate's public key cannot be encoded");
	if (key)
		name_of_key(key, algorithm, 32);
	else
		snprintf(algorithm, 32, "unknown");
	if (strict && (!key || !key_accepted(key, algorithm)))
		return x509_error(e, ERR_SIGNATURE_ALGORITHM, "a key of kind %s is not accepted", algorithm);
	if (strict && !key_written_usually(key, algorithm, spki, (size_t)n))
		return x509_error(e, ERR_SIGNATURE_ALGORITHM,
				  "the %s key is not written as a named curve with an uncompressed point, or plain RSA",
				  algorithm);
	ERR_clear_error();
	return digest_of(spki, (size_t)n, out, e);
}

int x509_signer(X509 *x509, struct digest *out, struct err *e)
{
	char algorithm[32];

	return spki_digest(x509, true, out, algorithm, e);
}

static int seconds_of(const ASN1_TIME *t, int64_t *out)
{
	struct tm tm;

	if (!t || !ASN1_TIME_to_tm(t, &tm))
		return -1;
	*out = (int64_t)timegm(&tm);
	return 0;
}

/* RFC 2253 as OpenSSL writes it escapes control characters and everything that is not ASCII. */
static int subject_of(X509 *x509, char dst[static 256])
{
	BIO *text = BIO_new(BIO_s_mem());
	int n = -1;

	if (text && X509_NAME_print_ex(text, X509_get_subject_name(x509), 0, XN_FLAG_RFC2253) >= 0)
		n = BIO_read(text, dst, 255);
	dst[n > 0 ? n : 0] = '\0';
	BIO_free(text);
	return text ? 0 : -1;
}

int x509_info(X509 *x509, struct cert_info *out, struct err *e)
{
	struct cert_info info = {};
	OWN_FREE uint8_t *der = NULL;

	/* Parses and caches the extensions; -1 asks for no purpose. */
	X509_check_purpose(x509, -1, 0);
	if (X509_get_extension_flags(x509) & EXFLAG_INVALID)
		return x509_error(e, ERR_CERTIFICATE_MALFORMED, "the certificate has extensions that cannot be read");
	if (seconds_of(X509_get0_notBefore(x509), &info.not_before) ||
	    seconds_of(X509_get0_notAfter(x509), &info.not_after))
		return x509_error(e, ERR_CERTIFICATE_MALFORMED, "the certificate's validity cannot be read");
	if (subject_of(x509, info.subject))
		return x509_error(e, ERR_NOMEM, "describing a certificate");
	int n = i2d_X509(x509, &der);
	if (n <= 0)
		return x509_error(e, ERR_CERTIFICATE_MALFORMED, "the certificate cannot be encoded");
	if (digest_of(der, (size_t)n, &info.digest, e) || spki_digest(x509, false, &info.signer, info.algorithm, e))
		return -1;
	info.code_signing =
	    (X509_get_extension_flags(x509) & EXFLAG_XKUSAGE) && (X509_get_extended_key_usage(x509) & XKU_CODE_SIGN);
	info.ca = X509_check_ca(x509) == 1;
	ERR_clear_error();
	*out = info;
	return 0;
}

static int pem_next(BIO *bio, X509 **out, struct err *e)
{
	*out = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	if (*out)
		return 0;
	unsigned long why = ERR_peek_last_error();
	if (ERR_GET_LIB(why) == ERR_LIB_PEM && ERR_GET_REASON(why) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		return 0;
	}
	return x509_error(e, ERR_CERTIFICATE_MALFORMED, "not a PEM certificate");
}

static int add_issuers(struct cert *cert, BIO *bio, struct err *e)
{
	for (;;) {
		X509 *x509;

		if (pem_next(bio, &x509, e))
			return -1;
		if (!x509)
			return 0;
		if (!cert->issuers)
			cert->issuers = sk_X509_new_null();
		if (!cert->issuers || !sk_X509_push(cert->issuers, x509)) {
			X509_free(x509);
			return x509_error(e, ERR_NOMEM, "reading certificates");
		}
		if (sk_X509_num(cert->issuers) >= (int)ARRAY_LEN(((struct cms_signer *)NULL)->chain))
			return err_set(e, ERR_CERTIFICATE_MALFORMED, "more certificates than a chain may have");
	}
}

static int read_pem(BIO *bio, struct cert **out, struct err *e)
{
	OWN(cert) struct cert *cert = calloc(1, sizeof(*cert));

	if (!cert)
		return err_errno(e, ERR_NOMEM, "reading a certificate");
	if (pem_next(bio, &cert->x509, e))
		return -1;
	if (!cert->x509)
		return err_set(e, ERR_CERTIFICATE_MALFORMED, "holds no PEM certificate");
	if (x509_info(cert->x509, &cert->info, e) || add_issuers(cert, bio, e))
		return -1;
	*out = TAKE_PTR(cert);
	return 0;
}

int cert_chain_from_pem(const uint8_t *pem, size_t size, struct cert **out, struct err *e)
{
	if (size > CERT_PEM_MAX_BYTES)
		return err_set(e, ERR_CERTIFICATE_MALFORMED, "more than %d bytes", CERT_PEM_MAX_BYTES);
	ERR_clear_error();
	BIO *bio = BIO_new_mem_buf(size ? (const void *)pem : "", (int)size);
	if (!bio)
		return x509_error(e, ERR_NOMEM, "reading a certificate");
	int rc = read_pem(bio, out, e);
	BIO_free(bio);
	return rc;
}

int cert_from_x509(X509 *x509, struct cert **out, struct err *e)
{
	OWN(cert) struct cert *cert = calloc(1, sizeof(*cert));

	if (!cert)
		return err_errno(e, ERR_NOMEM, "certificate");
	X509_up_ref(x509);
	cert->x509 = x509;
	if (x509_info(x509, &cert->info, e))
		return -1;
	*out = TAKE_PTR(cert);
	return 0;
}

int cert_from_pem(const uint8_t *pem, size_t size, struct cert **out, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;

	if (cert_chain_from_pem(pem, size, &cert, e))
		return -1;
	if (cert->issuers)
		return err_set(e, ERR_CERTIFICATE_MALFORMED, "holds more than one certificate");
	*out = TAKE_PTR(cert);
	return 0;
}

void cert_free(struct cert **cert)
{
	if (!*cert)
		return;
	X509_free((*cert)->x509);
	sk_X509_pop_free((*cert)->issuers, X509_free);
	free(*cert);
	*cert = NULL;
}

void cert_info(const struct cert *cert, struct cert_info *out)
{
	*out = cert->info;
}

int cert_to_pem(const struct cert *cert, char **out, size_t *out_size, struct err *e)
{
	OWN_FREE char *text = NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;

	if (!bio || !PEM_write_bio_X509(bio, cert->x509)) {
		BIO_free(bio);
		return x509_error(e, ERR_NOMEM, "writing a certificate");
	}
	long size = BIO_get_mem_data(bio, &data);
	text = strndup(data, (size_t)size);
	BIO_free(bio);
	if (!text)
		return err_errno(e, ERR_NOMEM, "writing a certificate");
	*out = TAKE_PTR(text);
	*out_size = (size_t)size;
	return 0;
}
