#include "loader/monitor/kernel.h"

#include <malloc.h>
#include <stdarg.h>
#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* ---- the object ---- */

static int add_object(struct kernel_bundle *kb, const struct manifest_object *stated, struct err *e)
{
	struct kernel_object *o = &kb->objects[kb->object_count];

	o->object = stated;
	o->file = verified_object(kb->bundle, stated);
	if (!o->file)
		return err_set(e, ERR_INTERNAL, "object %s is not in its bundle", stated->name);
	o->maps = calloc(stated->map_count + 1, sizeof(*o->maps));
	if (!o->maps)
		return err_errno(e, ERR_NOMEM, "object %s", stated->name);
	for (size_t m = 0; m < stated->map_count; m++)
		o->maps[m] = (struct kernel_map){.map = &stated->maps[m], .fd = -1};
	kb->object_count++;
	for (size_t i = 0; i < stated->program_count; i++) {
		struct kernel_prog *p = &kb->progs[kb->prog_count];
		*p = (struct kernel_prog){.program = &stated->programs[i], .object = kb->object_count - 1, .fd = -1};
		kb->views[kb->prog_count++] =
		    (struct kernel_program){.program = p->program, .object = stated, .state = KERNEL_UNAVAILABLE};
		if (attach_options_parse(p->program, &p->options, e))
			return err_wrap(e, "object %s, program %s", stated->name, p->program->name);
	}
	return 0;
}

int kernel_bundle_new(const struct kernel_host *host, const struct verified_bundle *bundle, struct kernel_bundle **out,
		      struct err *e)
{
	const struct manifest *m = verified_manifest(bundle);
	const char *arch = manifest_host_arch();
	size_t objects = 0, progs = 0;
	struct kernel_bundle *kb __attribute__((cleanup(kernel_bundle_free))) = calloc(1, sizeof(*kb));

	if (!kb)
		return err_errno(e, ERR_NOMEM, "bundle %s", m->name);
	kb->host = *host;
	kb->bundle = bundle;
	kb->manifest = m;
	kb->pin_root = strdup(host->pin_root);
	kb->cgroup_root = strdup(host->cgroup_root ? host->cgroup_root : "");
	for (size_t i = 0; i < m->object_count; i++) {
		if (strcmp(m->objects[i].arch, arch) != 0)
			continue;
		objects++;
		progs += m->objects[i].program_count;
	}
	if (objects == 0)
		return err_set(e, ERR_OBJECT_ARCH, "bundle %s has no objects for %s", m->name, arch);
	kb->objects = calloc(objects, sizeof(*kb->objects));
	kb->progs = calloc(progs + 1, sizeof(*kb->progs));
	kb->views = calloc(progs + 1, sizeof(*kb->views));
	if (!kb->pin_root || !kb->cgroup_root || !kb->objects || !kb->progs || !kb->views)
		return err_errno(e, ERR_NOMEM, "bundle %s", m->name);
	kb->host.pin_root = kb->pin_root;
	kb->host.cgroup_root = kb->cgroup_root;
	kb->uprobe_multi = probe_uprobe_multi();
	for (size_t i = 0; i < m->object_count; i++)
		if (strcmp(m->objects[i].arch, arch) == 0 && add_object(kb, &m->objects[i], e))
			return -1;
	*out = TAKE_PTR(kb);
	return 0;
}

static void object_clear(struct kernel_bundle *kb, struct kernel_object *o)
{
	object_close_libbpf(kb, o);
	for (size_t m = 0; o->maps && m < o->object->map_count; m++)
		if (o->maps[m].fd >= 0)
			close(o->maps[m].fd);
	free(o->maps);
}

/* Links go before the libbpf objects that USDT links refer to, and an unfinished folder of pins after the filters that it
 * records. */
void kernel_bundle_free(struct kernel_bundle **out)
{
	struct kernel_bundle *kb = TAKE_PTR(*out);

	if (!kb)
		return;
	for (size_t i = 0; i < kb->prog_count; i++) {
		detach_prog(kb, i);
		if (kb->progs[i].fd >= 0)
			close(kb->progs[i].fd);
	}
	if (!kb->pins && kb->tc_record)
		pin_drop_unfinished(kb);
	for (size_t i = 0; i < kb->object_count; i++)
		object_clear(kb, &kb->objects[i]);
	free(kb->objects);
	free(kb->progs);
	free(kb->views);
	free(kb->pin_root);
	free(kb->cgroup_root);
	free(kb);
}

void prog_set_state(struct kernel_bundle *kb, size_t i, enum kernel_program_state state)
{
	kb->views[i].state = state;
}

