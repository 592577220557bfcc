#include <linux/magic.h>
#include <stdarg.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <zlib.h>

#include "bundles/base/file.h"
#include "loader/monitor/kernel_impl.h"

enum { KALLSYMS_MAX_BYTES = 256 << 20, CONFIG_LINE_BYTES = 4096, TYPE_COUNT = 64 };

struct probe {
	const struct kernel_host *host;
	struct btf *btf; /* the kernel's own, NULL: it has none */
	char *symbols;   /* /proc/kallsyms, read when first needed */
	size_t symbols_size;
	bool symbols_tried;
	bool perf_refused;            /* not for us, not even by way of the supervisor */
	bool uprobe_multi;            /* links that need no perf event */
	signed char type[TYPE_COUNT]; /* 0: not asked, 1: the kernel has such programs, -1: it has not */
};

/* ---- ways to attach ---- */

static const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};

static int load_nothing(int attach_type)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = (enum bpf_attach_type)attach_type);

	return bpf_prog_load(BPF_PROG_TYPE_KPROBE, NULL, "GPL", nothing, ARRAY_LEN(nothing), &opts);
}

/* A folder, in which nothing can be probed: a kernel that has such links says so, one that has not does not know the
 * request. */
bool probe_uprobe_multi(void)
{
	uint64_t offset = 0;
	OWN_FD int prog = load_nothing(UPROBE_MULTI);

	if (prog < 0)
		return false;
	OWN_FD int link = uprobe_multi_link(prog, &(struct uprobe_multi){.path = "/", .offsets = &offset, .count = 1});
	return link < 0 && errno == EBADF;
}

int probe_new(const struct kernel_host *host, struct probe **out, struct err *e)
{
	OWN(probe) struct probe *p = calloc(1, sizeof(*p));

	if (!p)
		return err_errno(e, ERR_NOMEM, "looking at the kernel");
	p->host = host;
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	p->btf = btf__load_vmlinux_btf();
	libbpf_set_print(before);
	/* What is meant is a kernel without types. */
	if (!p->btf && errno == ENOMEM)
		return err_errno(e, ERR_NOMEM, "the kernel's BTF");
	p->perf_refused = perf_refused(host);
	p->uprobe_multi = probe_uprobe_multi();
	*out = TAKE_PTR(p);
	return 0;
}

void probe_free(struct probe **out)
{
	struct probe *p = TAKE_PTR(*out);

	if (!p)
		return;
	btf__free(p->btf);
	free(p->symbols);
	free(p);
}

/* ---- what the manifest asks of the kernel as a whole ---- */

static int require_version(const struct manifest *m, const struct utsname *name, struct err *e)
{
	unsigned major = 0, minor = 0;

	if (m->kernel_major == 0 && m->kernel_minor == 0)
		return 0;
	/* NOLINTNEXTLINE(cert-err34-c): the kernel's own words. */
	if (sscanf(name->release, "%u.%u", &major, &minor) != 2)
		return err_set(e, ERR_KERNEL_REQUIREMENT, "this kernel's release is \"%s\", which is no version",
			       name->release);
	if (major < m->kernel_major || (major == m->kernel_major && minor < m->kernel_minor))
		return err_set(e, ERR_KERNEL_REQUIREMENT, "needs Linux %u.%u, this is %s", m->kernel_major,
			       m->kernel_minor, name->release);
	return 0;
}

static gzFile open_config(const struct utsname *name)
{
	char path[sizeof("/lib/modules//config") + sizeof(name->release)];
	gzFile f = gzopen("/proc/config.gz", "re");

	if (f)
		return f;
	snprintf(path, sizeof(path), "/boot/config-%s", name->release);
	f = gzopen(path, "re");
	if (f)
		return f;
	snprintf(path, sizeof(path), "/lib/modules/%s/config", name->release);
	return gzopen(path, "re");
}

/* "CONFIG_X=y" and "CONFIG_X=m", not "# CONFIG_X is not set". */
static bool is_set(const char *line, const char *option)
{
	size_t len = strlen(option);

	return strncmp(line, option, len) == 0 && line[len] == '=' && line[len + 1] != 'n' && line[len + 1] != '\0';
}

