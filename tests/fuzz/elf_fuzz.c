/* Any bytes as the executable or library that a uprobe or USDT program names: its owner may be anyone, and the monitor reads
 * it. The function is "f", the probe "a:b"; what notes say of arguments is read too. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader/monitor/kernel_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool take_site(void *ctx, const struct usdt_site *site)
{
	struct usdt_spec spec;
	unsigned *left = ctx;

	if (usdt_parse(site->arguments, &spec)) {
		if (spec.arg_count < 0 || spec.arg_count > USDT_ARGS_MAX)
			abort();
		for (int i = 0; i < spec.arg_count; i++)
			if (spec.args[i].bitshift < 0 || spec.args[i].bitshift > 56 || spec.args[i].bitshift % 8 ||
			    spec.args[i].reg_off < 0)
				abort();
	}
	return --*left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	unsigned left = 100;
	uint64_t offset;

	if (fd < 0) {
		fd = memfd_create("elf", MFD_CLOEXEC);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	target_symbol(path, "f+0x8", &offset);
	target_each_usdt(path, "a", "b", take_site, &left);
	if (target_has_usdt(path, "a", "b") != (left < 100))
		abort();
	return 0;
}
