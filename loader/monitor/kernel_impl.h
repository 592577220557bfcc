/* Private to kernel*.c: one bundle in the kernel.
 *
 * Invariants
 * 1. A program is `chosen` only if it is `available`; of a group, the chosen ones share one order.
 * 2. program.fd and map.fd are descriptors of our own; the libbpf objects they came from may be closed at any time.
 * 3. Every step that can fail leaves kernel objects that kernel_remove or kernel_close knows of.
 */
#ifndef OBS_MONITOR_KERNEL_IMPL_H
#define OBS_MONITOR_KERNEL_IMPL_H

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/limits.h>
#include <net/if.h>

#include "loader/monitor/kernel.h"

/* ---- attach options ---- */

struct attach_options {
	char interface[IF_NAMESIZE]; /* "": all that are up */
	bool egress;
	uint32_t frequency;   /* hertz */
	uint32_t interval_ms; /* 0: once, at start */
	char map[64];         /* iterators over a map: that of the program's object; "" */
	char cgroup[256];     /* below the cgroup2 root; "": the root */
};

MUST_CHECK int attach_options_parse(const struct manifest_program *program, struct attach_options *out, struct err *e);

/* ---- what is attached ---- */

/* A filter in the kernel's tc; there is no link, the pinned record is what finds it again. */
struct tc_filter {
	int ifindex;
	bool egress;
	uint32_t handle;
};

enum attachment_kind {
	ATTACHMENT_LIBBPF, /* link: libbpf knows how to undo it */
	ATTACHMENT_FD,     /* fd: closing it detaches (adopted link, socket, link made without libbpf) */
	ATTACHMENT_TC,     /* tc */
};

struct attachment {
	enum attachment_kind kind;
	struct bpf_link *link;
	int fd;
	struct tc_filter tc;
	int ifindex;     /* of what is attached to one interface, else 0 */
	uint32_t number; /* in the name of a link's pin, unique for the program */
	/* A link that is also another bundle's, which is being replaced: see kernel_attach_beside. */
	enum { HOLD_OWN, HOLD_SHARED, HOLD_TAKEN } hold;
	int before; /* unless HOLD_OWN: that bundle's program */
};

/* An interface that a program could not be attached to; the others have it. */
struct interface_refusal {
	int index;
	char name[IF_NAMESIZE];
	char why[160];
};

struct kernel_prog {
	const struct manifest_program *program;
	size_t object; /* index in objects */
	struct attach_options options;
	bool available, chosen;
	int fd;                  /* -1: not loaded */
	struct bpf_program *bpf; /* NULL: its libbpf object is closed */
	bool attached;
	bool pinned; /* survives this process */
	struct attachment *attachments;
	size_t attachment_count;
	uint32_t next_number;
	struct interface_refusal *refusals;
	size_t refusal_count;
	uint64_t next_run_ms;   /* iterator with an interval */
	uint64_t rest_until_ms; /* what its last run asked for; 0: nothing */
	uint64_t probes_missed; /* of its links, when they were last asked */
};

struct kernel_map {
	const struct manifest_map *map;
	int fd;
	char failure[160]; /* why the kernel could not create it; "" */
	bool absent;
};

struct kernel_object {
	const struct manifest_object *object;
	const struct bundle_file *file;
	struct kernel_map *maps;    /* as object->maps */
	struct bpf_object **libbpf; /* one a load: the first, and one for each later addition */
	size_t libbpf_count;
};

struct kernel_bundle {
	struct kernel_host host;
	char *pin_root, *cgroup_root;
	const struct verified_bundle *bundle;
	const struct manifest *manifest;
	struct kernel_object *objects;
	size_t object_count;
	struct kernel_prog *progs;
	struct kernel_program *views; /* what callers see, as progs */
	size_t prog_count;
	bool uprobe_multi; /* the kernel has uprobe links of its own (Linux 6.6), which need no perf event */
	const struct kernel_bundle *previous; /* during kernel_attach_beside */
	bool waits;                           /* for interfaces that are named and not there */
	bool pins;                            /* pins exist: detaching at close would lose what shall go on */
	bool tc_record;                       /* the folder under construction holds records of tc filters */
};

/* ---- kernel.c ---- */
MUST_CHECK int kernel_bundle_new(const struct kernel_host *host, const struct verified_bundle *bundle,
				 struct kernel_bundle **out, struct err *e);
void kernel_bundle_free(struct kernel_bundle **kb); /* closes; detaches what is not pinned */
void prog_set_state(struct kernel_bundle *kb, size_t i, enum kernel_program_state state);
void prog_set_reason(struct kernel_bundle *kb, size_t i, const char *fmt, ...) PRINTF_LIKE(3, 4);
void prog_unavailable(struct kernel_bundle *kb, size_t i, const char *reason);
/* "object/program (section)" for messages. */
const char *prog_label(const struct kernel_bundle *kb, size_t i, char *dst, size_t size);
void kernel_progress(const struct kernel_bundle *kb, const char *what, size_t step, size_t steps);

