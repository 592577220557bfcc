/* Edits of tests/golden/manifest.json that each break one thing, with the code that each must give. */
#ifndef OBS_TESTS_REJECT_MANIFEST_H
#define OBS_TESTS_REJECT_MANIFEST_H

#include "bundles/base/err.h"

struct manifest_variant {
	const char *name;
	enum err_code code;
	const char *place;     /* that the message must name */
	const char *from, *to; /* the first `from` is replaced */
};

extern const struct manifest_variant manifest_variants[];
enum { MANIFEST_VARIANT_COUNT = 150 };

#endif