static int require_config(const struct manifest *m, const struct utsname *name, struct err *e)
{
	char line[CONFIG_LINE_BYTES];
	size_t missing = 0;

	if (m->kernel_config_count == 0)
		return 0;
	OWN_FREE bool *found = calloc(m->kernel_config_count, sizeof(*found));
	if (!found)
		return err_errno(e, ERR_NOMEM, "kernel configuration");
	gzFile f = open_config(name);
	if (!f)
		return err_set(e, ERR_KERNEL_REQUIREMENT,
			       "needs %s, and this kernel's configuration is nowhere to be read "
			       "(/proc/config.gz, /boot/config-%s)",
			       m->kernel_config[0], name->release);
	while (gzgets(f, line, sizeof(line)))
		for (size_t i = 0; i < m->kernel_config_count; i++)
			found[i] |= is_set(line, m->kernel_config[i]);
	gzclose(f);
	while (missing < m->kernel_config_count && found[missing])
		missing++;
	if (missing < m->kernel_config_count)
		return err_set(e, ERR_KERNEL_REQUIREMENT, "needs %s, which this kernel was built without",
			       m->kernel_config[missing]);
	return 0;
}

int probe_requirements(const struct probe *p, const struct manifest *m, struct err *e)
{
	struct utsname name;

	if (uname(&name))
		return err_errno(e, ERR_KERNEL_REQUIREMENT, "uname");
	if (require_version(m, &name, e))
		return -1;
	if (m->needs_btf && !p->btf)
		return err_set(e, ERR_KERNEL_REQUIREMENT, "needs the kernel's BTF (/sys/kernel/btf/vmlinux)");
	return require_config(m, &name, e);
}

/* ---- what one program asks ---- */

static bool has_type(struct probe *p, const char *type)
{
	for (int t = 1; t < TYPE_COUNT; t++) {
		const char *name = libbpf_bpf_prog_type_str((enum bpf_prog_type)t);
		if (!name || strcmp(name, type) != 0)
			continue;
		if (p->type[t] == 0) {
			libbpf_print_fn_t before = libbpf_set_print(NULL);
			p->type[t] = libbpf_probe_bpf_prog_type((enum bpf_prog_type)t, NULL) == 0 ? -1 : 1;
			libbpf_set_print(before);
		}
		return p->type[t] > 0;
	}
	return false;
}

/* libbpf probes tracing programs with fentry, which a kernel may refuse while it has tp_btf and iterators: of those the
 * load itself tells. */
static bool asks_type(const struct manifest_program *program)
{
	return strcmp(program->type, "tracing") != 0;
}

static bool has_btf(const struct probe *p, const char *prefix, const char *name, uint32_t kind)
{
	char full[256];

	snprintf(full, sizeof(full), "%s%s", prefix, name);
	return p->btf && btf__find_by_name_kind(p->btf, full, kind) > 0;
}

const char *probe_tracefs(void)
{
	if (access("/sys/kernel/tracing/events", F_OK) == 0)
		return "/sys/kernel/tracing";
	if (access("/sys/kernel/debug/tracing/events", F_OK) == 0)
		return "/sys/kernel/debug/tracing";
	return NULL;
}

static bool has_event_source(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/event_source/devices/%s/type", name);
	if (access(path, F_OK) == 0)
		return true;
	const char *root = probe_tracefs();
	snprintf(path, sizeof(path), "%s/%s_events", root ? root : "", name);
	return root && access(path, F_OK) == 0;
}

static bool has_symbol(struct probe *p, const char *name)
{
	char needle[160];
	size_t len = strcspn(name, "+");

	if (!p->symbols_tried) {
		p->symbols_tried = true;
		uint8_t *bytes = NULL;
		if (file_read("/proc/kallsyms", KALLSYMS_MAX_BYTES, ERR_LIMIT, &bytes, &p->symbols_size, NULL) == 0)
			p->symbols = (char *)bytes;
	}
	if (!p->symbols)
		return true; /* nothing to judge by: the attach will tell */
	/* "ffffffff81000000 T name\n", or "... t name\t[module]\n" */
	for (const char *end = "\n\t"; *end; end++) {
		int n = snprintf(needle, sizeof(needle), " %.*s%c", (int)len, name, *end);
		const char *at = p->symbols, *stop = p->symbols + p->symbols_size;
		while (n > 0 && (size_t)n < sizeof(needle) &&
		       (at = memmem(at, (size_t)(stop - at), needle, (size_t)n))) {
			if (at > p->symbols && strchr("tTwW", at[-1]))
				return true;
			at++;
		}
	}
	return false;
}

