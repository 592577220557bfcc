#include "hit.h"

SEC("iter/task") int on_iter(void *ctx)
{
	hit(0);
	return 0;
}
