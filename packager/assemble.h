/* From a definition to manifest and objects. */
#ifndef OBS_PACKAGER_ASSEMBLE_H
#define OBS_PACKAGER_ASSEMBLE_H

#include "bundles/limits.h"
#include "packager/packager.h"

struct built {
	struct built_object {
		char path[BUNDLE_PATH_MAX + 1];
		uint8_t *data;
		size_t size;
	} * objects; /* in archive order */
	size_t count;
};

void built_free(struct built **built);

/* Compiles every source for every architecture and derives the manifest. created: seconds since the epoch. progress may
 * be NULL. Codes build.*, object.*, definition.value. */
MUST_CHECK int assemble(const struct definition *definition, int64_t created,
			void (*progress)(const char *source, const char *arch, size_t done, size_t of),
			struct manifest **out, struct built **out_built, struct err *e);

#endif
