#include "hit.h"

SEC("tp_btf/sched_switch") int on_tp_btf(void *ctx)
{
	hit(0);
	return 0;
}
