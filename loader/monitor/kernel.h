/* The kernel side of one bundle: load, attach, pin, adopt, remove. The only user of libbpf in the loader. Everything here
 * starts from a struct verified_bundle. Nothing here decides whether a bundle is allowed: the gate did. */
#ifndef OBS_MONITOR_KERNEL_H
#define OBS_MONITOR_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "keys/gate.h"
#include "loader/ipc/supervisor.h"

struct kernel_bundle;

struct kernel_host {
	const char *pin_root;    /* "/sys/fs/bpf/obsload", on a bpffs */
	const char *cgroup_root; /* cgroup2 mount */
	/* A fresh unbound AF_PACKET socket for socket filter programs (needs CAP_NET_RAW, which the supervisor has). */
	int (*packet_socket)(void *ctx, int *out_fd, struct err *e);
	void *packet_ctx;
	/* A perf event as loader/ipc/supervisor.h has them, disabled. file_fd: the file of a uprobe, else -1. The error's
	 * errnum is the kernel's; EACCES and EPERM: it is not for us, whatever the event. */
	int (*perf_event)(void *ctx, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e);
	void *perf_ctx;
	/* Progress of long steps, may be NULL: "loading", done, of. */
	void (*progress)(void *ctx, const char *what, unsigned step, unsigned steps);
	void *progress_ctx;
};

enum kernel_program_state {
	KERNEL_ATTACHED,      /* runs, and outlives this process by its pin (or by netlink: tc) */
	KERNEL_ATTACHED_HERE, /* runs as long as this process does: link cannot be pinned on this kernel or for its kind */
	KERNEL_LOADED,        /* verified by the kernel, not attached (dry run) */
	KERNEL_UNUSED,        /* a better alternative of its group is in use */
	KERNEL_UNAVAILABLE, /* this kernel cannot: reason says what it needs */
};

struct kernel_program {
	const struct manifest_program *program; /* of the bundle's manifest */
	const struct manifest_object *object;
	enum kernel_program_state state;
	char reason[256]; /* "needs tp_btf/sock_send_length, Linux 6.3"; "" when attached as the best of its group */
	/* Of a program that is attached: "not on veth3: <why>", "waits for eth1 to be up"; "" */
	char interfaces[256];
	uint32_t id;                     /* kernel's program id, 0: not loaded */
	uint64_t run_count, run_time_ns; /* where kernel.bpf_stats_enabled */
	uint64_t missed;                 /* runs that the kernel skipped, as kernel_missed tells */
};

/* Requirements, choice among alternatives, load, and the comparison of the kernel's own view (program type, name, maps)
 * with the manifest. Attaches nothing. A refusal by the verifier is ERR_KERNEL_VERIFIER with program and one-line cause
 * as text and the verifier's log as log. bundle is borrowed and must outlive the result. */
MUST_CHECK int kernel_load(const struct kernel_host *host, const struct verified_bundle *bundle,
			   struct kernel_bundle **out, struct err *e);

/* Attaches every chosen program, then runs start iterators. An attach that fails falls back to the next alternative or, if
 * optional, is noted; a required one that fails detaches all and is ERR_KERNEL_ATTACH. */
MUST_CHECK int kernel_attach(struct kernel_bundle *kb, struct err *e);
/* The same for a bundle that ran before, at a start: a required program whose interface is not there yet waits for it. */
MUST_CHECK int kernel_attach_again(struct kernel_bundle *kb, struct err *e);

/* The same beside previous, which runs and is to be replaced; NULL: there is none. An XDP hook has room for one program: where
 * previous has it, its link is shared, and goes on running previous' program until kernel_take_over. */
MUST_CHECK int kernel_attach_beside(struct kernel_bundle *kb, const struct kernel_bundle *previous, struct err *e);
/* Swaps the programs of shared links, each at once, after kernel_pin. On failure all of them are as before
 * (ERR_KERNEL_ATTACH). Until kernel_settle, kernel_remove gives them back. */
MUST_CHECK int kernel_take_over(struct kernel_bundle *kb, struct err *e);
void kernel_settle(struct kernel_bundle *kb);

/* Pins links, programs and maps below <pin_root>/<namespace>/<name>/<serial>/{links,programs,maps}. On failure no pin is
 * left. */
MUST_CHECK int kernel_pin(struct kernel_bundle *kb, struct err *e);

