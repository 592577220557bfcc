/* Monitor and worker over a SOCK_SEQPACKET pair: fixed-size messages. An unexpected message is fatal to the worker,
 * never to the monitor.
 *
 *   monitor -> worker                               worker -> monitor
 *   BUNDLE   bundle, fd: sealed manifest            OUTPUT_DONE bundle, output: sample taken in, memfd free again
 *   OUTPUT   bundle, output, fd: ring or memfd      OPEN        pid, kind: asks for a read-only fd
 *   SAMPLE   bundle, output: a fresh sample         READY
 *   MISSED   bundle, count: total of skipped runs
 *   REMOVE   bundle: read it to its end first       CUT_DONE    bundle: of a CUT
 *   CUT      bundle, output: handle of the held bundle that takes over from it at one instant
 *   OPENED   pid, kind, errnum, fd
 *   NOTICE   an obs.bundle event to send
 *   STOP     finish samples, flush for at most a second, exit
 */
#ifndef OBS_IPC_WORKER_H
#define OBS_IPC_WORKER_H

#include <stdint.h>

#include "bundles/limits.h"

enum worker_op {
	WORKER_BUNDLE = 1,
	WORKER_OUTPUT,
	WORKER_SAMPLE,
	WORKER_REMOVE,
	WORKER_OPENED,
	WORKER_NOTICE,
	WORKER_MISSED,
	WORKER_STOP,
	WORKER_CUT,
	WORKER_READY = 64,
	WORKER_OUTPUT_DONE,
	WORKER_OPEN,
	WORKER_CUT_DONE,
};

enum worker_open_kind { WORKER_OPEN_MAPS = 1, WORKER_OPEN_CGROUP };

struct worker_msg {
	uint32_t op;
	uint32_t bundle;     /* handle chosen by the monitor, unique while it runs */
	uint32_t output;     /* index in the manifest's outputs */
	uint32_t ring_bytes; /* OUTPUT of a ring: its max_entries */
	uint32_t cpus;       /* OUTPUT of a sample: values per key, 1 unless per-CPU */
	int32_t pid;
	uint32_t kind;
	int32_t errnum;
	char name[2 * MANIFEST_NAME_MAX + 2]; /* NOTICE: bundle */
	char action[16];                      /* NOTICE: "installed", "removed", "refused", "upgraded" */
	char code[64];                        /* NOTICE of a refusal */
	uint64_t serial;
	/* MISSED: runs that the kernel skipped of the bundle's programs, since they were loaded. BUNDLE: 1 if it is held, so
	 * that its rings are read from a CUT on. */
	uint64_t count;
};

/* A sampled map in its memfd, which the monitor fills before it sends SAMPLE and leaves alone until OUTPUT_DONE. */
struct worker_sample {
	uint64_t time_ns; /* bpf_ktime_get_ns clock */
	uint32_t entries;
	uint32_t key_size;   /* bytes, padded to 8 */
	uint32_t value_size; /* bytes of one value, padded to 8 */
	uint32_t cpus;       /* values a key */
	uint64_t left_out;   /* entries that did not fit */
	uint8_t data[];      /* entries times (key, value[cpus]) */
};

/* Counters in a memfd that the worker writes and the monitor reads (as untrusted numbers) for status and restart.
 * One slot a bundle, by handle modulo slots; slot.bundle says whose. All are totals since the memfd was made. */
enum { WORKER_STATS_SLOTS = 512 };

enum loss_source {
	LOSS_RING,
	LOSS_MAP,
	LOSS_PARSER,
	LOSS_SUBSCRIBER,
	LOSS_SAMPLING,
	LOSS_TABLE,
	LOSS_MISSED,
	LOSS_SOURCE_COUNT
};

struct worker_bundle_stats {
	uint64_t bundle;
	uint64_t events;                  /* records decoded */
	uint64_t bytes;                   /* of those records */
	uint64_t lost[LOSS_SOURCE_COUNT]; /* those the worker sees: parser, subscriber, sampling, and map: left out */
	uint64_t kernel_lost
	    [LOSS_SOURCE_COUNT]; /* of OUTPUT_LOST and MISSED: already told, so that a restarted worker goes on */
};

struct worker_stats {
	uint64_t sequence; /* last obs event's seq: goes on over a restart of the worker */
	uint64_t started_ns;
	uint64_t subscribers, subscribers_total, subscribers_refused;
	uint64_t sent_events, sent_bytes;
	struct worker_bundle_stats bundle[WORKER_STATS_SLOTS];
};

#endif
