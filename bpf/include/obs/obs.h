/* <obs/obs.h>: what an author of a bundle includes. Works with clang 14 and later, libbpf 1.1 and later.
 *
 *   #include <obs/obs.h>
 *   struct exec { struct obs_header header; struct obs_process process; char file[64] OBS_AS("process.executable.path"); }
 *           OBS_EVENT(exec, 1, "demo.exec");
 *   OBS_RING(events, 256 * 1024);
 *   SEC("tp_btf/sched_process_exec") int on_exec(__u64 *ctx) {
 *           struct exec *e = obs_reserve(&events, struct exec, 1);
 *           if (!e) return 0;
 *           obs_process_fill(&e->process);
 *           ...
 *           obs_submit(&events, e);
 *           return 0;
 *   }
 *   OBS_LICENSE("GPL");
 *
 * Everything an author says is a declaration tag "obs:key=value" in BTF; obspkg derives the manifest from it.
 */
#ifndef OBS_OBS_H
#define OBS_OBS_H

#include <obs/types.h>

#include <bpf/bpf_helpers.h>

#include <bpf/bpf_core_read.h>

#include <obs/event.h>

/* libbpf's BPF_PROG() leaves ctx unused in most programs. */
#pragma clang diagnostic ignored "-Wunused-parameter"

#define OBS_TAG(text) __attribute__((btf_decl_tag("obs:" text)))
#define OBS_STR_(x) #x
#define OBS_STR(x) OBS_STR_(x)

/* ---- fields: without a tag a field is named as its member; names that start with '_' or "reserved" are hidden ---- */
#define OBS_AS(name) OBS_TAG("name=" name)	       /* on a nested struct: prefix of its fields' names */
#define OBS_FORMAT(format) OBS_TAG("format=" format)   /* words of obs-manifest(5): ip mac port ns us bytes hex time ... */
#define OBS_OMIT_ZERO OBS_TAG("omit_zero=1")	       /* leave it out when all its bytes are zero */
#define OBS_LENGTH(member) OBS_TAG("length=" member)   /* member of the same struct that says how much is in use */
#define OBS_LINEAR(base, step) OBS_TAG("format=linear") OBS_TAG("base=" OBS_STR(base)) OBS_TAG("step=" OBS_STR(step))
#define OBS_HIDE OBS_TAG("hide=1")

/* An enum's names in events are what stands after the last "__" of each enumerator (obs_role__client: "client"), or
 * all of it where it has none. */

/* ---- events: OBS_EVENT(struct tag, id, "family.name") after the struct's definition keeps it in BTF, by a pointer in a
 * section that libbpf leaves alone (in .bss it would cost a map) ---- */
#define OBS_EVENT_NAME(name) OBS_TAG("event=" name)
#define OBS_EVENT(type, id, name)                                                                                      \
	OBS_TAG("event=" name) OBS_TAG("id=" OBS_STR(id));                                                             \
	struct type *obs_event_##type SEC("obs.events")

/* ---- programs: before SEC() ---- */
#define OBS_OPTIONAL OBS_TAG("optional=1")
#define OBS_ALTERNATIVE(group, order) OBS_TAG("group=" group) OBS_TAG("order=" OBS_STR(order))
#define OBS_SINCE(kernel) OBS_TAG("since=" kernel)
/* Attach options, "key=value ...": interface=all|NAME, direction=ingress|egress (tc), frequency=19 (perf_event),
 * interval_ms=1000 (iter; without it once at start, and once after each change of a parameter), map=NAME
 * (iter/bpf_map_elem and iter/bpf_sk_storage_map: the map of the same object that is walked), cgroup=PATH below the
 * cgroup2 root. */
#define OBS_ATTACH(options) OBS_TAG("attach=" options)

/* In an iterator with interval_ms: there is nothing to do until then, as bpf_ktime_get_ns() has it, unless a parameter changes
 * meanwhile; the loader runs it at its first moment after that, an hour later at most. Once in a walk, at its end, where the
 * element is NULL, and with no other output. */