/* Takes over what an earlier process pinned for this bundle. What cannot be pinned (KERNEL_ATTACHED_HERE) is loaded and
 * attached anew against the pinned maps. *adopted is false, and nothing is changed, where there are no complete pins
 * whose programs match: the caller then removes the pins and loads. A shortage (ERR_NOMEM) says nothing about
 * the pins, which stay. */
MUST_CHECK int kernel_adopt(const struct kernel_host *host, const struct verified_bundle *bundle, bool *adopted,
			    struct kernel_bundle **out, struct err *e);

/* Detaches everything and waits until no program runs any more: what maps and rings hold now is the last of it. Maps can
 * still be read. What cannot be detached is tried again by kernel_remove, which tells. */
void kernel_detach(struct kernel_bundle *kb);

/* Detaches everything, removes pins and folders that become empty, closes. Goes on over errors and reports the first. */
MUST_CHECK int kernel_remove(struct kernel_bundle **kb, struct err *e);

/* Removes the pins of a name and serial of which nothing else is known (reconciliation at start). */
MUST_CHECK int kernel_remove_pins(const struct kernel_host *host, const char *name, uint64_t serial, struct err *e);

/* Forgets what is noted about interfaces that are gone (reconciliation at start). */
void kernel_forget_interfaces(const struct kernel_host *host);

/* Names and serials that have pins: calls each() for every one. */
MUST_CHECK int kernel_each_pinned(const struct kernel_host *host,
				  int (*each)(void *ctx, const char *name, uint64_t serial, struct err *e), void *ctx,
				  struct err *e);

/* Whether programs of kb, before it is settled, have taken the place of the old ones: then those see nothing any more. */
bool kernel_has_taken_over(const struct kernel_bundle *kb);

/* Removes what attaching leaves where it comes no further: qdiscs that were made for a filter and hold none, empty folders. */
void kernel_sweep(const struct kernel_host *host);

/* Closes this process's descriptors; what is pinned goes on. */
void kernel_close(struct kernel_bundle **kb);

/* Every program of the host's architecture, in manifest order. */
size_t kernel_programs(const struct kernel_bundle *kb, const struct kernel_program **out);
/* Refreshes run_count, run_time_ns and missed. */
void kernel_refresh(struct kernel_bundle *kb);

/* Runs that the kernel skipped of all programs since they were loaded, as it counts them: because the program, or for
 * perf events any tracing program, still ran on that CPU (recursion_misses: fentry and fexit from Linux 5.12, tp_btf and
 * raw_tp from 6.1, before which they are not skipped; tp, kprobe and kretprobe from 6.7), or because the probe itself was
 * not served (a link's missed, Linux 6.7). What is skipped and not counted: tp, kprobe and kretprobe before 6.7, and
 * perf_event. Refreshes missed of the programs that can be skipped: one or two calls for each. */
uint64_t kernel_missed(struct kernel_bundle *kb);

/* Borrowed fd of a map, -1 if there is none (its object has no program in use). */
int kernel_map_fd(const struct kernel_bundle *kb, const char *object, const char *map);

/* Interface `index` of this process's network namespace came, went or changed, or another one has its index now: these two
 * bring the bundle in line with what there is. First every bundle drops what no longer stands, then every bundle attaches
 * what covers an interface that is up. -1: an interface refused, which was not told before (ERR_KERNEL_ATTACH and others);
 * all else goes on. */
void kernel_interface_drop(struct kernel_bundle *kb, int index);
MUST_CHECK int kernel_interface_attach(struct kernel_bundle *kb, int index, struct err *e);
/* The interfaces that the bundle has something on or was refused by, some more than once. */
void kernel_each_interface(const struct kernel_bundle *kb, bool refused_only, void (*each)(void *ctx, int index),
			   void *ctx);

/* Iterators with interval_ms: runs those that are due; *next_ms is when to call again (-1: never). One may rest longer than
 * its interval, an hour at most. */
MUST_CHECK int kernel_run_iterators(struct kernel_bundle *kb, uint64_t now_ms, int *next_ms, struct err *e);

/* After a parameter changed, since what it left out may be wanted now: runs the iterators without interval_ms, as attaching
 * did; those with one are due. */
MUST_CHECK int kernel_iterate_again(struct kernel_bundle *kb, struct err *e);

/* One sentence if this machine cannot do BPF at all (no bpf(), no permission, no BTF): ERR_KERNEL_NO_BPF. */
MUST_CHECK int kernel_probe(struct err *e);

#endif
