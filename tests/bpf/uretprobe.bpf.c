#include "hit.h"

SEC("uretprobe/libc.so.6:getpgid") int on_uretprobe(void *ctx)
{
	hit(0);
	return 0;
}