void prog_set_reason(struct kernel_bundle *kb, size_t i, const char *fmt, ...)
{
	char text[sizeof(kb->views[i].reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(kb->views[i].reason, text, sizeof(text));
}

void prog_unavailable(struct kernel_bundle *kb, size_t i, const char *reason)
{
	struct kernel_prog *p = &kb->progs[i];

	p->available = p->chosen = false;
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	p->bpf = NULL;
	kb->views[i].id = 0;
	prog_set_state(kb, i, KERNEL_UNAVAILABLE);
	prog_set_reason(kb, i, "%s", reason);
}

const char *prog_label(const struct kernel_bundle *kb, size_t i, char *dst, size_t size)
{
	snprintf(dst, size, "%s/%s (%s)", kb->views[i].object->name, kb->progs[i].program->name,
		 kb->progs[i].program->section);
	return dst;
}

void kernel_progress(const struct kernel_bundle *kb, const char *what, size_t step, size_t steps)
{
	if (kb->host.progress)
		kb->host.progress(kb->host.progress_ctx, what, (unsigned)step, (unsigned)steps);
}

/* ---- load ---- */

int kernel_load(const struct kernel_host *host, const struct verified_bundle *bundle, struct kernel_bundle **out,
		struct err *e)
{
	struct kernel_bundle *kb __attribute__((cleanup(kernel_bundle_free))) = NULL;
	OWN(probe) struct probe *probe = NULL;

	if (kernel_bundle_new(host, bundle, &kb, e) || probe_new(host, &probe, e) ||
	    probe_requirements(probe, kb->manifest, e))
		return -1;
	for (size_t i = 0; i < kb->prog_count; i++) {
		char reason[sizeof(kb->views[i].reason)];
		kb->progs[i].available = probe_program(probe, kb->progs[i].program, reason, sizeof(reason));
		if (!kb->progs[i].available)
			prog_unavailable(kb, i, reason);
	}
	probe_free(&probe);
	if (choose_programs(kb, e) || load_chosen(kb, e) || load_check_view(kb, e))
		return -1;
	*out = TAKE_PTR(kb);
	return 0;
}

/* ---- attach ---- */

static void detach_all(struct kernel_bundle *kb)
{
	for (size_t i = kb->prog_count; i-- > 0;) {
		bool was = kb->progs[i].attached;
		detach_prog(kb, i);
		if (was)
			prog_set_state(kb, i, KERNEL_LOADED);
	}
}

/* Programs of the alternative that i belongs to were attached before i failed: an alternative stands or falls whole. */
static void detach_alternative(struct kernel_bundle *kb, size_t i)
{
	for (size_t j = 0; j < kb->prog_count; j++)
		if (kb->progs[j].attached && !kb->progs[j].chosen)
			detach_prog(kb, j);
	detach_prog(kb, i);
}

static int attach_or_fall_back(struct kernel_bundle *kb, size_t i, struct err *e)
{
	char text[200], reason[sizeof(kb->views[i].reason)];
	struct err why = ERR_INIT;

	if (attach_prog(kb, i, &why) == 0) {
		prog_set_state(kb, i, KERNEL_ATTACHED_HERE);
		return 0;
	}
	if (kb->waits && interface_absent(&kb->progs[i]) && !choose_can_do_without(kb, i)) {
		interface_settle(kb, i);
		prog_set_state(kb, i, KERNEL_ATTACHED_HERE);
		return 0;
	}
	if (why.code == ERR_NOMEM || why.code == ERR_INTERNAL || !choose_can_do_without(kb, i)) {
		if (e)
			*e = why;
		return -1;
	}
	snprintf(reason, sizeof(reason), "did not attach: %s", err_text(&why, text, sizeof(text)));
	detach_prog(kb, i);
	prog_unavailable(kb, i, reason);
	if (choose_programs(kb, e))
		return -1;
	detach_alternative(kb, i);
	if (load_chosen(kb, e) || load_check_view(kb, e))
		return -1;
	return 0;
}

static size_t next_to_attach(const struct kernel_bundle *kb)
{
	size_t i = 0;

	while (i < kb->prog_count && (!kb->progs[i].chosen || kb->progs[i].attached))
		i++;
	return i;
}

static int attach_all(struct kernel_bundle *kb, struct err *e)
{
	size_t step = 0;

	for (size_t i; (i = next_to_attach(kb)) < kb->prog_count; step++) {
		kernel_progress(kb, "attaching", step, kb->prog_count);
		if (attach_or_fall_back(kb, i, e))
			return -1;
	}
	for (size_t i = 0; i < kb->prog_count; i++)
		if (iter_attached(&kb->progs[i]) && iter_run(kb, i, e))
			return -1;
	return 0;
}

int kernel_attach(struct kernel_bundle *kb, struct err *e)
{
	if (attach_all(kb, e)) {
		detach_all(kb);
		return -1;
	}
	/* libbpf's copies hold the programs that were loaded and are not in use, and much memory. */
	for (size_t i = 0; i < kb->object_count; i++)
		object_close_libbpf(kb, &kb->objects[i]);
	/* With the kernel's BTF that was ten times what stays; what lies scattered above it would keep it. */
	malloc_trim(0);
	return 0;
}

int kernel_attach_again(struct kernel_bundle *kb, struct err *e)
{
	kb->waits = true;
	return kernel_attach(kb, e);
}

int kernel_attach_beside(struct kernel_bundle *kb, const struct kernel_bundle *previous, struct err *e)
{
	kb->previous = previous;
	int result = kernel_attach(kb, e);
	kb->previous = NULL;
	return result;
}

/* ---- accessors ---- */

void kernel_close(struct kernel_bundle **kb)
{
	kernel_bundle_free(kb);
}

size_t kernel_programs(const struct kernel_bundle *kb, const struct kernel_program **out)
{
	*out = kb->views;
	return kb->prog_count;
}

int kernel_map_fd(const struct kernel_bundle *kb, const char *object, const char *map)
{
	for (size_t i = 0; i < kb->object_count; i++) {
		const struct kernel_object *o = &kb->objects[i];
		if (strcmp(o->object->name, object) != 0)
			continue;
		for (size_t m = 0; m < o->object->map_count; m++)
			if (strcmp(o->maps[m].map->name, map) == 0)
				return o->maps[m].fd;
	}
	return -1;
}
