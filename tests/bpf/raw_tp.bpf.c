#include "hit.h"

SEC("raw_tp/sched_switch") int on_raw_tp(void *ctx)
{
	hit(0);
	return 0;
}
