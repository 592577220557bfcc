#include "hit.h"

OBS_ATTACH("interface=lo") SEC("xdp") int on_xdp(void *ctx)
{
	hit(0);
	return XDP_PASS;
}
