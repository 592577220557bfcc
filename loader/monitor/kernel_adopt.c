#include <malloc.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/kernel_paths.h"

/* Takes over the pins of an earlier process, if they are what the verified objects would give.
 *
 * The kernel's tag of a program covers its instructions after relocation, which nobody but libbpf with this kernel's BTF
 * can tell; its algorithm also changed (SHA-1, SHA-256 from Linux 6.18). So the objects are loaded once more, into the
 * pinned maps and without attaching, and the kernel's tags of both are compared. What a pinned link runs, what a pinned
 * map looks like and what constants it holds are compared too. */

struct adoption {
	struct kernel_bundle *kb;
	char base[PATH_MAX];
	int *pinned; /* descriptors of the pinned programs, as kb->progs; -1: not pinned */
	size_t count;
};

enum verdict { MATCH, DIFFERS, FAILED };

static void adoption_clear(struct adoption *a)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->pinned[i] >= 0)
			close(a->pinned[i]);
	free(a->pinned);
	kernel_bundle_free(&a->kb);
}

static const struct kernel_object *object_of(const struct adoption *a, size_t i)
{
	return &a->kb->objects[a->kb->progs[i].object];
}

/* ---- what is pinned ---- */

/* Of which nobody is to blame, and which passes: it says nothing about the pins. */
static bool is_shortage(int errnum)
{
	return errnum == ENOMEM || errnum == EMFILE || errnum == ENFILE || errnum == EAGAIN;
}

/* *fd is -1 where nothing is pinned. */
static enum verdict open_pin(const char *path, int *fd)
{
	*fd = bpf_obj_get(path);
	if (*fd >= 0 || errno == ENOENT)
		return MATCH;
	return is_shortage(errno) ? FAILED : DIFFERS;
}

static enum verdict open_programs(struct adoption *a)
{
	bool any = false;

	a->pinned = malloc((a->kb->prog_count + 1) * sizeof(*a->pinned));
	if (!a->pinned)
		return FAILED;
	for (; a->count < a->kb->prog_count; a->count++)
		a->pinned[a->count] = -1;
	for (size_t i = 0; i < a->kb->prog_count; i++) {
		char path[PATH_MAX];
		if (pin_path(a->base, "programs", object_of(a, i), a->kb->progs[i].program->name, "", path, NULL))
			return DIFFERS;
		enum verdict v = open_pin(path, &a->pinned[i]);
		if (v != MATCH)
			return v;
		any |= a->pinned[i] >= 0;
	}
	return any ? MATCH : DIFFERS;
}

static bool object_pinned(const struct adoption *a, const struct kernel_object *o)
{
	for (size_t i = 0; i < a->kb->prog_count; i++)
		if (a->pinned[i] >= 0 && object_of(a, i) == o)
			return true;
	return false;
}

/* A map without a pin was not created at the start, so it may not be created now. */
static enum verdict open_maps(struct adoption *a)
{
	for (size_t n = 0; n < a->kb->object_count; n++) {
		struct kernel_object *o = &a->kb->objects[n];
		for (size_t m = 0; object_pinned(a, o) && m < o->object->map_count; m++) {
			char path[PATH_MAX];
			if (pin_path(a->base, "maps", o, o->maps[m].map->name, "", path, NULL))
				return DIFFERS;
			enum verdict v = open_pin(path, &o->maps[m].fd);
			if (v != MATCH)
				return v;
			o->maps[m].absent = o->maps[m].fd < 0;
			if (o->maps[m].fd >= 0 && view_check_map(&o->maps[m], o->maps[m].fd, NULL))
				return DIFFERS;
		}
	}
	return MATCH;
}

/* ---- the choice must come out as it did ---- */

static bool group_went_on(const struct adoption *a, size_t i)
{
	const struct manifest_program *p = a->kb->progs[i].program;

	for (size_t j = 0; j < a->kb->prog_count; j++) {
		const struct manifest_program *q = a->kb->progs[j].program;
		if (a->pinned[j] >= 0 && strcmp(p->group, q->group) == 0 && q->order > p->order)
			return true;
	}
	return false;
}

/* What this kernel seemed to have and is not pinned did not load or attach then; why is in the audit of that time. */
static void leave_out_what_failed(struct adoption *a)
{
	for (size_t i = 0; i < a->kb->prog_count; i++) {
		const struct kernel_prog *p = &a->kb->progs[i];
		if (!p->available || a->pinned[i] >= 0)
			continue;
		if (p->program->group[0] ? group_went_on(a, i) : !p->program->required)
			prog_unavailable(a->kb, i, "did not work when the bundle was started");
	}
}

static bool choice_is_pinned(const struct adoption *a)
{
	for (size_t i = 0; i < a->kb->prog_count; i++)
		if (a->kb->progs[i].chosen != (a->pinned[i] >= 0))
			return false;
	return true;
}

/* ---- the programs must be the same ---- */

