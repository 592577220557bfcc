/* OpenSSL 3.0 reaches PKCS #11 tokens by an engine only: Debian 12 has no pkcs11 provider. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <termios.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "keys/cert_impl.h"

enum { KEY_MAX_BYTES = 64 << 10, PASSPHRASE_MAX = 1024, URI_MAX = 4096, BACKDATE_SECONDS = 600, SERIAL_BITS = 159 };

struct signing_key {
	EVP_PKEY *pkey;
	ENGINE *engine; /* initialised; NULL for a key in memory */
};

EVP_PKEY *signing_key_pkey(const struct signing_key *key)
{
	return key->pkey;
}

void signing_key_free(struct signing_key **key)
{
	if (!*key)
		return;
	EVP_PKEY_free((*key)->pkey);
	if ((*key)->engine) {
		ENGINE_finish((*key)->engine);
		ENGINE_free((*key)->engine);
	}
	free(*key);
	*key = NULL;
}

void signing_text_free(char **text, size_t size)
{
	if (*text)
		OPENSSL_cleanse(*text, size);
	free(*text);
	*text = NULL;
}

/* ---- passphrases ---- */

struct secret {
	char text[PASSPHRASE_MAX + 1];
	bool known;
};

static void secret_cleanse(struct secret *secret)
{
	OPENSSL_cleanse(secret, sizeof(*secret));
}

#define OWN_SECRET __attribute__((cleanup(secret_cleanse)))

static volatile sig_atomic_t interrupted; /* while a terminal is asked */

static void note_signal(int signal)
{
	interrupted = signal;
}

/* One byte at a time: what follows the line belongs to whoever reads the descriptor next. */
static int read_line(int fd, struct secret *out, struct err *e)
{
	size_t len = 0;

	for (;;) {
		char c;
		ssize_t n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, ERR_KEY_UNREADABLE, "reading the passphrase");
		if (n == 0 || c == '\n')
			break;
		if (len == PASSPHRASE_MAX)
			return err_set(e, ERR_KEY_UNREADABLE, "a passphrase of more than %d bytes", PASSPHRASE_MAX);
		if (c == '\0')
			return err_set(e, ERR_KEY_UNREADABLE, "a passphrase with a zero byte");
		out->text[len++] = c;
	}
	if (len && out->text[len - 1] == '\r')
		len--;
	out->text[len] = '\0';
	out->known = true;
	return 0;
}

/* Signals are let in only while it waits, so that none falls between a look at the flag and the wait. */
static int ask_and_wait(int tty, const sigset_t *open_mask, struct secret *out, struct err *e)
{
	static const char prompt[] = "Passphrase of the key: ";
	struct pollfd answer = {.fd = tty, .events = POLLIN};

	if (file_write_fd(tty, prompt, sizeof(prompt) - 1, e))
		return -1;
	while (ppoll(&answer, 1, NULL, open_mask) < 0)
		if (errno != EINTR || interrupted)
			return err_errno(e, ERR_KEY_UNREADABLE, "asking for the passphrase");
	return read_line(tty, out, e);
}

