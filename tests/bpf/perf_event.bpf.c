#include "hit.h"

OBS_ATTACH("frequency=199") SEC("perf_event") int on_perf_event(void *ctx)
{
	hit(0);
	return 0;
}