static bool same_program(const struct adoption *a, size_t i)
{
	struct bpf_prog_info loaded, pinned;

	if (view_check_program(a->kb, i, a->pinned[i], NULL) ||
	    view_program(a->kb->progs[i].fd, &loaded, NULL, NULL, NULL) ||
	    view_program(a->pinned[i], &pinned, NULL, NULL, NULL))
		return false;
	return memcmp(loaded.tag, pinned.tag, sizeof(loaded.tag)) == 0 && loaded.type == pinned.type &&
	       loaded.attach_btf_id == pinned.attach_btf_id;
}

/* Constants decide what the verifier left out of a program. */
static bool same_constants(const struct kernel_object *o)
{
	struct bpf_map *map;
	size_t m = 0;

	if (o->libbpf_count == 0)
		return true;
	bpf_object__for_each_map(map, o->libbpf[0])
	{
		size_t size = 0, at = m++;
		uint32_t zero = 0;
		if (at >= o->object->map_count || !strstr(o->maps[at].map->name, ".rodata") || o->maps[at].fd < 0)
			continue;
		const void *initial = bpf_map__initial_value(map, &size);
		OWN_FREE uint8_t *held = calloc(1, o->maps[at].map->value_size + 1);
		if (!initial || !held || size > o->maps[at].map->value_size ||
		    bpf_map_lookup_elem(o->maps[at].fd, &zero, held) || memcmp(held, initial, size) != 0)
			return false;
	}
	return true;
}

static bool same_objects(const struct adoption *a)
{
	for (size_t i = 0; i < a->kb->object_count; i++)
		if (!same_constants(&a->kb->objects[i]))
			return false;
	for (size_t i = 0; i < a->kb->prog_count; i++)
		if (a->pinned[i] >= 0 && !same_program(a, i))
			return false;
	return true;
}

/* ---- links ---- */

/* The entries of a folder of pins that are the program's. */
typedef enum verdict (*each_pin)(const struct adoption *a, size_t i, uint32_t id, const char *path, const char *rest);

static enum verdict walk_pins(const struct adoption *a, size_t i, uint32_t id, const char *folder, each_pin each)
{
	char path[PATH_MAX], prefix[PATH_MAX];
	enum verdict result = MATCH;

	if (pin_path(a->base, folder, object_of(a, i), a->kb->progs[i].program->name, ":", prefix, NULL))
		return DIFFERS;
	const char *start = strrchr(prefix, '/') + 1;
	size_t length = strlen(start), base = (size_t)(start - prefix);
	snprintf(path, sizeof(path), "%.*s", (int)base, prefix);
	DIR *dir = opendir(path);
	if (!dir && errno != ENOENT)
		return FAILED;
	for (struct dirent *at; dir && result == MATCH && (at = readdir(dir));) {
		if (strncmp(at->d_name, start, length) != 0)
			continue;
		if (snprintf(path + base, sizeof(path) - base, "%s", at->d_name) >= (int)(sizeof(path) - base))
			result = DIFFERS;
		else
			result = each(a, i, id, path, at->d_name + length);
	}
	if (dir)
		closedir(dir);
	return result;
}

static enum verdict adopt_link(const struct adoption *a, size_t i, uint32_t id, const char *path, const char *rest)
{
	struct kernel_prog *p = &a->kb->progs[i];
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	OWN_FD int fd = -1;
	char *end;
	unsigned long number = strtoul(rest, &end, 10);
	enum verdict v = open_pin(path, &fd);

	if (v != MATCH)
		return v;
	if (fd < 0 || *end || number > UINT32_MAX - 1 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return DIFFERS;
	bool xdp = info.type == BPF_LINK_TYPE_XDP;
	/* An upgrade that a crash cut short had swapped the program of a shared link; state.json says which one counts. */
	if (info.prog_id != id && (!xdp || (bpf_link_update(fd, a->pinned[i], NULL) && errno != ENOLINK)))
		return DIFFERS;
	if (xdp && info.xdp.ifindex == 0)
		return unlink(path) ? DIFFERS : MATCH; /* its interface is gone */
	if (attachment_add_fd(p, &fd, xdp ? (int)info.xdp.ifindex : 0, NULL))
		return FAILED;
	p->attachments[p->attachment_count - 1].number = (uint32_t)number;
	if (p->next_number <= number)
		p->next_number = (uint32_t)number + 1;
	return MATCH;
}

static enum verdict adopt_filter(const struct adoption *a, size_t i, uint32_t id, const char *path, const char *rest)
{
	struct attachment t = {.kind = ATTACHMENT_TC, .fd = -1};

