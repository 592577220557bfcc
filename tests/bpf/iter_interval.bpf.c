#include "hit.h"

OBS_ATTACH("interval_ms=100") SEC("iter/task") int on_interval(void *ctx)
{
	hit(0);
	return 0;
}
