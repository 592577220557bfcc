#include "hit.h"

OBS_ATTACH("interface=obstest0") SEC("xdp") int on_xdp_named(struct xdp_md *ctx)
{
	hit(1);
	return XDP_PASS;
}