/* Whoever interrupts the question gets the terminal back with its echo, and the signal then. */
static int read_quietly(int tty, const struct termios *quiet, struct secret *out, struct err *e)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction note = {.sa_handler = note_signal}, before[ARRAY_LEN(signals)];
	struct termios old;
	sigset_t closed, mask;
	int rc;

	interrupted = 0;
	sigemptyset(&closed);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&closed, signals[i]);
	sigprocmask(SIG_BLOCK, &closed, &mask);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &note, &before[i]);
	if (tcgetattr(tty, &old) || tcsetattr(tty, TCSAFLUSH, quiet)) {
		rc = err_errno(e, ERR_KEY_UNREADABLE, "asking for the passphrase");
	} else {
		/* Only now: what was typed before is thrown away. */
		rc = ask_and_wait(tty, &mask, out, e);
		tcsetattr(tty, TCSAFLUSH, &old);
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaction(signals[i], &before[i], NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (interrupted)
		raise(interrupted);
	return rc;
}

static int ask_tty(struct secret *out, struct err *e)
{
	struct termios quiet;
	OWN_FD int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (tty < 0 || tcgetattr(tty, &quiet))
		return err_set(e, ERR_KEY_UNREADABLE, "the key needs a passphrase, and there is no terminal to ask");
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (read_quietly(tty, &quiet, out, e))
		return -1;
	return file_write_fd(tty, "\n", 1, e);
}

/* Leaves *out unknown if nobody gives one. */
static int secret_get(const struct passphrase *pass, struct secret *out, struct err *e)
{
	if (!pass)
		return 0;
	if (pass->fd >= 0)
		return read_line(pass->fd, out, e) ? err_wrap(e, "descriptor %d", pass->fd) : 0;
	if (pass->file) {
		OWN_FD int fd = open(pass->file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			return err_errno(e, ERR_KEY_UNREADABLE, "%s", pass->file);
		return read_line(fd, out, e) ? err_wrap(e, "%s", pass->file) : 0;
	}
	return pass->ask ? ask_tty(out, e) : 0;
}

int passphrase_read(const struct passphrase *pass, char **out, size_t *out_size, struct err *e)
{
	OWN_SECRET struct secret secret = {};
	char *text = NULL;

	if (secret_get(pass, &secret, e))
		return -1;
	if (secret.known) {
		text = strdup(secret.text);
		if (!text)
			return err_errno(e, ERR_NOMEM, "passphrase");
	}
	*out = text;
	*out_size = text ? strlen(text) : 0;
	return 0;
}

/* ---- PEM ---- */

struct asking {
	const struct passphrase *pass;
	struct secret *secret;
	struct err *e;
	bool asked, failed;
};

/* Called by OpenSSL only when the key turns out to be encrypted. */
static int give_passphrase(char *buf, int size, int writing, void *ctx)
{
	struct asking *a = ctx;

	(void)writing;
	a->asked = true;
	if (!a->secret->known && secret_get(a->pass, a->secret, a->e)) {
		a->failed = true;
		return -1;
	}
	size_t len = strlen(a->secret->text);
	if (!a->secret->known || len > (size_t)size)
		return -1;
	memcpy(buf, a->secret->text, len);
	return (int)len;
}

static int open_pem(const char *path, const struct passphrase *pass, struct signing_key *key, struct err *e)
{
	OWN_SECRET struct secret secret = {};
	struct asking a = {.pass = pass, .secret = &secret, .e = e};
	uint8_t *pem = NULL;
	size_t size;

	OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_errno(e, ERR_KEY_UNREADABLE, "%s", path);
	if (file_read_fd(fd, KEY_MAX_BYTES, ERR_KEY_UNREADABLE, &pem, &size, e))
		return err_wrap(e, "%s", path);
	BIO *bio = BIO_new_mem_buf(pem, (int)size);
	if (bio)
		key->pkey = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &a);
	BIO_free(bio);
	signing_text_free((char **)&pem, size);
	if (key->pkey) {
		ERR_clear_error();
		return 0;
	}
	if (a.failed) {
		ERR_clear_error();
		return err_wrap(e, "%s", path);
	}
	if (a.asked && !secret.known)
		return x509_error(e, ERR_KEY_UNREADABLE, "%s is encrypted, and no passphrase was given", path);
	return x509_error(e, ERR_KEY_UNREADABLE, a.asked ? "%s: wrong passphrase?" : "%s: not a PEM private key", path);
}

/* ---- PKCS #11 ---- */

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;

	return at ? (int)(at - digits) : -1;
}

static void percent_decode(const char *s, size_t size, char *dst)
{
	size_t used = 0;

	for (size_t i = 0; i < size; i++) {
		if (s[i] == '%' && i + 2 < size && hex_digit(s[i + 1]) >= 0 && hex_digit(s[i + 2]) >= 0) {
			dst[used++] = (char)(hex_digit(s[i + 1]) * 16 + hex_digit(s[i + 2]));
			i += 2;
		} else {
			dst[used++] = s[i];
		}
	}
	dst[used] = '\0';
}