static __always_inline void obs_iterator_rest(struct bpf_iter_meta *meta, __u64 until_ns)
{
	bpf_seq_write(meta->seq, &until_ns, sizeof(until_ns));
}

/* ---- outputs ---- */
#define OBS_RING(map, bytes)                                                                                           \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                                    \
		__uint(max_entries, bytes);                                                                            \
	} map SEC(".maps") OBS_TAG("output=ring")
/* On a map: read on an interval, each entry one event. options, repeated: OBS_SAMPLE_CHANGED, OBS_SAMPLE_CLEAR. Scalar
 * keys and values are named by OBS_KEY and OBS_VALUE. */
#define OBS_SAMPLE(event, ms) OBS_TAG("output=sample") OBS_TAG("event=" event) OBS_TAG("interval_ms=" OBS_STR(ms))
#define OBS_SAMPLE_CHANGED OBS_TAG("changed=1")
#define OBS_SAMPLE_CLEAR OBS_TAG("clear=1")
#define OBS_SAMPLE_INTERVAL_PARAM(param) OBS_TAG("interval_param=" param)
#define OBS_KEY(name) OBS_TAG("key=" name)
#define OBS_VALUE(name) OBS_TAG("value=" name)

/* ---- parameters: volatile, so that the compiler reads them each time ---- */
#define OBS_PARAM(type, param, value, least, most, text)                                                               \
	volatile type param SEC(".data.params") OBS_TAG("param=1") OBS_TAG("min=" OBS_STR(least))                      \
		OBS_TAG("max=" OBS_STR(most)) OBS_TAG("help=" text) = value
#define OBS_PARAM_BOOL(param, value, text)                                                                             \
	volatile bool param SEC(".data.params") OBS_TAG("param=1") OBS_TAG("help=" text) = value
/* A list of up to `capacity` elements; zero elements are unused. */
#define OBS_PARAM_LIST(type, param, capacity, least, most, unit, text)                                                 \
	volatile type param[capacity] SEC(".data.params") OBS_TAG("param=1") OBS_TAG("min=" OBS_STR(least))            \
		OBS_TAG("max=" OBS_STR(most)) OBS_TAG("unit=" unit) OBS_TAG("help=" text) = {}
#define OBS_PARAM_CIDRS(param, capacity, text)                                                                         \
	volatile struct obs_cidr param[capacity] SEC(".data.params") OBS_TAG("param=1") OBS_TAG("unit=cidr")           \
		OBS_TAG("help=" text) = {}
#define OBS_PARAM_TEXT(param, bytes, text)                                                                             \
	volatile char param[bytes] SEC(".data.params") OBS_TAG("param=1") OBS_TAG("help=" text) = {}

#define OBS_LICENSE(text) char LICENSE[] SEC("license") = text

/* ---- drop counters ---- */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OBS_LOST_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} obs_lost SEC(".maps") OBS_TAG("output=lost");

static __always_inline void obs_count_lost(enum obs_loss why)
{
	__u32 slot = why;
	__u64 *count = bpf_map_lookup_elem(&obs_lost, &slot);

	/* Another program may come in between, in an interrupt. */
	if (count)
		__sync_fetch_and_add(count, 1);
}

/* ---- sending: wake readers by bytes pending, not for each event (readers poll at least every 500 ms) ---- */
#define obs_ring_bytes_(ring) (sizeof(*(ring)->max_entries) / sizeof(int))
#define obs_larger_(a, b) ((a) > (b) ? (a) : (b))
#define obs_wake_bytes_(ring) obs_larger_(obs_ring_bytes_(ring) / 32, 32 * 1024)
#define obs_wake_step_(ring) obs_larger_(obs_ring_bytes_(ring) / 64, 8 * 1024)

static __always_inline void *obs_reserve_(void *ring, __u64 size, __u32 event)
{
	struct obs_header *header = bpf_ringbuf_reserve(ring, size, 0);

	if (!header) {
		obs_count_lost(OBS_LOST_RING);
		return 0;
	}
	header->time_ns = bpf_ktime_get_ns();
	header->event = event;
	header->reserved = 0;
	return header;
}

