#include "packager/sign.h"

#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <time.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "keys/gate.h"
#include "packager/packager.h"

enum { CERT_MAX_BYTES = 64 << 10 };

int signing_parse_fd(const char *text, int *out, struct err *e)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (end == text || *end || value < 0 || value > 1 << 20)
		return err_set(e, ERR_USAGE, "\"%s\" is no file descriptor", text);
	*out = (int)value;
	return 0;
}

/* Files are in the order manifest, signatures by name, objects: the new one goes to its place among the signatures. */
static int insert_signature(const struct bundle_files *files, const char *path, const uint8_t *der, size_t size,
			    struct bundle_files **out, struct err *e)
{
	OWN(bundle_files) struct bundle_files *all = NULL;
	bool done = false;

	if (bundle_files_new(&all, e))
		return -1;
	for (size_t i = 0; i < files->count; i++) {
		const struct bundle_file *file = &files->file[i];
		bool behind = file->kind == BUNDLE_FILE_OBJECT ||
			      (file->kind == BUNDLE_FILE_SIGNATURE && strcmp(file->path, path) > 0);
		if (!done && behind) {
			if (bundle_files_add(all, path, der, size, e))
				return -1;
			done = true;
		}
		if (strcmp(file->path, path) != 0 && bundle_files_add(all, file->path, file->data, file->size, e))
			return -1;
	}
	if (!done && bundle_files_add(all, path, der, size, e))
		return -1;
	*out = TAKE_PTR(all);
	return 0;
}

static int add_signature(struct bundle_files **files, const struct cert *cert, const uint8_t *der, size_t size,
			 struct err *e)
{
	struct bundle_files *all = NULL;
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES], path[BUNDLE_PATH_MAX + 1];

	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(path, sizeof(path), "sig/%s.p7s", hex);
	if (insert_signature(*files, path, der, size, &all, e))
		return -1;
	bundle_files_free(files);
	*files = all;
	return 0;
}

static int need_manifest(const struct bundle_files *files, const struct bundle_file **out, struct err *e)
{
	*out = bundle_files_manifest(files);
	return *out ? 0 : err_set(e, ERR_MANIFEST_MISSING, "no manifest.json");
}

static int read_cert(const char *path, struct cert **out, struct err *e)
{
	OWN_FREE uint8_t *pem = NULL;
	size_t size;

	if (file_read(path, CERT_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &pem, &size, e))
		return -1;
	return cert_chain_from_pem(pem, size, out, e) ? err_wrap(e, "%s", path) : 0;
}

static int sign_with(const struct signing *signing, struct bundle_files **files, struct cert **out_cert, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	OWN(signing_key) struct signing_key *key = NULL;
	OWN_FREE uint8_t *der = NULL;
	const struct bundle_file *manifest;
	size_t size;

	if (need_manifest(*files, &manifest, e) || read_cert(signing->cert, &cert, e) ||
	    signing_key_open(signing->key, &signing->pass, &key, e) ||
	    cms_sign(manifest->data, manifest->size, cert, key, &der, &size, e) ||
	    add_signature(files, cert, der, size, e))
		return -1;
	*out_cert = TAKE_PTR(cert);
	return 0;
}

int signing_add(const struct signing *signing, struct bundle_files **files, struct digest *out_signer, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	struct cert_info info;

	if (sign_with(signing, files, &cert, e))
		return -1;
	cert_info(cert, &info);
	*out_signer = info.signer;
	return 0;
}

int signing_check(const uint8_t *tar, size_t size, const struct cert *cert, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	static const char format[] = "{\"schema\":1,\"grants\":[{\"names\":[\"*\"],\"signers\":[\"%s\"],"
				     "\"capabilities\":{\"allow\":[\"*\"]}}]}";
	char hex[DIGEST_HEX_BYTES], json[sizeof(format) + DIGEST_HEX_BYTES];
	struct cert_info info;

	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(json, sizeof(json), format, hex);
	if (archive_read(tar, size, &files, e) || trust_new(&trust, e) || trust_add(trust, cert, e) ||
	    policy_parse((const uint8_t *)json, strlen(json), &policy, e))
		return -1;
	struct gate gate = {.trust = trust, .policy = policy, .now = time(NULL)};
	return gate_verify(&gate, &files, &verified, NULL, e);
}

/* ---- the command ---- */

struct sign_options {
	struct signing signing;
	const char *bundle, *output, *attach;
	bool prepare, help;
};

static void help(void)
{
	fputs("usage: obspkg sign --key KEY --cert CERT BUNDLE [-o OUT]\n"
	      "       obspkg sign --prepare BUNDLE [-o FILE]\n"
	      "       obspkg sign --attach SIGNATURE BUNDLE [-o OUT]\n\n"
	      "Adds a signature to a bundle, in place unless -o names another file (- is standard output).\n\n"
	      "      --key KEY             PEM file, or pkcs11: URI\n"
	      "      --cert FILE           the key's certificate, maybe followed by its issuers, PEM\n"
	      "      --passphrase-file F   passphrase or PIN: the first line of this file\n"
	      "      --passphrase-fd N     or of this descriptor\n"
	      "      --prepare             write what is to be signed, for a signer without network\n"
	      "      --attach SIGNATURE    take the answer: detached CMS, DER\n"
	      "  -o, --output FILE\n\n"
	      "The other half, on the signer's machine:\n"
	      "  openssl cms -sign -binary -outform DER -in FILE -signer CERT -inkey KEY -out SIGNATURE\n",
	      stdout);
}

