#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "keys/cert_impl.h"

enum {
	TRUST_MAX_CERTS = 1024,
	TRUST_MAX_REVOKED = 65536,
	CHAIN_MAX = (int)ARRAY_LEN(((struct cms_signer *)NULL)->chain),
	SECURITY_LEVEL = 3, /* OpenSSL's: 128 bits for keys and digests of every certificate of a chain */
};

struct trust {
	X509_STORE *store;
	struct cert **cert;
	size_t count;
	struct digest *revoked; /* sorted, each once */
	size_t revoked_count;
};

/* What OpenSSL has at exit goes with the process. */
int trust_no_config(struct err *e)
{
	if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL))
		return x509_error(e, ERR_NOMEM, "starting OpenSSL");
	return 0;
}

int trust_new(struct trust **out, struct err *e)
{
	OWN(trust) struct trust *trust = calloc(1, sizeof(*trust));

	if (!trust)
		return err_errno(e, ERR_NOMEM, "trust store");
	/* A fresh store has no lookups: neither files nor folders of the system are ever asked. */
	trust->store = X509_STORE_new();
	if (!trust->store)
		return x509_error(e, ERR_NOMEM, "trust store");
	*out = TAKE_PTR(trust);
	return 0;
}

void trust_free(struct trust **trust)
{
	if (!*trust)
		return;
	for (size_t i = 0; i < (*trust)->count; i++)
		cert_free(&(*trust)->cert[i]);
	free((void *)(*trust)->cert);
	free((*trust)->revoked);
	X509_STORE_free((*trust)->store);
	free(*trust);
	*trust = NULL;
}

size_t trust_count(const struct trust *trust)
{
	return trust->count;
}

const struct cert *trust_at(const struct trust *trust, size_t i)
{
	return i < trust->count ? trust->cert[i] : NULL;
}

static const struct cert *trust_holds(const struct trust *trust, X509 *x509)
{
	for (size_t i = 0; i < trust->count; i++)
		if (X509_cmp(cert_x509(trust->cert[i]), x509) == 0)
			return trust->cert[i];
	return NULL;
}

static int take_cert(struct trust *trust, struct cert **cert, struct err *e)
{
	if (trust_holds(trust, cert_x509(*cert)))
		return 0;
	if (trust->count == TRUST_MAX_CERTS)
		return err_set(e, ERR_LIMIT, "more than %d trusted certificates", TRUST_MAX_CERTS);
	struct cert **grown =
	    (struct cert **)reallocarray((void *)trust->cert, trust->count + 1, sizeof(struct cert *));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "trust store");
	trust->cert = grown;
	if (!X509_STORE_add_cert(trust->store, cert_x509(*cert)))
		return x509_error(e, ERR_NOMEM, "trust store");
	trust->cert[trust->count++] = TAKE_PTR(*cert);
	return 0;
}

int trust_add(struct trust *trust, const struct cert *cert, struct err *e)
{
	OWN(cert) struct cert *own = NULL;

	/* Without the issuers that it may have come with: those are not trusted. */
	if (cert_from_x509(cert_x509(cert), &own, e))
		return -1;
	return take_cert(trust, &own, e);
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct digest));
}

bool trust_revoked(const struct trust *trust, const struct digest *identity)
{
	return trust->revoked_count &&
	       bsearch(identity, trust->revoked, trust->revoked_count, sizeof(*identity), by_bytes);
}

int trust_revoke(struct trust *trust, const struct digest *identities, size_t count, struct err *e)
{
	size_t all = trust->revoked_count + count, kept = 0;

	if (count == 0)
		return 0;
	if (count > TRUST_MAX_REVOKED || all > TRUST_MAX_REVOKED)
		return err_set(e, ERR_LIMIT, "more than %d revoked signers and bundles", TRUST_MAX_REVOKED);
	struct digest *grown = reallocarray(trust->revoked, all, sizeof(*grown));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "revoked signers and bundles");
	memcpy(grown + trust->revoked_count, identities, count * sizeof(*grown));
	qsort(grown, all, sizeof(*grown), by_bytes);
	for (size_t i = 0; i < all; i++)
		if (kept == 0 || !digest_equal(&grown[kept - 1], &grown[i]))
			grown[kept++] = grown[i];
	trust->revoked = grown;
	trust->revoked_count = kept;
	return 0;
}

static int is_pem(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".pem") == 0;
}