/* Takes module-path, which the engine does not know, out of the URI's query (RFC 7512, 2.4). Both results have room for
 * the whole URI. */
static void split_uri(const char *uri, char *rest, char *module)
{
	static const char name[] = "module-path=";
	size_t path = strcspn(uri, "?");
	const char *p = uri + path;
	char before = '?';

	memcpy(rest, uri, path);
	rest += path;
	module[0] = '\0';
	while (*p) {
		size_t size = strcspn(++p, "&");
		if (strncmp(p, name, sizeof(name) - 1) == 0) {
			percent_decode(p + sizeof(name) - 1, size - (sizeof(name) - 1), module);
		} else if (size) {
			*rest++ = before;
			memcpy(rest, p, size);
			rest += size;
			before = '&';
		}
		p += size;
	}
	*rest = '\0';
}

static int load_engine(const char *module, const struct secret *pin, ENGINE *engine, struct err *e)
{
	/* Its complaints belong into the error, not beside it. Older ones do not know the command. */
	ENGINE_ctrl_cmd_string(engine, "QUIET", NULL, 1);
	if (module[0] && !ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", module, 0))
		return x509_error(e, ERR_KEY_UNREADABLE, "PKCS #11 module %s", module);
	if (!ENGINE_init(engine))
		return x509_error(e, ERR_KEY_UNREADABLE, "OpenSSL's pkcs11 engine does not start");
	if (pin->known && !ENGINE_ctrl_cmd_string(engine, "PIN", pin->text, 0)) {
		ENGINE_finish(engine);
		return x509_error(e, ERR_KEY_UNREADABLE, "the PIN is not accepted");
	}
	return 0;
}

static int open_pkcs11(const char *uri, const struct passphrase *pass, struct signing_key *key, struct err *e)
{
	OWN_SECRET struct secret pin = {};
	char rest[URI_MAX + 1], module[URI_MAX + 1];

	if (strlen(uri) > URI_MAX)
		return err_set(e, ERR_USAGE, "a PKCS #11 URI of more than %d bytes", URI_MAX);
	/* Everyone on the machine may read a command line. */
	if (strstr(uri, "pin-value="))
		return err_set(e, ERR_USAGE, "a PIN in the URI is visible to all: use --passphrase-file or -fd");
	if (secret_get(pass, &pin, e))
		return -1;
	ENGINE_load_dynamic();
	ENGINE *engine = ENGINE_by_id("pkcs11");
	if (!engine)
		return x509_error(e, ERR_KEY_UNREADABLE,
				  "OpenSSL has no pkcs11 engine (Debian: libengine-pkcs11-openssl)");
	split_uri(uri, rest, module);
	if (load_engine(module, &pin, engine, e)) {
		ENGINE_free(engine);
		return -1;
	}
	key->engine = engine;
	key->pkey = ENGINE_load_private_key(engine, rest, NULL, NULL);
	if (!key->pkey)
		return x509_error(e, ERR_KEY_UNREADABLE, "no such key in the token, or wrong PIN");
	ERR_clear_error();
	return 0;
}

int signing_key_open(const char *path_or_uri, const struct passphrase *pass, struct signing_key **out, struct err *e)
{
	OWN(signing_key) struct signing_key *key = calloc(1, sizeof(*key));

	if (!key)
		return err_errno(e, ERR_NOMEM, "key");
	ERR_clear_error();
	if (strncmp(path_or_uri, "pkcs11:", 7) == 0 ? open_pkcs11(path_or_uri, pass, key, e)
						    : open_pem(path_or_uri, pass, key, e))
		return -1;
	*out = TAKE_PTR(key);
	return 0;
}

/* ---- a new key ---- */

static int add_extension(X509 *x509, int nid, const char *value)
{
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, x509, x509, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	int ok = extension && X509_add_ext(x509, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static int set_serial(X509 *x509)
{
	BIGNUM *serial = BN_new();
	int ok = serial && BN_rand(serial, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
		 BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x509));

	BN_free(serial);
	return ok;
}

static int certify(X509 *x509, EVP_PKEY *pkey, const char *common_name, unsigned days)
{
	X509_NAME *name = X509_get_subject_name(x509);
	time_t start = time(NULL) - BACKDATE_SECONDS;

	return X509_set_version(x509, X509_VERSION_3) && set_serial(x509) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0) &&
	       X509_set_issuer_name(x509, name) && X509_time_adj_ex(X509_getm_notBefore(x509), 0, 0, &start) &&
	       X509_time_adj_ex(X509_getm_notAfter(x509), (int)days, 0, &start) && X509_set_pubkey(x509, pkey) &&
	       add_extension(x509, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(x509, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(x509, NID_ext_key_usage, "codeSigning") &&
	       add_extension(x509, NID_subject_key_identifier, "hash") && X509_sign(x509, pkey, EVP_sha256());
}

static int take_text(BIO *bio, char **out, size_t *out_size)
{
	char *data;
	long size = BIO_get_mem_data(bio, &data);
	char *text = size > 0 ? malloc((size_t)size + 1) : NULL;

	if (!text)
		return -1;
	memcpy(text, data, (size_t)size);
	text[size] = '\0';
	*out = text;
	*out_size = (size_t)size;
	return 0;
}

static int key_text(EVP_PKEY *pkey, const char *pass, char **out, size_t *out_size)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	int rc = -1;

	if (bio && PEM_write_bio_PKCS8PrivateKey(bio, pkey, pass ? EVP_aes_256_cbc() : NULL, pass,
						 pass ? (int)strlen(pass) : 0, NULL, NULL))
		rc = take_text(bio, out, out_size);
	BIO_free(bio);
	return rc;
}

static int cert_text(X509 *x509, char **out, size_t *out_size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int rc = -1;

	if (bio && PEM_write_bio_X509(bio, x509))
		rc = take_text(bio, out, out_size);
	BIO_free(bio);
	return rc;
}

static int check_common_name(const char *name, struct err *e)
{
	size_t size = strlen(name), characters = 0;

	for (size_t i = 0; i < size; characters++) {
		size_t len = text_utf8_len((const uint8_t *)name + i, size - i);
		if (len == 0 || (uint8_t)name[i] < 0x20 || name[i] == 0x7f)
			return err_set(e, ERR_USAGE, "the common name is not plain UTF-8 text");
		i += len;
	}
	if (characters == 0 || characters > 64)
		return err_set(e, ERR_USAGE, "a common name has 1 to 64 characters, not %zu", characters);
	return 0;
}

int signing_key_generate(const char *common_name, unsigned days, const char *pass, char **key_pem, size_t *key_size,
			 char **cert_pem, size_t *cert_size, struct err *e)
{
	char *key = NULL, *cert = NULL;
	size_t key_len = 0, cert_len = 0;

	if (check_common_name(common_name, e))
		return -1;
	if (days < 1 || days > 36500)
		return err_set(e, ERR_USAGE, "a certificate is valid for 1 to 36500 days, not %u", days);
	if (pass && (strlen(pass) < 4 || strlen(pass) > PASSPHRASE_MAX))
		return err_set(e, ERR_USAGE, "a passphrase has 4 to %d bytes", PASSPHRASE_MAX);
	ERR_clear_error();
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	X509 *x509 = X509_new();
	int rc = pkey && x509 && certify(x509, pkey, common_name, days) && !key_text(pkey, pass, &key, &key_len) &&
			 !cert_text(x509, &cert, &cert_len)
		     ? 0
		     : x509_error(e, ERR_INTERNAL, "making a key");
	X509_free(x509);
	EVP_PKEY_free(pkey);
	if (rc) {
		signing_text_free(&key, key_len);
		free(cert);
		return -1;
	}
	*key_pem = key;
	*key_size = key_len;
	*cert_pem = cert;
	*cert_size = cert_len;
	return 0;
}
