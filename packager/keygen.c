#include <fcntl.h>
#include <getopt.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "packager/packager.h"
#include "packager/sign.h"

static const char key_name[] = "signer.key", cert_name[] = "signer.pem";

struct keygen_options {
	const char *out, *name;
	unsigned days;
	struct passphrase pass;
	bool json, help;
};

static void help(void)
{
	fputs("usage: obspkg keygen --out FOLDER [--name CN] [--days N] [--passphrase-file F | --passphrase-fd N]\n\n"
	      "Writes a P-256 key, FOLDER/signer.key (readable by you alone), and its certificate for code signing,\n"
	      "FOLDER/signer.pem. Existing files are never overwritten.\n\n"
	      "  -o, --out FOLDER         made if it is not there\n"
	      "      --name CN            common name of the certificate (default: obs signer)\n"
	      "      --days N             how long it is valid (default: 365)\n"
	      "      --passphrase-file F  encrypt the key; the passphrase is the first line of this file\n"
	      "      --passphrase-fd N    or of this descriptor\n"
	      "      --json\n",
	      stdout);
}

static int take_option(struct keygen_options *o, int c, char **argv, struct err *e)
{
	char *end;

	switch (c) {
	case 'o':
		o->out = optarg;
		return 0;
	case 'm':
		o->name = optarg;
		return 0;
	case 'd':
		o->days = (unsigned)strtoul(optarg, &end, 10);
		if (end == optarg || *end || optarg[0] == '-' || o->days < 1 || o->days > 36500)
			return err_set(e, ERR_USAGE, "keygen: --days is 1 to 36500, not \"%s\"", optarg);
		return 0;
	case 'f':
		o->pass.file = optarg;
		return 0;
	case 'n':
		return signing_parse_fd(optarg, &o->pass.fd, e);
	case 'j':
		o->json = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case ':':
		return err_set(e, ERR_USAGE, "keygen: \"%s\" needs a value", argv[optind - 1]);
	default:
		return err_set(e, ERR_USAGE, "keygen: unknown option \"%s\"", argv[optind - 1]);
	}
}

static int parse(int argc, char **argv, struct keygen_options *o, struct err *e)
{
	static const struct option known[] = {
	    {"out", required_argument, NULL, 'o'},
	    {"name", required_argument, NULL, 'm'},
	    {"days", required_argument, NULL, 'd'},
	    {"passphrase-file", required_argument, NULL, 'f'},
	    {"passphrase-fd", required_argument, NULL, 'n'},
	    {"json", no_argument, NULL, 'j'},
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
	if (argc != optind)
		return err_set(e, ERR_USAGE, "keygen: what is \"%s\"?", argv[optind]);
	if (!o->out)
		return err_set(e, ERR_USAGE, "keygen: --out FOLDER is needed");
	if (o->pass.file && o->pass.fd >= 0)
		return err_set(e, ERR_USAGE, "keygen: --passphrase-file or --passphrase-fd, not both");
	return 0;
}

/* Whole or not at all, and never over what is there: a temporary, then link(2), which does not replace. */
static int write_new(int folder_fd, const char *name, const char *text, size_t size, unsigned mode, struct err *e)
{
	char temporary[64];
	uint64_t salt;

	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return err_errno(e, ERR_IO, "getrandom");
	snprintf(temporary, sizeof(temporary), ".%s.%016llx", name, (unsigned long long)salt);
	if (file_replace_at(folder_fd, temporary, text, size, mode, e))
		return -1;
	int rc = linkat(folder_fd, temporary, folder_fd, name, 0);
	if (rc)
		rc = err_errno(e, errno == EEXIST ? ERR_KEY_EXISTS : ERR_IO, "%s", name);
	unlinkat(folder_fd, temporary, 0);
	if (!rc && fsync(folder_fd))
		rc = err_errno(e, ERR_IO, "fsync of the folder of %s", name);
	return rc;
}

static int write_pair(int folder_fd, const char *key, size_t key_size, const char *cert, size_t cert_size,
		      struct err *e)
{
	struct stat st;

	/* Before the key is written, so that a folder with one of the two stays as it is. */
	if (fstatat(folder_fd, cert_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(e, ERR_KEY_EXISTS, "%s is there already", cert_name);
	if (write_new(folder_fd, key_name, key, key_size, 0600, e))
		return -1;
	if (write_new(folder_fd, cert_name, cert, cert_size, 0644, e)) {
		unlinkat(folder_fd, key_name, 0);
		return -1;
	}
	return 0;
}

static int write_folder(const char *folder, const char *key, size_t key_size, const char *cert, size_t cert_size,
			struct err *e)
{
	if (mkdir(folder, 0700) && errno != EEXIST)
		return err_errno(e, ERR_IO, "%s", folder);
	OWN_FD int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder_fd < 0)
		return err_errno(e, ERR_IO, "%s", folder);
	return write_pair(folder_fd, key, key_size, cert, cert_size, e) ? err_wrap(e, "%s", folder) : 0;
}

static int report(const struct keygen_options *o, const char *pem, size_t size, bool encrypted, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES];

	if (cert_from_pem((const uint8_t *)pem, size, &cert, e))
		return -1;
	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	if (o->json) {
		printf("{\"signer\": \"%s\", \"folder\": ", hex);
		text_json(stdout, o->out);
		printf(", \"key\": \"%s\", \"certificate\": \"%s\", \"encrypted\": %s}\n", key_name, cert_name,
		       encrypted ? "true" : "false");
		return 0;
	}
	printf("signer       %s\n", hex);
	printf("key          ");
	text_terminal(stdout, o->out, false);
	printf("/%s%s\ncertificate  ", key_name, encrypted ? ", encrypted" : ", not encrypted: keep it safe");
	text_terminal(stdout, o->out, false);
	printf("/%s, valid for %u days\n", cert_name, o->days);
	return 0;
}

static int run(const struct keygen_options *o, struct err *e)
{
	char *pass = NULL, *key = NULL, *cert = NULL;
	size_t pass_size = 0, key_size = 0, cert_size = 0;

	if (passphrase_read(&o->pass, &pass, &pass_size, e))
		return -1;
	int rc = signing_key_generate(o->name, o->days, pass, &key, &key_size, &cert, &cert_size, e);
	if (!rc)
		rc = write_folder(o->out, key, key_size, cert, cert_size, e);
	if (!rc)
		rc = report(o, cert, cert_size, pass != NULL, e);
	signing_text_free(&pass, pass_size);
	signing_text_free(&key, key_size);
	free(cert);
	return rc;
}

int cmd_keygen(int argc, char **argv, struct err *e)
{
	struct keygen_options o = {.name = "obs signer", .days = 365, .pass = {.fd = -1}};

	if (parse(argc, argv, &o, e))
		return -1;
	if (o.help) {
		help();
		return 0;
	}
	return run(&o, e);
}