/* Bytes, not the locale, decide the order. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_file(struct trust *trust, int folder_fd, const char *name, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	OWN_FREE uint8_t *pem = NULL;
	struct stat st;
	size_t size;
	/* O_NONBLOCK: a FIFO of that name must not stop the daemon. */
	OWN_FD int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st))
		return err_errno(e, ERR_IO, "%s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_CERTIFICATE_MALFORMED, "%s: not a regular file", name);
	if (file_read_fd(fd, CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &pem, &size, e) ||
	    cert_from_pem(pem, size, &cert, e) || take_cert(trust, &cert, e))
		return err_wrap(e, "%s", name);
	return 0;
}

static int load_folder(struct trust *trust, int folder_fd, struct err *e)
{
	struct dirent **entry = NULL;
	int count = scandirat(folder_fd, ".", &entry, is_pem, by_name);
	int rc = 0;

	if (count < 0)
		return err_errno(e, ERR_IO, "reading the folder");
	for (int i = 0; i < count; i++) {
		if (!rc)
			rc = load_file(trust, folder_fd, entry[i]->d_name, e);
		free(entry[i]);
	}
	free((void *)entry);
	return rc;
}

int trust_load(int dir_fd, const char *folder, struct trust **out, struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN_FD int folder_fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (folder_fd < 0 && errno != ENOENT)
		return err_errno(e, ERR_IO, "%s", folder);
	if (trust_new(&trust, e))
		return -1;
	if (folder_fd >= 0 && load_folder(trust, folder_fd, e))
		return err_wrap(e, "%s", folder);
	*out = TAKE_PTR(trust);
	return 0;
}

/* Time is noted and weighed later; everything else stops. */
static int note_time(int ok, X509_STORE_CTX *ctx)
{
	struct x509_chain *chain = (struct x509_chain *)X509_STORE_CTX_get_app_data(ctx);
	struct cert_info info;

	if (ok)
		return 1;
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		chain->expired = true;
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		chain->not_yet_valid = true;
		break;
	default:
		return 0;
	}
	X509 *which = X509_STORE_CTX_get_current_cert(ctx);
	if (which && !x509_info(which, &info, NULL))
		memcpy(chain->expired_subject, info.subject, sizeof(info.subject));
	return 1;
}

static enum err_code code_of(int why)
{
	switch (why) {
	case X509_V_ERR_OUT_OF_MEM:
		return ERR_NOMEM;
	case X509_V_ERR_EE_KEY_TOO_SMALL:
	case X509_V_ERR_CA_KEY_TOO_SMALL:
	case X509_V_ERR_CA_MD_TOO_WEAK:
	case X509_V_ERR_EC_KEY_EXPLICIT_PARAMS:
		return ERR_SIGNATURE_ALGORITHM;
	case X509_V_ERR_INVALID_CA:
	case X509_V_ERR_INVALID_PURPOSE:
	case X509_V_ERR_PATH_LENGTH_EXCEEDED:
	case X509_V_ERR_KEYUSAGE_NO_CERTSIGN:
	case X509_V_ERR_KEYUSAGE_NO_DIGITAL_SIGNATURE:
	case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
	case X509_V_ERR_PERMITTED_VIOLATION:
	case X509_V_ERR_EXCLUDED_VIOLATION:
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		return ERR_CERTIFICATE_USAGE;
	case X509_V_ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD:
	case X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD:
	case X509_V_ERR_INVALID_EXTENSION:
		return ERR_CERTIFICATE_MALFORMED;
	default:
		return ERR_SIGNATURE_UNTRUSTED;
	}
}

/* Own checks, since OpenSSL's purposes know nothing of code signing in 3.0. An issuer whose extended key usage is
 * restricted to something else cannot give code signing away. */
static int check_usage(STACK_OF(X509) * certs, struct err *e)
{
	struct cert_info info;

	for (int i = 0; i < sk_X509_num(certs); i++) {
		X509 *x509 = sk_X509_value(certs, i);

		if (x509_info(x509, &info, e))
			return -1;
		bool restricted = X509_get_extension_flags(x509) & EXFLAG_XKUSAGE;
		if (i == 0 && !info.code_signing)
			return err_set(e, ERR_CERTIFICATE_USAGE, "%s is not for code signing", info.subject);
		if (i == 0 && !(X509_get_key_usage(x509) & KU_DIGITAL_SIGNATURE))
			return err_set(e, ERR_CERTIFICATE_USAGE, "%s is not for digital signatures", info.subject);
		if (i > 0 && restricted && !(X509_get_extended_key_usage(x509) & (XKU_CODE_SIGN | XKU_ANYEKU)))
			return err_set(e, ERR_CERTIFICATE_USAGE, "%s may not issue for code signing", info.subject);
	}
	return 0;
}

