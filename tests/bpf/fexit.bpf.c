#include "hit.h"

SEC("fexit/hrtimer_nanosleep") int on_fexit(void *ctx)
{
	hit(0);
	return 0;
}
