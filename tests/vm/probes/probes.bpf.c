/* One program of each kind that the supervisor opens something for, or that needs the network's administration. */
#include <obs/obs.h>

enum probe { probe__kprobe = 1, probe__clock, probe__socket, probe__tc };

struct fired {
	struct obs_header header;
	enum probe probe OBS_AS("vm.probe");
	__u32 _reserved;
} OBS_EVENT(fired, 1, "vm.fired");
OBS_RING(events, 64 * 1024);

static __always_inline void fire(enum probe probe)
{
	struct fired *e = obs_reserve(&events, struct fired, 1);

	if (!e)
		return;
	e->probe = probe;
	e->_reserved = 0;
	obs_submit(&events, e);
}

SEC("kprobe/hrtimer_nanosleep") int on_kprobe(void *ctx)
{
	fire(probe__kprobe);
	return 0;
}

OBS_ATTACH("frequency=1") SEC("perf_event") int on_clock(void *ctx)
{
	fire(probe__clock);
	return 0;
}

OBS_ATTACH("interface=lo") SEC("socket") int on_socket(void *ctx)
{
	fire(probe__socket);
	return 0;
}

OBS_ATTACH("interface=lo direction=ingress") SEC("tc") int on_tc(struct __sk_buff *skb)
{
	fire(probe__tc);
	return TC_ACT_UNSPEC;
}

OBS_LICENSE("GPL");
