/* obspkg inspect of a bundle that nobody has verified: what reaches a terminal holds nothing that a terminal obeys, and what
 * reaches a script is JSON. The input is flags, two bytes of size, a signature of that size, and the manifest. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bundles/archive.h"
#include "packager/packager.h"
#include "tests/fuzz/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLAG_JSON = 1, HEAD = 3 };

static const char signature[] = "sig/" /* of anybody */
				"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.p7s";

static int bundle_fd(const uint8_t *sig, size_t sig_size, const uint8_t *manifest, size_t size)
{
	static int fd = -1;
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *tar = NULL;
	struct err e = ERR_INIT;
	size_t tar_size = 0;

	if (fd < 0)
		fd = memfd_create("bundle", MFD_CLOEXEC);
	if (bundle_files_new(&files, &e))
		abort();
	if (bundle_files_add(files, "manifest.json", manifest, size, &e) ||
	    (sig_size && bundle_files_add(files, signature, sig, sig_size, &e)))
		return -1;
	if (archive_write(files, 0, &tar, &tar_size, &e) || ftruncate(fd, 0) ||
	    pwrite(fd, tar, tar_size, 0) != (ssize_t)tar_size)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct options o = {0};
	struct err e = ERR_INIT;
	char path[32];
	size_t sig_size, out_size;

	if (size < HEAD)
		return 0;
	sig_size = (size_t)data[1] << 8 | data[2];
	if (sig_size > size - HEAD)
		sig_size = size - HEAD;
	int fd = bundle_fd(data + HEAD, sig_size, data + HEAD + sig_size, size - HEAD - sig_size);
	if (fd < 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	o.word = path;
	o.json = data[0] & FLAG_JSON;
	terminal_take(&out_size);
	int failed = command_inspect.run(&o, &e);
	const char *out = terminal_take(&out_size);
	if (failed && e.code == ERR_NONE)
		abort();
	terminal_check(out, out_size);
	if (!failed && o.json) {
		json_t *json = json_loadb(out, out_size, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(json))
			abort();
		json_decref(json);
	}
	return 0;
}
