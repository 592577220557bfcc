#include "hit.h"

SEC("uprobe/libc.so.6:getpgid") int on_uprobe(void *ctx)
{
	hit(0);
	return 0;
}
