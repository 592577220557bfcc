/* The command line of obsload: one set of options, of which each command takes some. */
#ifndef OBS_CLIENT_OPTIONS_H
#define OBS_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/arguments.h"

#define OPTIONS_RUN_DIR "/run/obsload"

enum { OPTIONS_MAX_WHERE = 32 };

enum option_flag {
	OPTION_JSON = 1 << 0,
	OPTION_RUN_DIR = 1 << 1,
	OPTION_HELP = 1 << 2,
	OPTION_VERSION = 1 << 3,
	OPTION_ALLOW_DOWNGRADE = 1 << 4,
	OPTION_NAMES = 1 << 5,
	OPTION_WHERE = 1 << 6,
	OPTION_BUNDLE = 1 << 7,
	OPTION_LAST = 1 << 8,
	OPTION_SAMPLE = 1 << 9,
	OPTION_COUNT = 1 << 10,
	OPTION_CHAIN = 1 << 11, /* --verify */
	OPTION_UNDO = 1 << 12,
	OPTION_LIST = 1 << 13,
	OPTIONS_GLOBAL = OPTION_JSON | OPTION_RUN_DIR | OPTION_HELP,
};

/* Texts are borrowed from argv. */
struct options {
	unsigned given; /* enum option_flag */
	bool json;
	const char *run_dir;
	bool allow_downgrade;
	const char *names;
	const char *where[OPTIONS_MAX_WHERE];
	size_t where_count;
	const char *bundle;
	uint64_t last, sample, count; /* 0: not given */
};

#define OPTIONS_INIT                                                                                                   \
	{                                                                                                              \
		.run_dir = OPTIONS_RUN_DIR                                                                             \
	}

/* Reads the options of argv[1..argc-1] that are in `accepted`; any other is ERR_USAGE, which names it. With stop, reading
 * ends at the first word that is no option (the command). The words that are left are argv[*first..argc-1]: argv is put
 * into that order. */
MUST_CHECK int options_parse(struct options *o, unsigned accepted, bool stop, int argc, char **argv, int *first,
			     struct err *e);

#endif
