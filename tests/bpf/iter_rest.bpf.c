#include "hit.h"

/* One that counts, and has nothing to do for 250 ms. */
OBS_ATTACH("interval_ms=100") SEC("iter/bpf_map") int on_rest(struct bpf_iter__bpf_map *ctx)
{
	if (ctx->map)
		return 0;
	hit(0);
	obs_iterator_rest(ctx->meta, bpf_ktime_get_ns() + 250000000);
	return 0;
}
