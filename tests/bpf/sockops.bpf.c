#include "hit.h"

SEC("sockops") int on_sockops(void *ctx)
{
	hit(0);
	return 0;
}
