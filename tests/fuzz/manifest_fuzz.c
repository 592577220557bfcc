/* Any bytes as a manifest: what is accepted must be written in one form, which reads back as the same. */
#include <stdlib.h>
#include <string.h>

#include "bundles/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(manifest) struct manifest *first = NULL;
	OWN(manifest) struct manifest *second = NULL;
	OWN_FREE char *text = NULL;
	OWN_FREE char *again = NULL;
	struct err e = ERR_INIT;
	size_t text_size = 0, again_size = 0;

	if (manifest_parse(data, size, &first, &e)) {
		if (first || e.code == ERR_NONE || e.code == ERR_INTERNAL)
			abort();
		return 0;
	}
	/* The one form may be longer than what was read, and so be too long. */
	if (manifest_format(first, &text, &text_size, &e)) {
		if (e.code != ERR_LIMIT)
			abort();
		return 0;
	}
	if (manifest_parse((const uint8_t *)text, text_size, &second, &e) ||
	    manifest_format(second, &again, &again_size, &e))
		abort();
	if (again_size != text_size || memcmp(again, text, text_size) != 0)
		abort();
	return 0;
}
