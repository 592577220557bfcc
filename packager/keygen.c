#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "packager/packager.h"

static const char key_name[] = "signer.key", cert_name[] = "signer.pem";

static const char help[] =
    "usage: obspkg keygen --out FOLDER [--name CN] [--days N] [--passphrase-file F | --passphrase-fd N]\n\n"
    "Writes a P-256 key, FOLDER/signer.key (readable by you alone), and its certificate for code signing,\n"
    "FOLDER/signer.pem. Existing files are never overwritten.\n\n"
    "  -o, --out FOLDER         made if it is not there\n"
    "      --name CN            common name of the certificate (default: obs signer)\n"
    "      --days N             how long it is valid (default: 365)\n"
    "      --passphrase-file F  encrypt the key; the passphrase is the first line of this file\n"
    "      --passphrase-fd N    or of this descriptor\n"
    "      --json\n";

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

static int report(const struct options *o, const char *pem, size_t size, bool encrypted, struct err *e)
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
		text_json(stdout, o->output);
		printf(", \"key\": \"%s\", \"certificate\": \"%s\", \"encrypted\": %s}\n", key_name, cert_name,
		       encrypted ? "true" : "false");
		return 0;
	}
	printf("signer       %s\n", hex);
	printf("key          ");
	text_terminal(stdout, o->output, false);
	printf("/%s%s\ncertificate  ", key_name, encrypted ? ", encrypted" : ", not encrypted: keep it safe");
	text_terminal(stdout, o->output, false);
	printf("/%s, valid for %u days\n", cert_name, o->days);
	return 0;
}

static int run(const struct options *o, struct err *e)
{
	char *pass = NULL, *key = NULL, *cert = NULL;
	size_t pass_size = 0, key_size = 0, cert_size = 0;

	if (!o->output)
		return err_set(e, ERR_USAGE, "keygen: --out FOLDER is needed");
	/* Nobody is asked: without the option, the key stays as it is. */
	if ((o->given & OPTIONS_PASSPHRASE) && passphrase_read(&o->signing.pass, &pass, &pass_size, e))
		return -1;
	int rc = signing_key_generate(o->name, o->days, pass, &key, &key_size, &cert, &cert_size, e);
	if (!rc)
		rc = write_folder(o->output, key, key_size, cert, cert_size, e);
	if (!rc)
		rc = report(o, cert, cert_size, pass != NULL, e);
	signing_text_free(&pass, pass_size);
	signing_text_free(&key, key_size);
	free(cert);
	return rc;
}

const struct command command_keygen = {
    .name = "keygen",
    .summary = "make a key and its certificate",
    .help = help,
    .options = OPTION_OUTPUT | OPTION_NAME | OPTION_DAYS | OPTIONS_PASSPHRASE,
    .run = run,
};
