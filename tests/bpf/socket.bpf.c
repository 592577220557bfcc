#include "hit.h"

OBS_ATTACH("interface=lo") SEC("socket") int on_socket(void *ctx)
{
	hit(0);
	return 0;
}
