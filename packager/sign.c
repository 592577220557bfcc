#include <string.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "packager/packager.h"

static const char help[] =
    "usage: obspkg sign --key KEY --cert CERT BUNDLE [-o OUT]\n"
    "       obspkg sign --prepare BUNDLE [-o FILE]\n"
    "       obspkg sign --attach SIGNATURE BUNDLE [-o OUT]\n\n"
    "Adds a signature to a bundle, in place unless -o names another file (- is standard output).\n\n"
    "      --key KEY             PEM file, or pkcs11: URI\n"
    "      --cert FILE           the key's certificate, maybe followed by its issuers, PEM\n"
    "      --passphrase-file F   passphrase or PIN: the first line of this file\n"
    "      --passphrase-fd N     or of this descriptor\n"
    "      --prepare             write what is to be signed, for a signer without network\n"
    "      --attach SIGNATURE    take the answer: detached CMS, DER\n"
    "  -o, --output FILE         with --prepare, standard output unless named\n"
    "      --json                errors as JSON\n\n"
    "The other half, on the signer's machine:\n"
    "  openssl cms -sign -binary -outform DER -in FILE -signer CERT -inkey KEY -out SIGNATURE\n";

static int prepare(const struct options *o, const char *output, const struct bundle_files *files, struct err *e)
{
	const struct bundle_file *manifest;

	if (signing_manifest(files, &manifest, e))
		return err_wrap(e, "%s", o->word);
	return file_write(output, manifest->data, manifest->size, 0644, e);
}

/* To standard error: the bundle may go to standard output. */
static void report(const char *output, const struct cert *cert)
{
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES];

	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	text_terminal(stderr, strcmp(output, "-") == 0 ? "bundle" : output, false);
	fprintf(stderr, ": signed by %s (", hex);
	text_terminal(stderr, info.subject, false);
	fputs(")\n", stderr);
}

static int check(const struct options *o, struct err *e)
{
	bool key = o->given & OPTION_KEY, prepare = o->given & OPTION_PREPARE, attach = o->given & OPTION_ATTACH;

	return key + prepare + attach == 1
		   ? 0
		   : err_set(e, ERR_USAGE, "sign: give --key and --cert, or --prepare, or --attach");
}

static int run(const struct options *o, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(cert) struct cert *cert = NULL;
	OWN_FREE uint8_t *tar = NULL;
	OWN_FREE uint8_t *result = NULL;
	const char *output = o->output ? o->output : o->word;
	size_t size, result_size;
	int64_t mtime;

	if (check(o, e) || file_read(o->word, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, &tar, &size, e))
		return -1;
	if (archive_mtime(tar, size, &mtime, e) || archive_take(&tar, size, &files, e))
		return err_wrap(e, "%s", o->word);
	if (o->given & OPTION_PREPARE)
		return prepare(o, o->output ? o->output : "-", files, e);
	if (o->attach ? signing_attach(o->attach, &files, &cert, e) : signing_add(&o->signing, &files, &cert, e))
		return -1;
	if (archive_write(files, mtime, &result, &result_size, e) || signing_check(result, result_size, cert, e))
		return err_wrap(e, "%s", o->word);
	if (file_write(output, result, result_size, 0644, e))
		return -1;
	report(output, cert);
	return 0;
}

const struct command command_sign = {
    .name = "sign",
    .summary = "add a signature to a bundle",
    .help = help,
    .options = OPTIONS_SIGNING | OPTION_PREPARE | OPTION_ATTACH | OPTION_OUTPUT,
    .word = "bundle",
    .run = run,
};
