#include <fcntl.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/monitor/kernel_impl.h"

enum { ID_MAX_BYTES = 32 };

/* Programs on perf events. The events themselves come from the supervisor: many kernels ask CAP_SYS_ADMIN for them. */

static int open_event(const struct kernel_host *host, const struct supervisor_perf *want, int file_fd, int *out_fd,
		      struct err *e)
{
	struct err failed = ERR_INIT;

	if (!host->perf_event)
		return err_set(e, ERR_KERNEL_ATTACH, "nobody here can open perf events");
	if (host->perf_event(host->perf_ctx, want, file_fd, out_fd, &failed) == 0)
		return 0;
	errno = failed.errnum;
	if (errno == EACCES || errno == EPERM)
		return err_errno(e, ERR_KERNEL_ATTACH, "this perf event needs CAP_SYS_ADMIN in the supervisor");
	if (errno)
		return err_errno(e, ERR_KERNEL_ATTACH, "perf event");
	if (e)
		*e = failed;
	return -1;
}

bool perf_refused(const struct kernel_host *host)
{
	const struct supervisor_perf want = {.kind = SUPERVISOR_PERF_CPU_CLOCK, .frequency = 1};
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;

	return open_event(host, &want, -1, &fd, &e) && (!host->perf_event || e.errnum == EACCES || e.errnum == EPERM);
}

/* libbpf makes a link of the kernel's where there are such (Linux 5.15), and enables the event. */
static int attach(struct kernel_bundle *kb, struct kernel_prog *p, const struct supervisor_perf *want, int file_fd,
		  uint64_t cookie, struct err *e)
{
	LIBBPF_OPTS(bpf_perf_event_opts, opts, .bpf_cookie = cookie);
	OWN_FD int fd = -1;

	if (open_event(&kb->host, want, file_fd, &fd, e))
		return -1;
	struct bpf_link *link = bpf_program__attach_perf_event_opts(p->bpf, fd, &opts);
	if (!link)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	(void)TAKE_FD(fd); /* the link's */
	return attachment_add_link(p, link, e);
}

int perf_attach_tp(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct supervisor_perf want = {.kind = SUPERVISOR_PERF_TRACEPOINT};
	const char *root = probe_tracefs();
	OWN_FREE uint8_t *text = NULL;
	char path[PATH_MAX], *end;
	size_t size;

	if (!root || !strchr(p->program->target, '/') || strstr(p->program->target, ".."))
		return err_set(e, ERR_KERNEL_ATTACH, "tracepoint \"%s\" is no category/name", p->program->target);
	if ((size_t)snprintf(path, sizeof(path), "%s/events/%s/id", root, p->program->target) >= sizeof(path) ||
	    file_read(path, ID_MAX_BYTES, ERR_LIMIT, &text, &size, NULL))
		return err_set(e, ERR_KERNEL_ATTACH, "there is no tracepoint %s", p->program->target);
	unsigned long id = strtoul((const char *)text, &end, 10);
	if (id == 0 || id > UINT32_MAX || *end != '\n')
		return err_set(e, ERR_KERNEL_ATTACH, "%s holds no number", path);
	want.tracepoint = (uint32_t)id;
	return attach(kb, p, &want, -1, 0, e);
}

int perf_attach_kprobe(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct supervisor_perf want = {.kind = strcmp(p->program->attach, "kretprobe") == 0 ? SUPERVISOR_PERF_KRETPROBE
											    : SUPERVISOR_PERF_KPROBE};
	char symbol[2 * SUPERVISOR_PERF_SYMBOL_BYTES];
	size_t offset;

	if (strlen(p->program->target) >= sizeof(symbol))
		return err_set(e, ERR_KERNEL_ATTACH, "a function's name of %zu bytes", strlen(p->program->target));
	snprintf(symbol, sizeof(symbol), "%s", p->program->target);
	if (attach_split_offset(symbol, &offset, e))
		return -1;
	if (strlen(symbol) >= sizeof(want.symbol))
		return err_set(e, ERR_KERNEL_ATTACH, "a function's name of %zu bytes", strlen(symbol));
	memcpy(want.symbol, symbol, strlen(symbol));
	want.offset = offset;
	return attach(kb, p, &want, -1, 0, e);
}

/* Software cpu-clock on every CPU: works without hardware counters, in virtual machines too. */
int perf_attach_clock(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	int cpus = libbpf_num_possible_cpus();

	for (int cpu = 0; cpu < cpus; cpu++) {
		const struct supervisor_perf want = {
		    .kind = SUPERVISOR_PERF_CPU_CLOCK, .frequency = p->options.frequency, .cpu = (uint32_t)cpu};
		struct err failed = ERR_INIT;
		if (attach(kb, p, &want, -1, 0, &failed) == 0 || failed.errnum == ENODEV)
			continue; /* ENODEV: possible, but not online */
		if (e)
			*e = failed;
		return err_wrap(e, "cpu-clock at %u Hz on CPU %d", p->options.frequency, cpu);
	}
	return p->attachment_count ? 0 : err_set(e, ERR_KERNEL_ATTACH, "no CPU to sample");
}

int perf_attach_uprobe(struct kernel_bundle *kb, struct kernel_prog *p, const char *path, const struct perf_uprobe *at,
		       struct err *e)
{
	const struct supervisor_perf want = {
	    .kind = at->at_return ? SUPERVISOR_PERF_URETPROBE : SUPERVISOR_PERF_UPROBE,
	    .offset = at->offset,
	    .semaphore = at->semaphore,
	};
	OWN_FD int file = open(path, O_PATH | O_CLOEXEC);

	if (file < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", path);
	return attach(kb, p, &want, file, at->cookie, e);
}