/* The chain goes up to the last certificate that the store itself holds: OpenSSL may have put certificates that came
 * with the signature above a trusted leaf, and those say nothing. */
static int keys_of_chain(const struct trust *trust, STACK_OF(X509) * certs, struct x509_chain *out, struct err *e)
{
	int count = 0;

	for (int i = 0; i < sk_X509_num(certs); i++)
		if (trust_holds(trust, sk_X509_value(certs, i)))
			count = i + 1;
	if (count == 0)
		return err_set(e, ERR_SIGNATURE_UNTRUSTED, "no certificate of the chain is trusted here");
	if (count > CHAIN_MAX)
		return err_set(e, ERR_CERTIFICATE_USAGE, "a chain of more than %d certificates", CHAIN_MAX);
	for (int i = 0; i < count; i++)
		if (x509_signer(sk_X509_value(certs, i), &out->key[i], e))
			return -1;
	out->count = (size_t)count;
	return 0;
}

/* alone: the leaf, where nothing else of the store is to be asked; or NULL. */
static int build(X509_STORE_CTX *ctx, const struct trust *trust, X509 *leaf, STACK_OF(X509) * untrusted,
		 STACK_OF(X509) * alone, int64_t now, struct x509_chain *out, struct err *e)
{
	struct cert_info info;

	if (!X509_STORE_CTX_init(ctx, trust->store, leaf, untrusted))
		return x509_error(e, ERR_NOMEM, "checking a chain");
	if (alone)
		X509_STORE_CTX_set0_trusted_stack(ctx, alone);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_MAX - 2); /* issuers between leaf and root */
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	X509_VERIFY_PARAM_set_time(param, (time_t)now);
	X509_STORE_CTX_set_app_data(ctx, out);
	X509_STORE_CTX_set_verify_cb(ctx, note_time);
	if (X509_verify_cert(ctx) != 1) {
		int why = X509_STORE_CTX_get_error(ctx);
		if (x509_info(leaf, &info, e))
			return -1;
		return x509_error(e, code_of(why), "%s: %s", info.subject, X509_verify_cert_error_string(why));
	}
	STACK_OF(X509) *certs = X509_STORE_CTX_get0_chain(ctx);
	if (check_usage(certs, e))
		return -1;
	return keys_of_chain(trust, certs, out, e);
}

static int build_fresh(const struct trust *trust, X509 *leaf, STACK_OF(X509) * untrusted, STACK_OF(X509) * alone,
		       int64_t now, struct x509_chain *out, struct err *e)
{
	struct x509_chain chain = {.leaf_trusted = trust_holds(trust, leaf) != NULL};
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (!ctx)
		return x509_error(e, ERR_NOMEM, "checking a chain");
	int rc = build(ctx, trust, leaf, untrusted, alone, now, &chain, e);
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	if (rc)
		return -1;
	*out = chain;
	return 0;
}

int trust_chain(const struct trust *trust, X509 *leaf, STACK_OF(X509) * untrusted, int64_t now, struct x509_chain *out,
		struct err *e)
{
	struct err why = ERR_INIT;

	if (build_fresh(trust, leaf, untrusted, NULL, now, out, &why) == 0)
		return 0;
	if (trust_holds(trust, leaf)) {
		if (untrusted && build_fresh(trust, leaf, NULL, NULL, now, out, NULL) == 0)
			return 0;
		return trust_chain_alone(trust, leaf, now, out, e);
	}
	if (e)
		*e = why;
	return -1;
}

int trust_chain_alone(const struct trust *trust, X509 *leaf, int64_t now, struct x509_chain *out, struct err *e)
{
	STACK_OF(X509) *alone = sk_X509_new_null();
	int rc = -1;

	if (!alone || !sk_X509_push(alone, leaf))
		x509_error(e, ERR_NOMEM, "checking a chain");
	else
		rc = build_fresh(trust, leaf, NULL, alone, now, out, e);
	sk_X509_free(alone);
	return rc;
}
