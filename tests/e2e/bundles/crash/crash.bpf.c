/* What a crash could leave behind: a link, a link whose program is swapped, a filter with its record, a perf event, maps.
 * OBS_TEST_PREFIX makes names in the kernel that are this test's alone. */
#include <obs/obs.h>

#define NAME__(prefix, name) prefix##name
#define NAME_(prefix, name)  NAME__(prefix, name)
#define NAME(name)           NAME_(OBS_TEST_PREFIX, name)

OBS_PARAM(__u32, every, 1, 1, 1000, "One of so many.");

struct exec {
	struct obs_header header;
	struct obs_process process;
} OBS_EVENT(exec, 1, "crash.exec");

OBS_RING(NAME(_ring), 64 * 1024);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} NAME(_map) SEC(".maps") OBS_SAMPLE("crash.count", 1000) OBS_SAMPLE_CLEAR OBS_KEY("id") OBS_VALUE("count");

SEC("tp_btf/sched_process_exec") int NAME(_link)(void *ctx)
{
	struct exec *e;

	if (every > 1)
		return 0;
	e = obs_reserve(&NAME(_ring), struct exec, 1);
	if (!e)
		return 0;
	obs_process_fill(&e->process);
	obs_submit(&NAME(_ring), e);
	return 0;
}

SEC("tp/sched/sched_process_exit") int NAME(_perf)(void *ctx)
{
	__u32 key = 1;
	__u64 one = 1;

	bpf_map_update_elem(&NAME(_map), &key, &one, BPF_ANY);
	return 0;
}

OBS_ATTACH("interface=lo") SEC("tc") int NAME(_tc)(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

OBS_ATTACH("interface=lo") SEC("xdp") int NAME(_xdp)(struct xdp_md *ctx)
{
	return XDP_PASS;
}
OBS_LICENSE("GPL");