/* ---- kernel_choose.c ---- */
/* Whether the bundle can do without program i in its present choice: it is optional or has another alternative. */
bool choose_can_do_without(const struct kernel_bundle *kb, size_t i);
/* Sets chosen, and state and reason of what is not. ERR_KERNEL_REQUIREMENT where something required has nothing left. */
MUST_CHECK int choose_programs(struct kernel_bundle *kb, struct err *e);

/* ---- kernel_load.c ---- */
/* Loads every chosen program that has no fd, into the maps that exist; creates the others. Chooses again where a program
 * is refused that the bundle can do without. */
MUST_CHECK int load_chosen(struct kernel_bundle *kb, struct err *e);
/* The kernel's view of programs and maps against the manifest: ERR_KERNEL_VIEW. */
MUST_CHECK int load_check_view(struct kernel_bundle *kb, struct err *e);
void object_close_libbpf(struct kernel_bundle *kb, struct kernel_object *o);

/* ---- kernel_view.c ---- */
MUST_CHECK int view_program(int fd, struct bpf_prog_info *out, uint32_t *map_ids, uint32_t *map_id_count,
			    struct err *e);
MUST_CHECK int view_map(int fd, struct bpf_map_info *out, struct err *e);
MUST_CHECK int view_check_program(const struct kernel_bundle *kb, size_t i, int fd, struct err *e);
MUST_CHECK int view_check_map(const struct kernel_map *m, int fd, struct err *e);

/* ---- kernel_probe.c ---- */
struct probe;
MUST_CHECK int probe_new(const struct kernel_host *host, struct probe **out, struct err *e);
void probe_free(struct probe **p);
bool probe_uprobe_multi(void);
/* Where tracefs is mounted, NULL: nowhere. */
const char *probe_tracefs(void);
MUST_CHECK int probe_requirements(const struct probe *p, const struct manifest *m, struct err *e);
/* before and "Linux 6.3", or "" where the kernel is new enough: it lacks the program for another reason then, and nobody
 * should be told to look for a newer one. Returns dst. */
const char *probe_since(const struct manifest_program *program, const char *before, char *dst, size_t size);
/* False: this kernel or host lacks it, and reason says what. True: it may still refuse. */
bool probe_program(struct probe *p, const struct manifest_program *program, char *reason, size_t size);

/* ---- kernel_target.c: ELF files that uprobes and USDT name ---- */
/* "libssl.so.3" or a path, as an absolute path of an existing file. */
bool target_resolve(const char *file, char path[static PATH_MAX]);
/* "file:symbol[+0x10]" or "file:provider:name" taken apart. */
bool target_split(const char *target, char file[static PATH_MAX], char *rest, size_t rest_size);
/* The file offset of a function; what follows a '+' in symbol is ignored. As with probes, what lies behind the first 256 MiB
 * of symbols and names is not looked at. */
bool target_symbol(const char *path, const char *symbol, uint64_t *offset);
struct usdt_site {
	uint64_t offset;       /* in the file */
	uint64_t semaphore;    /* offset in the file of the counter that the program looks at, 0: none */
	const char *arguments; /* "-4@%edi 8@$1"; valid during the call */
};
typedef bool (*usdt_site_fn)(void *ctx, const struct usdt_site *site); /* false: enough */
void target_each_usdt(const char *path, const char *provider, const char *name, usdt_site_fn each, void *ctx);
bool target_has_usdt(const char *path, const char *provider, const char *name);

/* ---- kernel_attach.c, kernel_net.c, kernel_iter.c ---- */
MUST_CHECK int attach_prog(struct kernel_bundle *kb, size_t i, struct err *e);
/* One more interface of a program that is attached; the attachment is added last. */
MUST_CHECK int attach_to_interface(struct kernel_bundle *kb, size_t i, int ifindex, struct err *e);
void detach_prog(struct kernel_bundle *kb, size_t i);
bool attach_kind_known(const char *kind);
/* "name+0x10" into name and offset. */
MUST_CHECK int attach_split_offset(char *symbol, size_t *offset, struct err *e);
MUST_CHECK int attachment_add(struct kernel_prog *p, const struct attachment *a, struct err *e);
/* Takes *fd over on success. ifindex: of one interface, else 0. */
MUST_CHECK int attachment_add_fd(struct kernel_prog *p, int *fd, int ifindex, struct err *e);
/* Borrowed, -1 or no link where it has none. */
int attachment_fd(const struct attachment *a);
/* Takes link over; NULL is errno's failure. */
MUST_CHECK int attachment_add_link(struct kernel_prog *p, struct bpf_link *link, struct err *e);

