/* Events of 64 bytes, for each call of a system call that does not exist: nobody else makes it, and it costs least. */
#include <obs/obs.h>

#include <bpf/bpf_tracing.h>

enum { MARK = 1000, BURST_MOST = 64 };

struct spin {
	struct obs_header header;
	struct obs_process process;
	__u64 number OBS_AS("spin.number");
	__u64 cpu OBS_AS("spin.cpu");
} OBS_EVENT(spin, 1, "spin");
OBS_RING(events, 4 * 1024 * 1024);
OBS_PARAM(__u32, burst, 1, 1, 64, "events a call");

SEC("tp_btf/sys_enter")
int BPF_PROG(spin_enter, void *regs, long number)
{
	if (number != MARK)
		return 0;
	for (__u32 i = 0; i < BURST_MOST && i < burst; i++) {
		struct spin *e = obs_reserve(&events, struct spin, 1);

		if (!e)
			continue;
		obs_process_fill(&e->process);
		e->number = number;
		e->cpu = bpf_get_smp_processor_id();
		obs_submit_often(&events, e);
	}
	return 0;
}
OBS_LICENSE("GPL");
