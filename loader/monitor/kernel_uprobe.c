#include <string.h>
#include <sys/syscall.h>

#include "loader/monitor/kernel_impl.h"

/* Perf events for uprobes need CAP_SYS_ADMIN since the kernels of July 2025, also in their older stable branches. The
 * uprobe links that the kernel has had since 6.6 do not, so nobody is asked for them; libbpf 1.1 does not know them. */

/* The part of union bpf_attr for BPF_LINK_CREATE of a uprobe_multi link (include/uapi/linux/bpf.h of Linux 6.6). */
struct uprobe_multi_attr {
	uint32_t prog_fd, target_fd, attach_type, link_flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t count, flags, pid, reserved;
};

enum { MULTI_RETURN = 1 };

int uprobe_multi_link(int prog_fd, const struct uprobe_multi *at)
{
	struct uprobe_multi_attr attr = {
	    .prog_fd = (uint32_t)prog_fd,
	    .attach_type = UPROBE_MULTI,
	    .path = (uint64_t)(uintptr_t)at->path,
	    .offsets = (uint64_t)(uintptr_t)at->offsets,
	    .ref_ctr_offsets = (uint64_t)(uintptr_t)at->semaphores,
	    .cookies = (uint64_t)(uintptr_t)at->cookies,
	    .count = at->count,
	    .flags = at->at_return ? MULTI_RETURN : 0,
	};

	return (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
}

static int target_file(const struct kernel_prog *p, char path[static PATH_MAX], char *rest, size_t rest_size,
		       struct err *e)
{
	char file[PATH_MAX];

	if (!target_split(p->program->target, file, rest, rest_size))
		return err_set(e, ERR_KERNEL_ATTACH, "target \"%s\" is no file:name", p->program->target);
	if (!target_resolve(file, path))
		return err_set(e, ERR_KERNEL_ATTACH, "there is no file %s", file);
	return 0;
}

static int attach_multi(struct kernel_prog *p, const char *path, const struct perf_uprobe *place, struct err *e)
{
	const struct uprobe_multi at = {
	    .path = path, .offsets = &place->offset, .count = 1, .at_return = place->at_return};
	OWN_FD int fd = uprobe_multi_link(p->fd, &at);

	if (fd < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	return attachment_add_fd(p, &fd, 0, e);
}

int uprobe_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct perf_uprobe at = {.at_return = strcmp(p->program->attach, "uretprobe") == 0};
	char path[PATH_MAX], symbol[512];
	size_t add;

	if (target_file(p, path, symbol, sizeof(symbol), e) || attach_split_offset(symbol, &add, e))
		return -1;
	if (!target_symbol(path, symbol, &at.offset))
		return err_set(e, ERR_KERNEL_ATTACH, "there is no function %s in %s", symbol, path);
	at.offset += add;
	return kb->uprobe_multi ? attach_multi(p, path, &at, e) : perf_attach_uprobe(kb, p, path, &at, e);
}

int usdt_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	char path[PATH_MAX], provider[512];

	if (target_file(p, path, provider, sizeof(provider), e))
		return -1;
	char *name = strchr(provider, ':');
	if (!name)
		return err_set(e, ERR_KERNEL_ATTACH, "target \"%s\" is no file:provider:name", p->program->target);
	*name++ = '\0';
	return usdt_attach_places(kb, p, path, provider, name, e);
}