/* Not one with the above: to ask for the time before the reservation gives the verifier so many more states that a program
 * of many events becomes too large. */
static __always_inline void *obs_reserve_at_(void *ring, __u64 size, __u32 event, __u64 now_ns)
{
	struct obs_header *header = bpf_ringbuf_reserve(ring, size, 0);

	if (!header) {
		obs_count_lost(OBS_LOST_RING);
		return 0;
	}
	header->time_ns = now_ns;
	header->event = event;
	header->reserved = 0;
	return header;
}

/* NULL when the ring is full, which is counted. The bytes after the header are not zeroed. */
#define obs_reserve(ring, type, event) ((type *)obs_reserve_(ring, sizeof(type), event))
/* For who has just asked for the time: it is a good part of what an event costs. */
#define obs_reserve_at(ring, type, event, now_ns) ((type *)obs_reserve_at_(ring, sizeof(type), event, now_ns))

#define obs_submit(ring, record)                                                                                       \
	bpf_ringbuf_submit(record, bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >= obs_wake_bytes_(ring)                 \
				       ? BPF_RB_FORCE_WAKEUP                                                           \
				       : BPF_RB_NO_WAKEUP)

/* For programs that send often. A reader that was woken may not run for a while, and a wake-up costs a hundred events: so
 * once per 64th of the ring more, rather than for each event that finds it that full.
 * Without a branch: each would double the paths that the verifier follows through a program that sends often. */
static __always_inline __u64 obs_wake_(void *ring, __u64 size, __u64 enough, __u64 step)
{
	__u64 pending = bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA);
	__u64 steps = pending / step - (pending - size) / step;
	__u64 stepped = (steps | -steps) >> 63, full = ~(pending - enough) >> 63;

	return BPF_RB_NO_WAKEUP + (stepped & full); /* BPF_RB_FORCE_WAKEUP is the next */
}

_Static_assert(BPF_RB_FORCE_WAKEUP == BPF_RB_NO_WAKEUP + 1, "flags");

#define obs_submit_often(ring, record)                                                                                 \
	bpf_ringbuf_submit(record, obs_wake_(ring, sizeof(*(record)) + 8, obs_wake_bytes_(ring), obs_wake_step_(ring)))

/* ---- the process on whose behalf the program runs ---- */
struct obs_process {
	__u32 pid OBS_AS("process.pid") OBS_OMIT_ZERO;
	__u32 _tid;
	__u64 cgroup OBS_AS("process.cgroup.id") OBS_OMIT_ZERO;
	char comm[16] OBS_AS("process.executable.name") OBS_OMIT_ZERO;
};

/* The name is the process's, not that of its thread. A field of a task that the kernel vouches for is one load, of any other a
 * call. */
static __always_inline void obs_process_fill(struct obs_process *p)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		struct task_struct *task = bpf_get_current_task_btf();
		const __u64 *name = (const __u64 *)task->group_leader->comm;

		p->pid = task->tgid;
		p->_tid = task->pid;
		p->cgroup = task->cgroups->dfl_cgrp->kn->id;
		((__u64 *)p->comm)[0] = name[0];
		((__u64 *)p->comm)[1] = name[1];
	} else {
		struct task_struct *task = (void *)bpf_get_current_task();
		__u64 id = bpf_get_current_pid_tgid();

		p->pid = id >> 32;
		p->_tid = (__u32)id;
		p->cgroup = bpf_get_current_cgroup_id();
		BPF_CORE_READ_INTO(&p->comm, task, group_leader, comm);
	}
}

/* The same of any task: for iterators, and for program types without the helpers above. */
static __always_inline void obs_process_of(struct obs_process *p, struct task_struct *task)
{
	p->pid = BPF_CORE_READ(task, tgid);
	p->_tid = BPF_CORE_READ(task, pid);
	p->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	BPF_CORE_READ_INTO(&p->comm, task, group_leader, comm);
}

#endif
