/* Any bytes as a bundle: what is accepted must be what archive_write gives for the same files, so that no second reading
 * of the same bytes exists. */
#include <stdlib.h>
#include <string.h>

#include "bundles/archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max); /* libFuzzer's own */

enum { BLOCK = 512, CHECKSUM = 148, MAGIC = 257 };

/* Headers keep a right checksum most of the time: else hardly anything would get past it. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	size = LLVMFuzzerMutate(data, size, max);
	for (size_t at = 0; seed % 16 && at + BLOCK <= size; at += BLOCK) {
		unsigned sum = 0;
		if (memcmp(data + at + MAGIC, "ustar", 5) != 0)
			continue;
		memset(data + at + CHECKSUM, ' ', 8);
		for (size_t i = 0; i < BLOCK; i++)
			sum += data[at + i];
		snprintf((char *)data + at + CHECKSUM, 7, "%06o", sum);
	}
	return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *again = NULL;
	struct err e = ERR_INIT;
	size_t again_size = 0;
	int64_t mtime = 0;

	if (archive_read(data, size, &files, &e)) {
		if (files || e.code == ERR_NONE || e.code == ERR_INTERNAL)
			abort();
		return 0;
	}
	if (archive_mtime(data, size, &mtime, &e) || archive_write(files, mtime, &again, &again_size, &e))
		abort();
	if (again_size != size || memcmp(again, data, size) != 0)
		abort();
	return 0;
}
