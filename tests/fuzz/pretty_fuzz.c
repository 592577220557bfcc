/* Any line as an event: whatever it holds, what reaches a terminal is one line without a control character, and text that
 * could reorder what is shown does not get through either. */
#include <stdlib.h>
#include <string.h>

#include "bundles/base/own.h"
#include "loader/client/pretty.h"
#include "tests/fuzz/terminal.h"

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
	if (memchr(out, '\n', out_size - 1))
		abort();
	terminal_check(out, out_size);
	return 0;
}
