#include "keys/libbpf_said.h"

#include <bpf/libbpf.h>
#include <stdarg.h>

#include "bundles/base/own.h"

enum { SAID_MAX_BYTES = 1 << 20 };

static struct libbpf_said *listening;
static libbpf_print_fn_t before;

static int PRINTF_LIKE(2, 0) keep(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	va_list count;

	if (level != LIBBPF_WARN || !listening)
		return 0;
	va_copy(count, ap);
	int n = vsnprintf(NULL, 0, fmt, count);
	va_end(count);
	if (n < 0 || (size_t)n > SAID_MAX_BYTES - listening->size)
		return 0;
	char *grown = realloc(listening->text, listening->size + (size_t)n + 1);
	if (!grown)
		return 0;
	listening->text = grown;
	vsnprintf(grown + listening->size, (size_t)n + 1, fmt, ap);
	listening->size += (size_t)n;
	return 0;
}

void libbpf_listen(struct libbpf_said *said)
{
	listening = said;
	before = libbpf_set_print(keep);
}

void libbpf_listen_end(void)
{
	int errnum = errno;

	libbpf_set_print(before);
	listening = NULL;
	errno = errnum;
}

void libbpf_said_clear(struct libbpf_said *said)
{
	free(said->text);
	*said = (struct libbpf_said){0};
}