typedef bool (*probe_fn)(struct probe *p, const struct manifest_program *program, char *needs, size_t size);

static bool needs_text(char *needs, size_t size, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool needs_text(char *needs, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(needs, size, fmt, ap);
	va_end(ap);
	return false;
}

static bool needs_target(const struct manifest_program *program, char *needs, size_t size)
{
	return needs_text(needs, size, "%s/%s", program->attach, program->target);
}

static bool needs_perf(char *needs, size_t size)
{
	return needs_text(needs, size, "CAP_SYS_ADMIN in the supervisor, or kernel.perf_event_paranoid of 2 or less");
}

static bool probe_perf_event(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	(void)program;
	return p->perf_refused ? needs_perf(needs, size) : true;
}

static bool probe_tp(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	const char *root = probe_tracefs();
	char path[256];

	if (!root)
		return needs_text(needs, size, "tracefs (mount -t tracefs tracefs /sys/kernel/tracing)");
	if (!strchr(program->target, '/') || strstr(program->target, ".."))
		return needs_text(needs, size, "a tracepoint as category/name, not \"%s\"", program->target);
	if ((size_t)snprintf(path, sizeof(path), "%s/events/%s/id", root, program->target) >= sizeof(path) ||
	    access(path, F_OK))
		return needs_target(program, needs, size);
	return p->perf_refused ? needs_perf(needs, size) : true;
}

static bool probe_raw_tp(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	if (p->btf && !has_btf(p, "btf_trace_", program->target, BTF_KIND_TYPEDEF))
		return needs_target(program, needs, size);
	return true;
}

static bool probe_tp_btf(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	return has_btf(p, "btf_trace_", program->target, BTF_KIND_TYPEDEF) || needs_target(program, needs, size);
}

/* Whether the kernel lets programs onto this function, by one that does nothing: to be refused with the real ones would
 * cost a load of the whole object each. */
static bool probe_function(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);

	if (!has_btf(p, "", program->target, BTF_KIND_FUNC))
		return needs_target(program, needs, size);
	opts.attach_btf_id = (uint32_t)btf__find_by_name_kind(p->btf, program->target, BTF_KIND_FUNC);
	opts.expected_attach_type = strcmp(program->attach, "fexit") == 0 ? BPF_TRACE_FEXIT : BPF_TRACE_FENTRY;
	OWN_FD int prog = bpf_prog_load(BPF_PROG_TYPE_TRACING, NULL, "GPL", nothing, ARRAY_LEN(nothing), &opts);
	if (prog >= 0 || errno == ENOMEM || errno == EAGAIN)
		return true;
	return needs_text(needs, size, "%s programs, which this kernel refuses: %s", program->attach, strerror(errno));
}

static bool probe_iter(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	return has_btf(p, "bpf_iter_", program->target, BTF_KIND_FUNC) || needs_target(program, needs, size);
}

static bool probe_kprobe(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	if (!has_event_source("kprobe"))
		return needs_text(needs, size, "%s/%s and kprobes in the kernel (CONFIG_KPROBE_EVENTS)",
				  program->attach, program->target);
	if (!has_symbol(p, program->target))
		return needs_target(program, needs, size);
	return p->perf_refused ? needs_perf(needs, size) : true;
}

static bool probe_file(const struct probe *p, const struct manifest_program *program, char path[static PATH_MAX],
		       char *rest, size_t rest_size, char *needs, size_t size)
{
	char file[PATH_MAX];

	if (!has_event_source("uprobe"))
		return needs_text(needs, size, "uprobes in the kernel (CONFIG_UPROBE_EVENTS)");
	if (!target_split(program->target, file, rest, rest_size))
		return needs_text(needs, size, "a target as file:symbol, not \"%s\"", program->target);
	if (!target_resolve(file, path))
		return needs_text(needs, size, "the file %s", file);
	return p->perf_refused && !p->uprobe_multi ? needs_perf(needs, size) : true;
}

static bool probe_uprobe(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	char path[PATH_MAX], symbol[512];

	if (!probe_file(p, program, path, symbol, sizeof(symbol), needs, size))
		return false;
	uint64_t offset;
	return target_symbol(path, symbol, &offset) || needs_text(needs, size, "the function %s in %s", symbol, path);
}

