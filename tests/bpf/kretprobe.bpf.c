#include "hit.h"

SEC("kretprobe/hrtimer_nanosleep") int on_kretprobe(void *ctx)
{
	hit(0);
	return 0;
}
