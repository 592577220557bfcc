#include "hit.h"

#include <obs/usdt.h>

/* A probe of the test itself. */
SEC("usdt//proc/self/exe:obs_test:fired") int on_usdt(struct pt_regs *ctx)
{
	long constant = 0, reg = 0, memory = 0, none = 0;

	if (bpf_usdt_arg(ctx, 0, &constant) == 0 && bpf_usdt_arg(ctx, 1, &reg) == 0 &&
	    bpf_usdt_arg(ctx, 2, &memory) == 0 && bpf_usdt_arg(ctx, 3, &none) != 0 && constant == 42 && reg == 43 &&
	    memory == 44)
		hit(0);
	return 0;
}
