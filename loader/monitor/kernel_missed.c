#include <stddef.h>
#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* What the kernel counts of programs that run: see kernel_missed. */

enum { PERF_EVENT_KPROBE = 3, PERF_EVENT_KRETPROBE = 4 }; /* enum bpf_perf_event_type */

/* The head of struct bpf_link_info as Linux 6.7 fills it for a kprobe: newer than the headers of Debian 12. */
struct kprobe_link_info {
	uint32_t type, id, prog_id, _pad;
	uint32_t event, _reserved;
	uint64_t function;
	uint32_t function_bytes, offset;
	uint64_t address, missed;
};
_Static_assert(offsetof(struct kprobe_link_info, missed) == 48, "as include/uapi/linux/bpf.h has it");

static uint64_t link_missed(const struct attachment *a)
{
	struct kprobe_link_info info = {0};
	uint32_t size = sizeof(info);
	int fd = attachment_fd(a);

	/* What is no link, or of an older kernel, says nothing. */
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, (struct bpf_link_info *)&info, &size) ||
	    info.type != BPF_LINK_TYPE_PERF_EVENT ||
	    (info.event != PERF_EVENT_KPROBE && info.event != PERF_EVENT_KRETPROBE))
		return 0;
	return info.missed;
}

static bool is_probe(const struct kernel_prog *p)
{
	return strcmp(p->program->attach, "kprobe") == 0 || strcmp(p->program->attach, "kretprobe") == 0;
}

static bool can_be_skipped(const struct kernel_prog *p)
{
	static const char *const kinds[] = {"tp", "raw_tp", "tp_btf", "fentry", "fexit"};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(p->program->attach, kinds[i]) == 0)
			return true;
	return is_probe(p);
}

static void refresh(struct kernel_bundle *kb, size_t i)
{
	struct kernel_prog *p = &kb->progs[i];
	struct bpf_prog_info info;

	if (p->fd < 0 || view_program(p->fd, &info, NULL, NULL, NULL))
		return;
	/* Once detached, what the links said last goes on to count. */
	if (is_probe(p) && p->attachment_count) {
		p->probes_missed = 0;
		for (size_t n = 0; n < p->attachment_count; n++)
			p->probes_missed += link_missed(&p->attachments[n]);
	}
	kb->views[i].run_count = info.run_cnt;
	kb->views[i].run_time_ns = info.run_time_ns;
	kb->views[i].missed = info.recursion_misses + p->probes_missed;
}

void kernel_refresh(struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		refresh(kb, i);
}

uint64_t kernel_missed(struct kernel_bundle *kb)
{
	uint64_t total = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		if (!can_be_skipped(&kb->progs[i]))
			continue;
		refresh(kb, i);
		total += kb->views[i].missed;
	}
	return total;
}
