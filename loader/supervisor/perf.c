#include "loader/supervisor/perf.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bundles/base/own.h"

/* The configuration of the kernel's probe events, as /sys/bus/event_source/devices/?probe/format tells. */
enum { CONFIG_RETURN = 1, CONFIG_SEMAPHORE_SHIFT = 32 };

/* A padding byte would be one that nobody looks at. */
_Static_assert(sizeof(struct supervisor_perf) == 32 + SUPERVISOR_PERF_SYMBOL_BYTES, "no padding");

static bool is_zero(const void *bytes, size_t size)
{
	const unsigned char *at = bytes;

	for (size_t i = 0; i < size; i++)
		if (at[i])
			return false;
	return true;
}

/* No colon, slash or blank: what the kernel reads as a module, an address or an option cannot be said. */
static bool is_symbol(const char symbol[static SUPERVISOR_PERF_SYMBOL_BYTES])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$";
	size_t len = strnlen(symbol, SUPERVISOR_PERF_SYMBOL_BYTES);

	return len > 0 && len < SUPERVISOR_PERF_SYMBOL_BYTES && strspn(symbol, letters) == len &&
	       is_zero(symbol + len, SUPERVISOR_PERF_SYMBOL_BYTES - len);
}

/* Each kind takes its own fields away; whatever is left was not meant for it. */
static bool is_valid(const struct supervisor_perf *want, int file_fd)
{
	struct supervisor_perf rest = *want;
	bool file = false, good = false;

	rest.kind = 0;
	switch (want->kind) {
	case SUPERVISOR_PERF_TRACEPOINT:
		good = want->tracepoint > 0;
		rest.tracepoint = 0;
		break;
	case SUPERVISOR_PERF_CPU_CLOCK:
		good = want->frequency > 0 && want->frequency <= SUPERVISOR_PERF_FREQUENCY_MAX &&
		       want->cpu <= SUPERVISOR_PERF_CPU_MAX;
		rest.frequency = rest.cpu = 0;
		break;
	case SUPERVISOR_PERF_KPROBE:
	case SUPERVISOR_PERF_KRETPROBE:
		good = is_symbol(want->symbol) && want->offset <= SUPERVISOR_PERF_KPROBE_OFFSET_MAX;
		rest.offset = 0;
		memset(rest.symbol, 0, sizeof(rest.symbol));
		break;
	case SUPERVISOR_PERF_UPROBE:
	case SUPERVISOR_PERF_URETPROBE:
		good = want->offset <= INT64_MAX && want->semaphore <= UINT32_MAX;
		rest.offset = rest.semaphore = 0;
		file = true;
		break;
	default:
		break;
	}
	return good && file == (file_fd >= 0) && is_zero(&rest, sizeof(rest));
}

static int source_type(const char *name, uint32_t *out)
{
	char path[64], text[16];

	snprintf(path, sizeof(path), "/sys/bus/event_source/devices/%s/type", name);
	OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	*out = (uint32_t)strtoul(text, NULL, 10);
	return 0;
}

int perf_open(const struct supervisor_perf *want, int file_fd)
{
	struct perf_event_attr attr = {.size = sizeof(attr), .disabled = 1};
	char path[sizeof("/proc/self/fd/") + 11];

	if (!is_valid(want, file_fd)) {
		errno = EINVAL;
		return -1;
	}
	switch (want->kind) {
	case SUPERVISOR_PERF_TRACEPOINT:
		attr.type = PERF_TYPE_TRACEPOINT;
		attr.config = want->tracepoint;
		break;
	case SUPERVISOR_PERF_CPU_CLOCK:
		attr.type = PERF_TYPE_SOFTWARE;
		attr.config = PERF_COUNT_SW_CPU_CLOCK;
		attr.freq = 1;
		attr.sample_freq = want->frequency;
		break;
	case SUPERVISOR_PERF_KPROBE:
	case SUPERVISOR_PERF_KRETPROBE:
		if (source_type("kprobe", &attr.type))
			return -1;
		attr.config = want->kind == SUPERVISOR_PERF_KRETPROBE ? CONFIG_RETURN : 0;
		attr.kprobe_func = (uint64_t)(uintptr_t)want->symbol;
		attr.probe_offset = want->offset;
		break;
	default:
		if (source_type("uprobe", &attr.type))
			return -1;
		/* The monitor may reach files that this process may not, and has looked into this very one. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", file_fd);
		attr.config = want->kind == SUPERVISOR_PERF_URETPROBE ? CONFIG_RETURN : 0;
		attr.config |= want->semaphore << CONFIG_SEMAPHORE_SHIFT;
		attr.uprobe_path = (uint64_t)(uintptr_t)path;
		attr.probe_offset = want->offset;
		break;
	}
	return (int)syscall(SYS_perf_event_open, &attr, -1, (int)want->cpu, -1, PERF_FLAG_FD_CLOEXEC);
}
