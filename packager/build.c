#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "packager/assemble.h"
#include "packager/sign.h"

struct build_options {
	const char *folder, *output;
	struct signing signing;
};

static void help(void)
{
	fputs("usage: obspkg build FOLDER [-o BUNDLE.tar] [--key KEY --cert CERT]\n\n"
	      "  -o, --output FILE       default: <name>-<serial>.tar in the working folder\n"
	      "      --key KEY           PEM file or pkcs11: URI; also signs\n"
	      "      --cert FILE         the key's certificate, PEM\n"
	      "      --passphrase-fd N   read the passphrase or PIN from this descriptor\n"
	      "      --passphrase-file FILE  or from the first line of this file\n",
	      stdout);
}

static int parse(int argc, char **argv, struct build_options *o, bool *asked_help, struct err *e)
{
	static const struct option known[] = {
	    {"output", required_argument, NULL, 'o'},
	    {"key", required_argument, NULL, 'k'},
	    {"cert", required_argument, NULL, 'c'},
	    {"passphrase-fd", required_argument, NULL, 'f'},
	    {"passphrase-file", required_argument, NULL, 'p'},
	    {"json", no_argument, NULL, 'j'},
	    {"help", no_argument, NULL, 'h'},
	    {0},
	};
	int c;

	opterr = 0;
	optind = 0;
	while ((c = getopt_long(argc, argv, ":o:h", known, NULL)) != -1) {
		if (c == 'o')
			o->output = optarg;
		else if (c == 'k')
			o->signing.key = optarg;
		else if (c == 'c')
			o->signing.cert = optarg;
		else if (c == 'p')
			o->signing.pass.file = optarg;
		else if (c == 'f' && signing_parse_fd(optarg, &o->signing.pass.fd, e))
			return -1;
		else if (c == 'h')
			*asked_help = true;
		else if (c == ':' || c == '?')
			return err_set(e, ERR_USAGE, "build: %s \"%s\"", c == ':' ? "no value for" : "unknown option",
				       argv[optind - 1]);
	}
	if (*asked_help)
		return 0;
	if (argc - optind != 1)
		return err_set(e, ERR_USAGE, "build: give one folder");
	if (!o->signing.key != !o->signing.cert)
		return err_set(e, ERR_USAGE, "build: --key and --cert go together");
	o->folder = argv[optind];
	return 0;
}

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

static int make_files(const struct build_options *o, const struct manifest *m, const struct built *built,
		      struct bundle_files **out, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(manifest) struct manifest *again = NULL;
	OWN_FREE char *text = NULL;
	struct digest signer;
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
	if (o->signing.key && signing_add(&o->signing, &files, &signer, e))
		return -1;
	*out = TAKE_PTR(files);
	return 0;
}

static int write_bundle(const struct build_options *o, const struct manifest *m, const uint8_t *tar, size_t size,
			struct err *e)
{
	const char *slash = strrchr(m->name, '/');
	char name[MANIFEST_NAME_MAX + 32];

	if (o->output && strcmp(o->output, "-") == 0)
		return file_write_fd(STDOUT_FILENO, tar, size, e);
	snprintf(name, sizeof(name), "%s-%llu.tar", slash ? slash + 1 : m->name, (unsigned long long)m->serial);
	if (file_replace_at(AT_FDCWD, o->output ? o->output : name, tar, size, 0644, e))
		return -1;
	fprintf(stderr, "obspkg: %s: %s %s, serial %llu, %zu objects, %zu bytes%s\n", o->output ? o->output : name,
		m->name, m->version, (unsigned long long)m->serial, m->object_count, size,
		o->signing.key ? ", signed" : "");
	return 0;
}

int cmd_build(int argc, char **argv, struct err *e)
{
	struct build_options o = {.signing.pass = {.fd = -1, .ask = true}};
	OWN(definition) struct definition *definition = NULL;
	OWN(manifest) struct manifest *m = NULL;
	OWN(built) struct built *built = NULL;
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *tar = NULL;
	bool asked_help = false, tty = isatty(STDERR_FILENO);
	int64_t created = 0;
	size_t size = 0;

	if (parse(argc, argv, &o, &asked_help, e))
		return -1;
	if (asked_help) {
		help();
		return 0;
	}
	if (source_date(&created, e) || definition_read(o.folder, &definition, e))
		return -1;
	int status = assemble(definition, created, tty ? show_progress : NULL, &m, &built, e);
	if (tty)
		end_progress();
	if (status || make_files(&o, m, built, &files, e) || archive_write(files, created, &tar, &size, e))
		return -1;
	return write_bundle(&o, m, tar, size, e);
}
