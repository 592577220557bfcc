#include "hit.h"

/* Loads everywhere and attaches nowhere: there is no such interface. */
OBS_ALTERNATIVE("packets", 0) OBS_ATTACH("interface=obsnone0") SEC("xdp") int on_nowhere(struct xdp_md *ctx)
{
	hit(0);
	return XDP_PASS;
}

OBS_ALTERNATIVE("packets", 1) OBS_ATTACH("interface=lo") SEC("xdp") int on_loopback(struct xdp_md *ctx)
{
	hit(1);
	return XDP_PASS;
}

OBS_OPTIONAL OBS_ATTACH("interface=obsnone0") SEC("xdp") int optional_nowhere(struct xdp_md *ctx)
{
	hit(2);
	return XDP_PASS;
}
