#include "hit.h"

SEC("tp/sched/sched_switch") int on_tp(void *ctx)
{
	hit(0);
	return 0;
}
