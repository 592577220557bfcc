#include "hit.h"

#include <obs/usdt.h>

/* A probe of the test itself. */
SEC("usdt//proc/self/exe:obs_test:fired") int on_usdt(struct pt_regs *ctx)
{
	long value = 0;

	if (bpf_usdt_arg(ctx, 0, &value) == 0 && value == 42)
		hit(0);
	return 0;
}
