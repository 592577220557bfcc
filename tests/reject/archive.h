/* Archives with one broken thing each, made from a good bundle, and named after the code that each must give. */
#ifndef OBS_TESTS_REJECT_ARCHIVE_H
#define OBS_TESTS_REJECT_ARCHIVE_H

#include "bundles/files.h"
#include "tests/unit/bundles_tar.h"

struct archive_variant {
	const char *name;
	enum err_code code;
	void (*make)(struct tar *t);
};

extern const struct archive_variant archive_variants[];
enum { ARCHIVE_VARIANT_COUNT = 80 };

/* The good bundle has a manifest, at least one signature and at least one object. Empty for a variant of no bytes. */
void archive_variant(const struct archive_variant *v, const struct bundle_files *good, struct tar *t);

#endif
