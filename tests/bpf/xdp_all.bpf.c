#include "hit.h"

/* 77: the interface that a test makes. */
SEC("xdp") int on_xdp_all(struct xdp_md *ctx)
{
	hit(ctx->ingress_ifindex == 77);
	return XDP_PASS;
}
