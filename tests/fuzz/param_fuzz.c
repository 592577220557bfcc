/* Any text as the value of a parameter, of each kind that there is: what is taken is within its bounds, and is shown as text
 * that means the same. The first byte chooses the parameter. */
#include <stdlib.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/monitor/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct manifest *read_manifest(const char *path)
{
	OWN_FREE uint8_t *json = NULL;
	struct manifest *m = NULL;
	struct err e = ERR_INIT;
	size_t size;

	if (file_read(path, 1 << 20, ERR_LIMIT, &json, &size, &e) || manifest_parse(json, size, &m, &e) ||
	    m->param_count == 0)
		abort();
	return m;
}

static void check(const struct manifest *m, const struct manifest_param *p, const char *text)
{
	size_t size = param_bytes(p);
	OWN_FREE uint8_t *first = malloc(size);
	OWN_FREE uint8_t *second = malloc(size);
	struct err e = ERR_INIT;
	char shown[8192];

	if (!first || !second)
		abort();
	memset(first, 0xa5, size);
	if (param_parse(m, p, text, first, &e)) {
		if (e.code != ERR_PARAMETER_VALUE)
			abort();
		return;
	}
	param_format(m, p, first, shown, sizeof(shown));
	if (param_parse(m, p, shown, second, &e) || memcmp(first, second, size) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct manifest *first, *second;
	OWN_FREE char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;

	if (!first) {
		first = read_manifest("tests/fuzz/corpus/manifest/parameters.json");
		second = read_manifest("tests/golden/manifest.json");
	}
	if (!text)
		return 0;
	size_t which = data[0] % (first->param_count + second->param_count);
	if (which < first->param_count)
		check(first, &first->params[which], text);
	else
		check(second, &second->params[which - first->param_count], text);
	return 0;
}