static int take_option(struct sign_options *o, int c, char **argv, struct err *e)
{
	switch (c) {
	case 'k':
		o->signing.key = optarg;
		return 0;
	case 'c':
		o->signing.cert = optarg;
		return 0;
	case 'f':
		o->signing.pass.file = optarg;
		return 0;
	case 'n':
		return signing_parse_fd(optarg, &o->signing.pass.fd, e);
	case 'p':
		o->prepare = true;
		return 0;
	case 'a':
		o->attach = optarg;
		return 0;
	case 'o':
		o->output = optarg;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case ':':
		return err_set(e, ERR_USAGE, "sign: \"%s\" needs a value", argv[optind - 1]);
	default:
		return err_set(e, ERR_USAGE, "sign: unknown option \"%s\"", argv[optind - 1]);
	}
}

static int parse(int argc, char **argv, struct sign_options *o, struct err *e)
{
	static const struct option known[] = {
	    {"key", required_argument, NULL, 'k'},
	    {"cert", required_argument, NULL, 'c'},
	    {"passphrase-file", required_argument, NULL, 'f'},
	    {"passphrase-fd", required_argument, NULL, 'n'},
	    {"prepare", no_argument, NULL, 'p'},
	    {"attach", required_argument, NULL, 'a'},
	    {"output", required_argument, NULL, 'o'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	opterr = 0;
	optind = 0;
	while ((c = getopt_long(argc, argv, ":o:h", known, NULL)) != -1)
		if (take_option(o, c, argv, e))
			return -1;
	if (o->help)
		return 0;
	if (argc - optind != 1)
		return err_set(e, ERR_USAGE, "sign: give one bundle");
	o->bundle = argv[optind];
	bool key = o->signing.key || o->signing.cert;
	if (key + o->prepare + (o->attach != NULL) != 1)
		return err_set(e, ERR_USAGE, "sign: give --key and --cert, or --prepare, or --attach");
	if (key && (!o->signing.key || !o->signing.cert))
		return err_set(e, ERR_USAGE, "sign: --key and --cert go together");
	if (o->signing.pass.file && o->signing.pass.fd >= 0)
		return err_set(e, ERR_USAGE, "sign: --passphrase-file or --passphrase-fd, not both");
	if (!o->output)
		o->output = o->prepare ? "-" : o->bundle;
	return 0;
}

static int write_output(const char *path, const void *data, size_t size, struct err *e)
{
	if (strcmp(path, "-") == 0)
		return file_write_fd(STDOUT_FILENO, data, size, e) ? err_wrap(e, "standard output") : 0;
	return file_replace_at(AT_FDCWD, path, data, size, 0644, e) ? err_wrap(e, "%s", path) : 0;
}

static int attach(const char *path, struct bundle_files **files, struct cert **out_cert, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	if (file_read(path, BUNDLE_SIGNATURE_MAX_BYTES, ERR_SIGNATURE_MALFORMED, &der, &size, e))
		return -1;
	if (cms_peek_cert(der, size, &cert, e) || add_signature(files, cert, der, size, e))
		return err_wrap(e, "%s", path);
	*out_cert = TAKE_PTR(cert);
	return 0;
}

static int prepare(const struct sign_options *o, const struct bundle_files *files, struct err *e)
{
	const struct bundle_file *manifest;

	if (need_manifest(files, &manifest, e))
		return err_wrap(e, "%s", o->bundle);
	return write_output(o->output, manifest->data, manifest->size, e);
}

static int run(const struct sign_options *o, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(cert) struct cert *cert = NULL;
	OWN_FREE uint8_t *tar = NULL;
	OWN_FREE uint8_t *result = NULL;
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES];
	size_t size, result_size;
	int64_t mtime;

	if (file_read(o->bundle, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, &tar, &size, e))
		return -1;
	if (archive_read(tar, size, &files, e) || archive_mtime(tar, size, &mtime, e))
		return err_wrap(e, "%s", o->bundle);
	if (o->prepare)
		return prepare(o, files, e);
	if (o->attach ? attach(o->attach, &files, &cert, e) : sign_with(&o->signing, &files, &cert, e))
		return -1;
	if (archive_write(files, mtime, &result, &result_size, e) || signing_check(result, result_size, cert, e))
		return err_wrap(e, "%s", o->bundle);
	if (write_output(o->output, result, result_size, e))
		return -1;
	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	fprintf(stderr, "%s: signed by %s (%s)\n", strcmp(o->output, "-") == 0 ? "bundle" : o->output, hex,
		info.subject);
	return 0;
}

int cmd_sign(int argc, char **argv, struct err *e)
{
	struct sign_options o = {.signing = {.pass = {.fd = -1, .ask = true}}};

	if (parse(argc, argv, &o, e))
		return -1;
	if (o.help) {
		help();
		return 0;
	}
	return run(&o, e);
}
