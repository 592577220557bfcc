/* The command line of obspkg: one set of options, of which each command takes some. */
#ifndef OBS_PACKAGER_OPTIONS_H
#define OBS_PACKAGER_OPTIONS_H

#include <stddef.h>

#include "bundles/base/arguments.h"
#include "packager/signing.h"

enum { OPTIONS_MAX_CERTS = 64 };

enum option_flag {
	OPTION_JSON = 1 << 0,
	OPTION_HELP = 1 << 1,
	OPTION_OUTPUT = 1 << 2, /* -o, --output, --out */
	OPTION_NAME = 1 << 3,
	OPTION_DAYS = 1 << 4,
	OPTION_KEY = 1 << 5,
	OPTION_CERT = 1 << 6,
	OPTION_PASSPHRASE_FILE = 1 << 7,
	OPTION_PASSPHRASE_FD = 1 << 8,
	OPTION_PREPARE = 1 << 9,
	OPTION_ATTACH = 1 << 10,
	OPTION_THRESHOLD = 1 << 11,
	OPTION_POLICY = 1 << 12,
	OPTIONS_GLOBAL = OPTION_JSON | OPTION_HELP,
	OPTIONS_PASSPHRASE = OPTION_PASSPHRASE_FILE | OPTION_PASSPHRASE_FD,
	OPTIONS_SIGNING = OPTION_KEY | OPTION_CERT | OPTIONS_PASSPHRASE,
};

/* Texts are borrowed from argv. */
struct options {
	unsigned given; /* enum option_flag */
	bool json;
	const char *word; /* the one word of the command, NULL if it takes none */
	const char *output, *name;
	unsigned days;
	struct signing signing; /* its cert is the first of `cert` */
	const char *cert[OPTIONS_MAX_CERTS];
	size_t cert_count;
	const char *attach;
	unsigned threshold; /* 0: not given */
	const char *policy;
};

struct command {
	const char *name, *summary;
	const char *help;
	unsigned options; /* besides the global ones */
	const char *word; /* what it wants one of: "bundle"; NULL: no word */
	int (*run)(const struct options *o, struct err *e);
};

/* Reads argv[1..argc-1], where argv[0] is the command's name. What belongs together is checked: --key with one --cert, one
 * source of a passphrase, the word. With --help nothing is asked for. ERR_USAGE. */
MUST_CHECK int options_parse(const struct command *command, int argc, char **argv, struct options *out, struct err *e);

#endif
