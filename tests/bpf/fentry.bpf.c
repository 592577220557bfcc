#include "hit.h"

SEC("fentry/hrtimer_nanosleep") int on_fentry(void *ctx)
{
	hit(0);
	return 0;
}
