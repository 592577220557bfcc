/* Monitor and supervisor. The supervisor (`obsload run`) is the monitor's parent; it keeps only CAP_SETUID, CAP_SETGID,
 * CAP_KILL, CAP_NET_RAW and (to empty its children's bounding sets) CAP_SETPCAP, so that the monitor needs none of them,
 * and does four things on request. Requests are answered in order. */
#ifndef OBS_IPC_SUPERVISOR_H
#define OBS_IPC_SUPERVISOR_H

#include <stdint.h>

enum supervisor_op {
	SUPERVISOR_SPAWN_WORKER = 1, /* fds: [0] worker's end of its socket pair, [1] events.sock listener,
				      * [2] stats memfd, [3] /proc/kallsyms (may be absent) */
	SUPERVISOR_SPAWN_UNPACKER,   /* fds: [0] unpacker's end of its socket pair, [1] sealed memfd of the file */
	SUPERVISOR_KILL,             /* pid of a child spawned so */
	SUPERVISOR_PACKET_SOCKET,    /* answer: AF_PACKET socket, bound to nothing */
	SUPERVISOR_READY,            /* monitor serves: tell the service manager (sd_notify protocol) */
};

struct supervisor_request {
	uint32_t op;
	int32_t pid;
};

struct supervisor_reply {
	uint32_t op;
	int32_t errnum; /* 0: done */
	int32_t pid;    /* of the spawned child */
			/* fd 0: pidfd of the child, or the packet socket */
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
