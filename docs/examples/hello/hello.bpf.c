#include <obs/obs.h>

struct exec {
	struct obs_header header;
	struct obs_process process;
} OBS_EVENT(exec, 1, "hello.exec");
OBS_RING(events, 256 * 1024);

SEC("tp_btf/sched_process_exec")
int on_exec(void *ctx)
{
	struct exec *e = obs_reserve(&events, struct exec, 1);

	if (!e)
		return 0;
	obs_process_fill(&e->process);
	obs_submit(&events, e);
	return 0;
}
OBS_LICENSE("GPL");
