#include <string.h>
#include <sys/syscall.h>

#include "loader/monitor/kernel_impl.h"

/* Perf events for uprobes need CAP_SYS_ADMIN since the kernels of July 2025, also in their older stable branches. The
 * uprobe links that the kernel has had since 6.6 do not, and they can be pinned; libbpf 1.1 does not know them. */

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

static int not_permitted(const struct kernel_prog *p, struct err *e)
{
	return err_set(e, ERR_KERNEL_ATTACH, "%s needs CAP_SYS_ADMIN before Linux 6.6", p->program->section);
}

static int attach_multi(struct kernel_prog *p, const char *path, const char *symbol, size_t add, struct err *e)
{
	uint64_t offset;

	if (!target_symbol(path, symbol, &offset))
		return err_set(e, ERR_KERNEL_ATTACH, "there is no function %s in %s", symbol, path);
	offset += add;
	struct uprobe_multi at = {
	    .path = path, .offsets = &offset, .count = 1, .at_return = strcmp(p->program->attach, "uretprobe") == 0};
	OWN_FD int fd = uprobe_multi_link(p->fd, &at);
	if (fd < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	return attachment_add_fd(p, &fd, e);
}

int uprobe_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	char path[PATH_MAX], symbol[512];
	size_t offset;

	if (target_file(p, path, symbol, sizeof(symbol), e) || attach_split_offset(symbol, &offset, e))
		return -1;
	if (kb->uprobe_multi)
		return attach_multi(p, path, symbol, offset, e);
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .func_name = symbol,
		    .retprobe = strcmp(p->program->attach, "uretprobe") == 0);
	struct bpf_link *link = bpf_program__attach_uprobe_opts(p->bpf, -1, path, offset, &opts);
	if (!link && errno == EACCES)
		return not_permitted(p, e);
	return attachment_add_link(p, link, e);
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
	if (kb->uprobe_multi)
		return usdt_attach_multi(kb, p, path, provider, name, e);
	kb->objects[p->object].keep_libbpf = true;
	struct bpf_link *link = bpf_program__attach_usdt(p->bpf, -1, path, provider, name, NULL);
	if (!link && errno == EACCES)
		return not_permitted(p, e);
	return attachment_add_link(p, link, e);
}
