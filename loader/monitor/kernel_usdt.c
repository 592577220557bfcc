#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* USDT on uprobe links, or on perf events of the supervisor's. libbpf's programs (<bpf/usdt.bpf.h>) take the attach cookie
 * as the number of a specification in the map __bpf_usdt_specs, which says where each argument is. libbpf 1.1 fills it
 * for perf events that it opens itself only; this does the same for ours. */

struct sites {
	uint64_t *offsets, *semaphores, *cookies;
	uint32_t count, room;
	uint32_t first_spec;
	int specs;
	bool any_semaphore;
	struct err *e;
	bool failed;
};

static void sites_clear(struct sites *s)
{
	free(s->offsets);
	free(s->semaphores);
	free(s->cookies);
}

static bool add_site(void *ctx, const struct usdt_site *site)
{
	struct sites *s = ctx;
	struct usdt_spec spec;
	uint32_t number = s->first_spec + s->count;

	s->failed = true;
	if (s->count == s->room) {
		err_set(s->e, ERR_KERNEL_ATTACH, "more than %u places: define BPF_USDT_MAX_SPEC_CNT", s->room);
		return false;
	}
	if (!usdt_parse(site->arguments, &spec)) {
		err_set(s->e, ERR_KERNEL_ATTACH, "arguments \"%.100s\" are not understood", site->arguments);
		return false;
	}
	if (bpf_map_update_elem(s->specs, &number, &spec, BPF_ANY)) {
		err_errno(s->e, ERR_KERNEL_ATTACH, "map __bpf_usdt_specs");
		return false;
	}
	s->offsets[s->count] = site->offset;
	s->semaphores[s->count] = site->semaphore;
	s->cookies[s->count++] = number;
	s->any_semaphore |= site->semaphore != 0;
	s->failed = false;
	return true;
}

/* Each USDT program of an object has its own share of the specifications, so that numbers are the same in whatever order
 * and process they are attached. */
static int take_share(const struct kernel_bundle *kb, const struct kernel_prog *p, struct sites *s, struct err *e)
{
	const struct kernel_object *o = &kb->objects[p->object];
	struct bpf_map_info info;
	uint32_t programs = 0, rank = 0;

	s->specs = kernel_map_fd(kb, o->object->name, "__bpf_usdt_specs");
	if (s->specs < 0)
		return err_set(e, ERR_KERNEL_ATTACH, "object %s does not include <obs/usdt.h>", o->object->name);
	if (view_map(s->specs, &info, e))
		return -1;
	if (info.value_size != sizeof(struct usdt_spec) || info.key_size != sizeof(uint32_t))
		return err_set(e, ERR_KERNEL_ATTACH, "map __bpf_usdt_specs has values of %u bytes", info.value_size);
	for (size_t i = 0; i < kb->prog_count; i++) {
		if (kb->progs[i].object != p->object || strcmp(kb->progs[i].program->attach, "usdt") != 0)
			continue;
		if (&kb->progs[i] == p)
			rank = programs;
		programs++;
	}
	s->room = programs ? info.max_entries / programs : 0;
	s->first_spec = rank * s->room;
	s->offsets = calloc(s->room + 1, sizeof(*s->offsets));
	s->semaphores = calloc(s->room + 1, sizeof(*s->semaphores));
	s->cookies = calloc(s->room + 1, sizeof(*s->cookies));
	if (!s->offsets || !s->semaphores || !s->cookies)
		return err_errno(e, ERR_NOMEM, "USDT places");
	return 0;
}

static int attach_multi(struct kernel_prog *p, const char *path, const struct sites *s, struct err *e)
{
	struct uprobe_multi at = {
	    .path = path,
	    .offsets = s->offsets,
	    .semaphores = s->any_semaphore ? s->semaphores : NULL,
	    .cookies = s->cookies,
	    .count = s->count,
	};
	OWN_FD int fd = uprobe_multi_link(p->fd, &at);

	if (fd < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	return attachment_add_fd(p, &fd, 0, e);
}

int usdt_attach_places(struct kernel_bundle *kb, struct kernel_prog *p, const char *path, const char *provider,
		       const char *name, struct err *e)
{
	struct sites s __attribute__((cleanup(sites_clear))) = {.specs = -1, .e = e};

	if (take_share(kb, p, &s, e))
		return -1;
	target_each_usdt(path, provider, name, add_site, &s);
	if (s.failed)
		return -1;
	if (s.count == 0)
		return err_set(e, ERR_KERNEL_ATTACH, "there is no probe %s:%s in %s", provider, name, path);
	if (kb->uprobe_multi)
		return attach_multi(p, path, &s, e);
	for (uint32_t i = 0; i < s.count; i++) {
		const struct perf_uprobe at = {
		    .offset = s.offsets[i], .semaphore = s.semaphores[i], .cookie = s.cookies[i]};
		if (perf_attach_uprobe(kb, p, path, &at, e))
			return -1;
	}
	return 0;
}
