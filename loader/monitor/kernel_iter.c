#include <string.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/loop.h"

/* Iterators run when they are read: their output goes nowhere, what they have to say they write into rings and maps. */

enum { ITER_MAX_BYTES = 64 << 20 };

int iter_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	const char *object = kb->objects[p->object].object->name;
	union bpf_iter_link_info info = {0};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts);

	if (p->options.map[0]) {
		int fd = kernel_map_fd(kb, object, p->options.map);
		if (fd < 0)
			return err_set(e, ERR_KERNEL_ATTACH, "%s: object %s has no map %s", p->program->section, object,
				       p->options.map);
		info.map.map_fd = (uint32_t)fd;
		opts.link_info = &info;
		opts.link_info_len = sizeof(info);
	}
	p->next_run_ms = 0;
	return attachment_add_link(p, bpf_program__attach_iter(p->bpf, &opts), e);
}

static int link_fd(const struct attachment *a)
{
	return a->kind == ATTACHMENT_LIBBPF ? bpf_link__fd(a->link) : a->fd;
}

int iter_run(struct kernel_bundle *kb, size_t i, struct err *e)
{
	const struct kernel_prog *p = &kb->progs[i];
	static char sink[16384];
	uint64_t total = 0;
	char label[300];

	for (size_t n = 0; n < p->attachment_count; n++) {
		OWN_FD int fd = bpf_iter_create(link_fd(&p->attachments[n]));
		if (fd < 0)
			return err_errno(e, ERR_KERNEL_ATTACH, "iterator %s", prog_label(kb, i, label, sizeof(label)));
		for (;;) {
			ssize_t got = read(fd, sink, sizeof(sink));
			if (got < 0 && (errno == EINTR || errno == EAGAIN))
				continue;
			if (got < 0)
				return err_errno(e, ERR_KERNEL_ATTACH, "iterator %s",
						 prog_label(kb, i, label, sizeof(label)));
			total += (uint64_t)got;
			if (got == 0 || total > ITER_MAX_BYTES)
				break;
		}
	}
	return 0;
}

int kernel_run_once_iterators(struct kernel_bundle *kb, struct err *e)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		const struct kernel_prog *p = &kb->progs[i];
		if (p->attached && p->options.interval_ms == 0 && strcmp(p->program->attach, "iter") == 0 &&
		    iter_run(kb, i, e))
			return -1;
	}
	return 0;
}

/* One iterator that fails does not keep the others from their turn; the first error is told. */
int kernel_run_iterators(struct kernel_bundle *kb, uint64_t now_ms, int *next_ms, struct err *e)
{
	int64_t next = -1;
	int result = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		uint32_t interval = p->options.interval_ms;
		if (!p->attached || interval == 0 || strcmp(p->program->attach, "iter") != 0)
			continue;
		if (p->next_run_ms <= now_ms) {
			p->next_run_ms = loop_next(now_ms, interval);
			if (iter_run(kb, i, result ? NULL : e))
				result = -1;
		}
		int64_t left = (int64_t)(p->next_run_ms - now_ms);
		next = next < 0 || left < next ? left : next;
	}
	*next_ms = (int)next;
	return result;
}