static bool probe_usdt(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	char path[PATH_MAX], rest[512];

	if (!probe_file(p, program, path, rest, sizeof(rest), needs, size))
		return false;
	if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_get_attach_cookie, NULL) == 0)
		return needs_text(needs, size, "attach cookies, Linux 5.15");
	char *colon = strchr(rest, ':');
	if (!colon)
		return needs_text(needs, size, "a target as file:provider:name, not \"%s\"", program->target);
	*colon = '\0';
	return target_has_usdt(path, rest, colon + 1) ||
	       needs_text(needs, size, "the probe %s:%s in %s", rest, colon + 1, path);
}

static bool probe_cgroup(struct probe *p, const struct manifest_program *program, char *needs, size_t size)
{
	struct statfs fs;

	(void)program;
	if (statfs(p->host->cgroup_root, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)
		return needs_text(needs, size, "a cgroup2 mount at \"%s\"", p->host->cgroup_root);
	return true;
}

static const struct {
	const char *kind;
	probe_fn probe;
} probes[] = {
    {"tp", probe_tp},
    {"raw_tp", probe_raw_tp},
    {"tp_btf", probe_tp_btf},
    {"kprobe", probe_kprobe},
    {"kretprobe", probe_kprobe},
    {"uprobe", probe_uprobe},
    {"uretprobe", probe_uprobe},
    {"usdt", probe_usdt},
    {"fentry", probe_function},
    {"fexit", probe_function},
    {"iter", probe_iter},
    {"cgroup_skb", probe_cgroup},
    {"sockops", probe_cgroup},
    {"perf_event", probe_perf_event},
};

const char *probe_since(const struct manifest_program *program, const char *before, char *dst, size_t size)
{
	unsigned want_major, want_minor, major, minor;
	struct utsname name;

	dst[0] = '\0';
	if (!program->since[0] || uname(&name))
		return dst;
	/* NOLINTNEXTLINE(cert-err34-c): what is no version is shown as it is. */
	if (sscanf(program->since, "%u.%u", &want_major, &want_minor) == 2 &&
	    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own words. */
	    sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	    (major > want_major || (major == want_major && minor >= want_minor)))
		return dst;
	snprintf(dst, size, "%sLinux %.16s", before, program->since);
	return dst;
}

bool probe_program(struct probe *p, const struct manifest_program *program, char *reason, size_t size)
{
	char needs[192], since[32];
	bool has = true;

	if (!attach_kind_known(program->attach)) {
		snprintf(reason, size, "needs attach kind %s, which this loader does not have", program->attach);
		return false;
	}
	for (size_t i = 0; has && i < ARRAY_LEN(probes); i++)
		if (strcmp(probes[i].kind, program->attach) == 0)
			has = probes[i].probe(p, program, needs, sizeof(needs));
	if (has && asks_type(program) && !has_type(p, program->type))
		has = needs_text(needs, sizeof(needs), "BPF programs of type %s", program->type);
	if (!has)
		snprintf(reason, size, "needs %s%s", needs, probe_since(program, ", ", since, sizeof(since)));
	return has;
}

/* ---- whether there is BPF at all ---- */

int kernel_probe(struct err *e)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts);
	OWN_FD int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, NULL, sizeof(uint32_t), sizeof(uint32_t), 1, &opts);

	if (fd < 0 && errno == ENOSYS)
		return err_set(e, ERR_KERNEL_NO_BPF, "this kernel has no BPF");
	if (fd < 0 && errno == EPERM)
		return err_set(e, ERR_KERNEL_NO_BPF,
			       "this process may not use BPF: it needs root with CAP_BPF, outside of a container");
	if (fd < 0)
		return err_errno(e, ERR_KERNEL_NO_BPF, "BPF does not work here");
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	OWN_FD int prog = bpf_prog_load(BPF_PROG_TYPE_TRACEPOINT, NULL, "GPL", insns, ARRAY_LEN(insns), NULL);
	if (prog < 0)
		return err_errno(e, ERR_KERNEL_NO_BPF, "BPF programs cannot be loaded here (CAP_BPF and CAP_PERFMON)");
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		return err_set(e, ERR_KERNEL_NO_BPF, "this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)");
	return 0;
}
