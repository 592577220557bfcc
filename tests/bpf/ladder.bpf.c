#include "hit.h"

/* Best first; the first two rungs need what few kernels have, the last what all have. */
OBS_ALTERNATIVE("switch", 0) OBS_SINCE("99.1") SEC("tp_btf/obs_no_such_tracepoint") int rung_absent(__u64 *ctx)
{
	hit(0);
	return 0;
}

OBS_ALTERNATIVE("switch", 1) SEC("fentry/hrtimer_nanosleep") int rung_fentry(__u64 *ctx)
{
	hit(1);
	return 0;
}

OBS_ALTERNATIVE("switch", 1) SEC("fexit/hrtimer_nanosleep") int rung_fexit(__u64 *ctx)
{
	hit(1);
	return 0;
}

OBS_ALTERNATIVE("switch", 2) SEC("raw_tp/sched_switch") int rung_raw_tp(__u64 *ctx)
{
	hit(2);
	return 0;
}

OBS_OPTIONAL OBS_SINCE("99.2") SEC("kprobe/obs_no_such_function") int extra(void *ctx)
{
	hit(3);
	return 0;
}
