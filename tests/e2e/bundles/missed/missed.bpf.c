/* Runs on page faults inside the kernel, and makes some itself: the kernel skips the program's own run for each of these,
 * for the program still runs. Only in processes that are called t.m. Before Linux 6.1 it would run in itself, for ever. */
#include <obs/obs.h>

OBS_RING(events, 64 * 1024);

enum { FAULTS = 10 };

struct run {
	struct obs_header header;
	__u32 faults; /* and as many runs that were skipped */
} OBS_EVENT(run, 1, "missed.run");

SEC("tp_btf/page_fault_kernel")
int on_fault(void *ctx)
{
	char name[16] = "", byte;

	bpf_get_current_comm(name, sizeof(name));
	if (name[0] != 't' || name[1] != '.' || name[2] != 'm' || name[3])
		return 0;
	struct run *e = obs_reserve(&events, struct run, 1);
	if (!e)
		return 0;
	e->faults = 0;
	for (int i = 0; i < FAULTS; i++) {
		/* Nothing is mapped at address 0: vm.mmap_min_addr. */
		if (bpf_probe_read_user(&byte, 1, (const void *)0))
			e->faults++;
	}
	obs_submit(&events, e);
	return 0;
}
OBS_LICENSE("GPL");
