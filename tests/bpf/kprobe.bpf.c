#include "hit.h"

SEC("kprobe/hrtimer_nanosleep") int on_kprobe(void *ctx)
{
	hit(0);
	return 0;
}