MUST_CHECK int net_attach_cgroup(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
/* xdp, tc and socket programs; ifindex 0: a socket for all interfaces, those to come too. */
MUST_CHECK int net_attach_to(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e);
/* What a shared link ran before runs again, where it was taken. */
void net_give_back(struct kernel_prog *p, struct attachment *a);
/* Whether what was attached to an interface still is, as the kernel tells: the index may be another device's by now. */
bool net_stands(const struct attachment *a, uint32_t program_id);
/* Removes the filter if it is still the program's; a qdisc that we made goes when it is empty. */
MUST_CHECK int net_detach_tc(const char *pin_root, const struct tc_filter *tc, uint32_t program_id, struct err *e);
bool net_tc_is_attached(const struct tc_filter *tc, uint32_t program_id);
/* The same for an interface that may be gone or another device: what is not ours beyond doubt is left. */
void net_let_go_tc(const char *pin_root, const struct tc_filter *tc, uint32_t program_id);

/* Removes the clsact qdisc of an interface if we made it and no filter hangs on it. */
void net_drop_qdisc(const char *pin_root, int ifindex);

MUST_CHECK int iter_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
bool iter_attached(const struct kernel_prog *p); /* an iterator, and attached */
MUST_CHECK int iter_run(struct kernel_bundle *kb, size_t i, struct err *e);

/* ---- kernel_interface.c ---- */
/* Whether the program is attached interface by interface, so that those to come count too. */
bool interface_follows(const struct kernel_prog *p);
MUST_CHECK int interface_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
/* Whether the interface that it names is not there. */
bool interface_absent(const struct kernel_prog *p);
/* Whether it is pinned as it is, also when it is on no interface yet. */
bool interface_pins(const struct kernel_prog *p);
/* Attached to what there is, which may be nothing. */
void interface_settle(struct kernel_bundle *kb, size_t i);

/* ---- kernel_uprobe.c ---- */
enum { UPROBE_MULTI = 48 }; /* BPF_TRACE_UPROBE_MULTI, of Linux 6.6: newer than the headers of Debian 12 */
MUST_CHECK int uprobe_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
MUST_CHECK int usdt_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
struct uprobe_multi {
	const char *path;
	const uint64_t *offsets;              /* in the file */
	const uint64_t *semaphores, *cookies; /* as offsets, or NULL */
	uint32_t count;
	bool at_return;
};
/* A link, or -1 with errno. */
int uprobe_multi_link(int prog_fd, const struct uprobe_multi *at);

/* ---- kernel_usdt_args.c ---- */
enum usdt_arg_type { USDT_CONST, USDT_REG, USDT_REG_DEREF };
enum { USDT_ARGS_MAX = 12 };
/* ABI with <bpf/usdt.bpf.h>: struct __bpf_usdt_arg_spec and __bpf_usdt_spec. */
struct usdt_arg {
	uint64_t val_off;
	uint32_t type;
	int16_t reg_off; /* in struct pt_regs */
	bool is_signed;
	int8_t bitshift; /* bits of 64 that the argument does not fill */
};
struct usdt_spec {
	struct usdt_arg args[USDT_ARGS_MAX];
	uint64_t cookie;
	int16_t arg_count;
};
/* False: not understood. */
bool usdt_parse(const char *text, struct usdt_spec *out);

/* ---- kernel_usdt.c ---- */
MUST_CHECK int usdt_attach_places(struct kernel_bundle *kb, struct kernel_prog *p, const char *path,
				  const char *provider, const char *name, struct err *e);

/* ---- kernel_perf.c ---- */
/* Whether the host opens no perf event at all for us. */
bool perf_refused(const struct kernel_host *host);
MUST_CHECK int perf_attach_tp(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
MUST_CHECK int perf_attach_kprobe(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
MUST_CHECK int perf_attach_clock(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
struct perf_uprobe {
	uint64_t offset, semaphore, cookie; /* as in struct uprobe_multi */
	bool at_return;
};
MUST_CHECK int perf_attach_uprobe(struct kernel_bundle *kb, struct kernel_prog *p, const char *path,
				  const struct perf_uprobe *at, struct err *e);

/* ---- kernel_pin.c ---- */
/* Records a tc filter that is about to be made, so that a crash leaves something to find it by. */
MUST_CHECK int pin_tc_record(struct kernel_bundle *kb, struct kernel_prog *p, const struct tc_filter *tc,
			     struct err *e);
void pin_tc_forget(const struct kernel_bundle *kb, const struct kernel_prog *p, const struct tc_filter *tc);
/* Pins attachment n of a program that is pinned. */
MUST_CHECK int pin_late(const struct kernel_bundle *kb, const struct kernel_prog *p, size_t n, struct err *e);
/* Removes the pin or record of an attachment of a program. */
void pin_forget(const struct kernel_bundle *kb, const struct kernel_prog *p, const struct attachment *a);
/* Drops a folder that never became complete. */
void pin_drop_unfinished(struct kernel_bundle *kb);
/* Host-wide note that the clsact qdisc of an interface was made by us. */
MUST_CHECK int pin_note_qdisc(const char *pin_root, int ifindex, struct err *e);
bool pin_noted_qdisc(const char *pin_root, int ifindex);
void pin_forget_qdisc(const char *pin_root, int ifindex);

#endif
