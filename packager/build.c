#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "packager/assemble.h"
#include "packager/packager.h"

static const char help[] =
    "usage: obspkg build FOLDER [-o BUNDLE] [--key KEY --cert CERT [--passphrase-file F | --passphrase-fd N]]\n\n"
    "Compiles the sources that FOLDER/bundle.json names, and derives the manifest from the objects. The same folder,\n"
    "headers and compiler give the same bytes. With --key and --cert the bundle is also signed.\n\n"
    "  -o, --output FILE        - is standard output (default: NAME-SERIAL.tar in the working folder)\n"
    "      --key KEY            PEM file, or pkcs11: URI\n"
    "      --cert FILE          the key's certificate, maybe followed by its issuers, PEM\n"
    "      --passphrase-file F  passphrase or PIN: the first line of this file\n"
    "      --passphrase-fd N    or of this descriptor\n"
    "      --json               errors as JSON\n";

static int source_date(int64_t *out, struct err *e)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;

	*out = 0;
	if (!text || !text[0])
		return 0;
	errno = 0;
	*out = strtoll(text, &end, 10);
	/* The tar's time field has 11 octal digits. */
	if (errno || end == text || *end || *out < 0 || *out > 077777777777LL)
		return err_set(e, ERR_USAGE, "SOURCE_DATE_EPOCH=%s is no number of seconds", text);
	return 0;
}

static void show_progress(const char *source, const char *arch, size_t done, size_t of)
{
	fprintf(stderr, "\r\033[K[%zu/%zu] %s for %s", done + 1, of, source, arch);
}

static void end_progress(void)
{
	fputs("\r\033[K", stderr);
}

/* *signer stays NULL where nobody signs. */
static int make_files(const struct options *o, const struct manifest *m, const struct built *built,
		      struct bundle_files **out, struct cert **signer, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(manifest) struct manifest *again = NULL;
	OWN_FREE char *text = NULL;
	size_t size = 0;

	if (manifest_format(m, &text, &size, e))
		return -1;
	/* What the loader would refuse is refused here, where the author sees it. */
	if (manifest_parse((const uint8_t *)text, size, &again, e))
		return err_wrap(e, "the manifest that was derived");
	if (bundle_files_new(&files, e) || bundle_files_add(files, "manifest.json", (const uint8_t *)text, size, e))
		return -1;
	for (size_t i = 0; i < built->count; i++)
		if (bundle_files_add(files, built->objects[i].path, built->objects[i].data, built->objects[i].size, e))
			return -1;
	if (o->signing.key && signing_add(&o->signing, &files, signer, e))
		return -1;
	*out = TAKE_PTR(files);
	return 0;
}

static int write_bundle(const struct options *o, const struct manifest *m, const uint8_t *tar, size_t size,
			struct err *e)
{
	const char *slash = strrchr(m->name, '/');
	char name[MANIFEST_NAME_MAX + 32];

	snprintf(name, sizeof(name), "%s-%llu.tar", slash ? slash + 1 : m->name, (unsigned long long)m->serial);
	const char *output = o->output ? o->output : name;
	if (file_write(output, tar, size, 0644, e))
		return -1;
	if (strcmp(output, "-") == 0)
		return 0;
	fprintf(stderr, "obspkg: %s: %s %s, serial %llu, %zu objects, %zu bytes%s\n", output, m->name, m->version,
		(unsigned long long)m->serial, m->object_count, size, o->signing.key ? ", signed" : "");
	return 0;
}

static int run(const struct options *o, struct err *e)
{
	OWN(definition) struct definition *definition = NULL;
	OWN(manifest) struct manifest *m = NULL;
	OWN(built) struct built *built = NULL;
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(cert) struct cert *signer = NULL;
	OWN_FREE uint8_t *tar = NULL;
	bool tty = isatty(STDERR_FILENO);
	int64_t created = 0;
	size_t size = 0;

	if (source_date(&created, e) || definition_read(o->word, &definition, e))
		return -1;
	int status = assemble(definition, created, tty ? show_progress : NULL, &m, &built, e);
	if (tty)
		end_progress();
	if (status || make_files(o, m, built, &files, &signer, e) || archive_write(files, created, &tar, &size, e))
		return -1;
	if (signer && signing_check(tar, size, signer, e))
		return err_wrap(e, "%s", o->signing.cert);
	return write_bundle(o, m, tar, size, e);
}

const struct command command_build = {
    .name = "build",
    .summary = "compile a folder with a bundle.json into a bundle",
    .help = help,
    .options = OPTIONS_SIGNING | OPTION_OUTPUT,
    .word = "folder",
    .run = run,
};
