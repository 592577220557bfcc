/* Monitor and supervisor. The supervisor (`obsload run`) is the monitor's parent; it keeps only CAP_SETUID, CAP_SETGID,
 * CAP_KILL, CAP_NET_RAW, what this kernel asks for perf events (CAP_PERFMON or CAP_SYS_ADMIN), and (to empty its
 * children's bounding sets) CAP_SETPCAP, and does five things on request, so that the monitor needs none of them but
 * CAP_PERFMON. Requests are answered in order. */
#ifndef OBS_IPC_SUPERVISOR_H
#define OBS_IPC_SUPERVISOR_H

#include <stdint.h>

enum supervisor_op {
	SUPERVISOR_SPAWN_WORKER = 1, /* fds: [0] worker's end of its socket pair, [1] events.sock listener,
				      * [2] stats memfd, [3] /proc/kallsyms (may be absent) */
	SUPERVISOR_SPAWN_UNPACKER,   /* fds: [0] unpacker's end of its socket pair, [1] sealed memfd of the file */
	SUPERVISOR_KILL,             /* pid of a child spawned so */
	SUPERVISOR_PACKET_SOCKET,    /* answer: AF_PACKET socket, bound to nothing */
	SUPERVISOR_PERF_EVENT,       /* perf says which; fds: [0] the file, for uprobes. Answer: the perf event */
	SUPERVISOR_READY,            /* monitor serves: tell the service manager (sd_notify protocol) */
};

/* The perf events that BPF programs are attached to: of the whole machine, disabled until then, without a sample that
 * could be read. No other is opened. */
enum supervisor_perf_kind {
	SUPERVISOR_PERF_TRACEPOINT = 1, /* tracepoint */
	SUPERVISOR_PERF_CPU_CLOCK,      /* frequency, cpu */
	SUPERVISOR_PERF_KPROBE,         /* symbol, offset */
	SUPERVISOR_PERF_KRETPROBE,
	SUPERVISOR_PERF_UPROBE, /* a descriptor of the file, offset, semaphore */
	SUPERVISOR_PERF_URETPROBE,
};

enum {
	SUPERVISOR_PERF_FREQUENCY_MAX = 10000,
	SUPERVISOR_PERF_CPU_MAX = 65535,
	SUPERVISOR_PERF_SYMBOL_BYTES = 256,
	SUPERVISOR_PERF_KPROBE_OFFSET_MAX = 1 << 20,
};

/* What the kind has no use for is zero, or the answer is EINVAL, as for values out of range. */
struct supervisor_perf {
	uint32_t kind;
	uint32_t tracepoint; /* the number in its file "id" */
	uint32_t frequency;  /* hertz, 1 to SUPERVISOR_PERF_FREQUENCY_MAX */
	uint32_t cpu;
	uint64_t offset;    /* bytes from the symbol, or from the start of the file */
	uint64_t semaphore; /* offset in the file of the counter that the program looks at, 0: none; 32 bits */
	char symbol[SUPERVISOR_PERF_SYMBOL_BYTES]; /* letters, digits, "_.$"; zero to the end */
};

struct supervisor_request {
	uint32_t op;
	int32_t pid;
	struct supervisor_perf perf; /* of SUPERVISOR_PERF_EVENT */
};

struct supervisor_reply {
	uint32_t op;
	int32_t errnum; /* 0: done */
	int32_t pid;    /* of the spawned child */
			/* fd 0: pidfd of the child, the packet socket or the perf event */
};

/* Descriptors that the monitor finds at its start. */
enum {
	MONITOR_FD_SUPERVISOR = 3,
	MONITOR_FD_CONTROL = 4,  /* listening control.sock */
	MONITOR_FD_EVENTS = 5,   /* listening events.sock */
	MONITOR_FD_KALLSYMS = 6, /* /proc/kallsyms, opened with CAP_SYSLOG; may be closed */
	MONITOR_FD_LOCK = 7,     /* held, so that no other daemon starts while this monitor lives */
};

/* Descriptors that worker and unpacker find at their start. */
enum {
	WORKER_FD_MONITOR = 3,
	WORKER_FD_EVENTS = 4,
	WORKER_FD_STATS = 5,
	WORKER_FD_KALLSYMS = 6, /* may be closed */
	UNPACKER_FD_MONITOR = 3,
	UNPACKER_FD_FILE = 4,
};

#endif
