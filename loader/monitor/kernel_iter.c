#include <string.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/loop.h"

/* Iterators run when they are read: what they have to say they write into rings and maps. Output of just a __u64 is the time, as
 * bpf_ktime_get_ns() has it, until when there is nothing to do; any other goes nowhere. */

enum { ITER_MAX_BYTES = 64 << 20, REST_MAX_MS = 3600000 };

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
	struct kernel_prog *p = &kb->progs[i];
	static char sink[16384];
	uint64_t total = 0, rest_ns = 0;
	char label[300];

	p->rest_until_ms = 0;
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
			if (total == 0 && got == sizeof(rest_ns))
				memcpy(&rest_ns, sink, sizeof(rest_ns));
			total += (uint64_t)got;
			if (got == 0 || total > ITER_MAX_BYTES)
				break;
		}
	}
	if (total == sizeof(rest_ns))
		p->rest_until_ms = rest_ns / 1000000;
	return 0;
}

bool iter_attached(const struct kernel_prog *p)
{
	return p->attached && strcmp(p->program->attach, "iter") == 0;
}

/* One iterator that fails does not keep the others from their turn; the first error is told. */
int kernel_iterate_again(struct kernel_bundle *kb, struct err *e)
{
	int result = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (iter_attached(p) && p->options.interval_ms)
			p->next_run_ms = 0;
		else if (iter_attached(p) && iter_run(kb, i, result ? NULL : e))
			result = -1;
	}
	return result;
}

/* The first of its moments that is past now, and not before the end of its rest. */
static uint64_t next_run(const struct kernel_prog *p, uint64_t now_ms)
{
	uint64_t rest_ms = loop_sooner(p->rest_until_ms, now_ms + REST_MAX_MS);

	return loop_next(rest_ms > now_ms ? rest_ms - 1 : now_ms, p->options.interval_ms);
}

/* As above: the others have their turn. */
int kernel_run_iterators(struct kernel_bundle *kb, uint64_t now_ms, int *next_ms, struct err *e)
{
	int64_t next = -1;
	int result = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (!iter_attached(p) || p->options.interval_ms == 0)
			continue;
		if (p->next_run_ms <= now_ms) {
			if (iter_run(kb, i, result ? NULL : e))
				result = -1;
			p->next_run_ms = next_run(p, now_ms);
		}
		int64_t left = (int64_t)(p->next_run_ms - now_ms);
		next = next < 0 || left < next ? left : next;
	}
	*next_ms = (int)next;
	return result;
}
