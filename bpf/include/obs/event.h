/* The event ABI, shared by BPF programs and user space. Plain C, no other header needed but integer types. */
#ifndef OBS_EVENT_H
#define OBS_EVENT_H

#ifndef __bpf__
#include <linux/types.h>
#endif

/* First member of every event struct. */
struct obs_header {
	__u64 time_ns; /* bpf_ktime_get_ns() */
	__u32 event;   /* the number given to OBS_EVENT */
	__u32 reserved;
};

/* A parameter that holds an IPv4 or IPv6 network. All zero: unused. IPv4 is v4-mapped, prefix_len counts from 96. */
struct obs_cidr {
	__u8 address[16]; /* network order */
	__u8 prefix_len;  /* 0 to 128 */
	__u8 used;	  /* 1 */
	__u8 reserved[6];
};

/* Slots of the per-CPU drop counters, map obs_lost. */
enum obs_loss {
	OBS_LOST_RING,	   /* ring full */
	OBS_LOST_MAP,	   /* a map had no room */
	OBS_LOST_PARSER,   /* bytes that the program could not make sense of */
	OBS_LOST_SAMPLING, /* left out on purpose */
	OBS_LOST_TABLE,	   /* a table of the program was full: state was evicted */
	OBS_LOST_COUNT,
};

#endif
