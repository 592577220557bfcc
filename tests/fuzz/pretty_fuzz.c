/* Any line as an event: whatever it holds, what reaches a terminal is one line without a control character, and text that
 * could reorder what is shown does not get through either. */
#include <stdlib.h>
#include <string.h>

#include "bundles/base/own.h"
#include "bundles/base/text.h"
#include "loader/client/pretty.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct term plain = {.utf8 = true};
	OWN_FREE char *out = NULL;
	size_t out_size = 0;
	struct pretty p;
	FILE *f = open_memstream(&out, &out_size);

	if (!f)
		return 0;
	pretty_init(&p, &plain);
	pretty_event(&p, f, (const char *)data, size);
	if (fclose(f) || out_size == 0 || out[out_size - 1] != '\n')
		abort();
	for (size_t i = 0; i + 1 < out_size;) {
		size_t len = text_utf8_len((const uint8_t *)out + i, out_size - i);
		if (len == 0 || (unsigned char)out[i] < 0x20 || out[i] == 0x7f)
			abort();
		if (len == 2 && (unsigned char)out[i] == 0xc2 && (unsigned char)out[i + 1] < 0xa0)
			abort();
		if (len == 3 && (memcmp(out + i, "\xe2\x80\xae", 3) == 0 || memcmp(out + i, "\xe2\x81\xa6", 3) == 0))
			abort();
		i += len;
	}
	return 0;
}