	(void)rest;
	if (!pin_parse_tc(strrchr(path, '/') + 1, &t.tc))
		return MATCH;
	t.ifindex = t.tc.ifindex;
	if (net_tc_is_attached(&t.tc, id))
		return attachment_add(&a->kb->progs[i], &t, NULL) ? FAILED : MATCH;
	net_let_go_tc(a->kb->pin_root, &t.tc, id);
	return unlink(path) ? DIFFERS : MATCH;
}

/* A program with attachments is taken over as it runs; its new copy goes. */
static enum verdict adopt_program(const struct adoption *a, size_t i)
{
	struct kernel_prog *p = &a->kb->progs[i];
	struct bpf_prog_info info;

	if (view_program(a->pinned[i], &info, NULL, NULL, NULL))
		return DIFFERS;
	p->pinned = true; /* so that giving up leaves it running */
	enum verdict v = walk_pins(a, i, info.id, "links", adopt_link);
	if (v == MATCH)
		v = walk_pins(a, i, info.id, "tc", adopt_filter);
	if (v != MATCH || (p->attachment_count == 0 && !interface_pins(p))) {
		p->pinned = p->attachment_count > 0;
		return v;
	}
	close(p->fd);
	p->fd = TAKE_FD(a->pinned[i]);
	a->kb->views[i].id = info.id;
	prog_set_state(a->kb, i, KERNEL_ATTACHED);
	interface_settle(a->kb, i);
	return MATCH;
}

/* What could not outlive the earlier process: its new copy is attached, and takes the place of the old pin. */
static int attach_anew(struct adoption *a, size_t i, struct err *e)
{
	struct kernel_prog *p = &a->kb->progs[i];
	char path[PATH_MAX];

	if (attach_prog(a->kb, i, e)) {
		/* It was there, and may come again. */
		if (!interface_absent(p))
			return -1;
		interface_settle(a->kb, i);
	}
	prog_set_state(a->kb, i, KERNEL_ATTACHED_HERE);
	if (pin_path(a->base, "programs", object_of(a, i), p->program->name, "", path, e))
		return -1;
	if (unlink(path) && errno != ENOENT)
		return err_errno(e, ERR_KERNEL_PIN, "%s", path);
	if (pin_program(a->kb, i, a->base, e))
		return -1;
	if (a->kb->progs[i].pinned)
		prog_set_state(a->kb, i, KERNEL_ATTACHED);
	return 0;
}

static enum verdict adopt_all(struct adoption *a, struct err *e)
{
	struct kernel_bundle *kb = a->kb;
	enum verdict v = MATCH;

	kb->pins = true;
	for (size_t i = 0; i < kb->prog_count && v == MATCH; i++)
		if (kb->progs[i].chosen)
			v = adopt_program(a, i);
	for (size_t i = 0; i < kb->prog_count && v == MATCH; i++)
		if (kb->progs[i].chosen && !kb->progs[i].attached && attach_anew(a, i, e))
			v = DIFFERS;
	return v;
}

static enum verdict examine(struct adoption *a, struct err *e)
{
	struct kernel_bundle *kb = a->kb;
	OWN(probe) struct probe *probe = NULL;
	enum verdict v = open_programs(a);

	if (v == MATCH)
		v = open_maps(a);
	if (v != MATCH)
		return v;
	if (probe_new(&kb->host, &probe, e))
		return FAILED;
	for (size_t i = 0; i < kb->prog_count; i++) {
		char reason[sizeof(kb->views[i].reason)];
		kb->progs[i].available = probe_program(probe, kb->progs[i].program, reason, sizeof(reason));
		if (!kb->progs[i].available)
			prog_unavailable(kb, i, reason);
	}
	leave_out_what_failed(a);
	if (choose_programs(kb, e) || !choice_is_pinned(a) || load_chosen(kb, e) || load_check_view(kb, e))
		return DIFFERS;
	return choice_is_pinned(a) && same_objects(a) ? MATCH : DIFFERS;
}

int kernel_adopt(const struct kernel_host *host, const struct verified_bundle *bundle, bool *adopted,
		 struct kernel_bundle **out, struct err *e)
{
	const struct manifest *m = verified_manifest(bundle);
	struct adoption a __attribute__((cleanup(adoption_clear))) = {0};
	struct err why = ERR_INIT;

	if (pin_base(host->pin_root, m->name, m->serial, false, a.base, e))
		return -1;
	if (access(a.base, F_OK)) {
		*adopted = false;
		return 0;
	}
	if (kernel_bundle_new(host, bundle, &a.kb, e))
		return -1;
	enum verdict v = examine(&a, &why);
	if (v == MATCH)
		v = adopt_all(&a, &why);
	if (v == FAILED || why.code == ERR_NOMEM || (v == DIFFERS && is_shortage(why.errnum)))
		return err_set(e, ERR_NOMEM, "no memory, or no descriptor, to take over the pins of %s", m->name);
	if (v == MATCH) {
		for (size_t i = 0; i < a.kb->object_count; i++)
			object_close_libbpf(a.kb, &a.kb->objects[i]);
		malloc_trim(0);
		*out = TAKE_PTR(a.kb);
	}
	*adopted = v == MATCH;
	return 0;
}
