/* Command lines of both programs: options of which each command takes some, and words. */
#ifndef OBS_BASE_ARGUMENTS_H
#define OBS_BASE_ARGUMENTS_H

#include <getopt.h>
#include <stdint.h>

#include "bundles/base/err.h"

struct arguments {
	const char *command; /* begins every message; NULL: what stands before the command is read */
	/* Ends with {0}. val is one bit, maybe that of several names. */
	const struct option *known;
	/* "h": there is -h, and it stands for the first of `known` whose name begins so. "o:" takes a value. */
	const char *letters;
	unsigned accepted; /* bits of `known`; any other is told as not taken here */
	bool stop;         /* reading ends at the first word: the options behind it are somebody else's */
	int (*take)(void *to, unsigned flag, const char *value, struct err *e);
};

/* Hands each option of argv[1..argc-1] to `take`, with its bit and its value (NULL if it takes none). The words that are
 * left are argv[*first..argc-1]: argv is put into that order. ERR_USAGE names what is wrong. */
MUST_CHECK int arguments_read(const struct arguments *a, int argc, char **argv, void *to, int *first, struct err *e);

/* Whether this option stands anywhere before "--": for what must be known even if the rest is wrong. */
bool arguments_hold(int argc, char **argv, const char *option);

/* A decimal number within least and most, nothing around it; else ERR_USAGE naming `what`. */
MUST_CHECK int arguments_number(const char *what, const char *text, uint64_t least, uint64_t most, uint64_t *out,
				struct err *e);

#endif
