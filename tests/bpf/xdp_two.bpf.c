#include "hit.h"

SEC("xdp") int on_xdp_first(struct xdp_md *ctx)
{
	hit(0);
	return XDP_PASS;
}

/* There is room for one. */
OBS_OPTIONAL SEC("xdp") int on_xdp_second(struct xdp_md *ctx)
{
	hit(1);
	return XDP_PASS;
}
