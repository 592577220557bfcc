/* An event for each call of a system call that does not exist: nobody else makes it, and the number that it is given tells
 * whether each came, once. */
#include <obs/obs.h>

enum { MARK = 1017 };

OBS_PARAM(__u32, copies, 1, 1, 64, "Events a call.");

struct flow {
	struct obs_header header;
	__u64 number;
} OBS_EVENT(flow, 1, "flow.call");
OBS_RING(events, 1024 * 1024);

SEC("tp_btf/sys_enter")
int on_call(__u64 *ctx)
{
	const struct pt_regs *regs = (const struct pt_regs *)ctx[0];
	__u64 number;

	if ((long)ctx[1] != MARK)
		return 0;
#if defined(__TARGET_ARCH_arm64)
	number = BPF_CORE_READ(regs, user_regs.regs[0]);
#else
	number = BPF_CORE_READ(regs, di);
#endif
	for (__u32 i = 0; i < 64 && i < copies; i++) {
		struct flow *e = obs_reserve(&events, struct flow, 1);
		if (!e)
			continue;
		e->number = number;
		obs_submit(&events, e);
	}
	return 0;
}
OBS_LICENSE("GPL");
