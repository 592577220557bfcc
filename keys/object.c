#include "keys/object.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdlib.h>
#include <string.h>

#include "keys/attach.h"
#include "keys/btf_check.h"
#include "keys/capabilities.h"
#include "keys/libbpf_said.h"

struct object_impl {
	struct bpf_object *libbpf;
};

static int open_libbpf(const char *name, const uint8_t *elf, size_t size, struct bpf_object **out, struct err *e)
{
	OWN_LIBBPF_SAID struct libbpf_said said = {0};
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = name);

	libbpf_listen(&said);
	struct bpf_object *opened = bpf_object__open_mem(elf, size, &opts);
	libbpf_listen_end();
	if (!opened) {
		err_errno(e, ERR_OBJECT_MALFORMED, "object %s", name);
		err_log(e, said.text);
		return -1;
	}
	*out = opened;
	return 0;
}

static int copy_text(char **out, const char *text, struct err *e)
{
	char *copy = strdup(text ? text : "");

	if (!copy)
		return err_errno(e, ERR_NOMEM, "text of an object");
	free(*out);
	*out = copy;
	return 0;
}

/* ---- declaration tags ---- */

static const char *tag_value(const struct btf *btf, const struct btf_type *tag, const char *key)
{
	const char *text = btf__str_by_offset(btf, tag->name_off);
	size_t len = strlen(key);

	if (!text || strncmp(text, "obs:", 4) != 0 || strncmp(text + 4, key, len) != 0 || text[4 + len] != '=')
		return NULL;
	return text + 4 + len + 1;
}

bool object_tag(const struct btf *btf, uint32_t type, int component, const char *key, const char **out)
{
	uint32_t count = btf ? btf__type_cnt(btf) : 0;

	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		if (!btf_is_decl_tag(t) || t->type != type || btf_decl_tag(t)->component_idx != component)
			continue;
		const char *value = tag_value(btf, t, key);
		if (value) {
			*out = value;
			return true;
		}
	}
	return false;
}

/* ---- programs ---- */

static int read_order(const char *text, uint32_t *out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value > UINT32_MAX || text[0] == '-')
		return -1;
	*out = (uint32_t)value;
	return 0;
}

static int apply_tag(const struct btf *btf, const struct btf_type *tag, struct manifest_program *p, struct err *e)
{
	const char *value;

	if (tag_value(btf, tag, "optional"))
		p->required = false;
	else if ((value = tag_value(btf, tag, "group")))
		return copy_text(&p->group, value, e);
	else if ((value = tag_value(btf, tag, "since")))
		return copy_text(&p->since, value, e);
	else if ((value = tag_value(btf, tag, "attach")))
		return copy_text(&p->options, value, e);
	else if ((value = tag_value(btf, tag, "order")) && read_order(value, &p->order))
		return err_set(e, ERR_BUILD_PROGRAM, "program %s: order=%s is no number", p->name, value);
	return 0;
}

/* One pass over the tags for all programs: tags times programs would let a large object take minutes. */
static int read_program_tags(struct object *o, struct err *e)
{
	uint32_t count = o->btf ? btf__type_cnt(o->btf) : 0;

	for (uint32_t id = 1; id < count; id++) {
		const struct btf_type *t = btf__type_by_id(o->btf, id);
		if (!btf_is_decl_tag(t) || btf_decl_tag(t)->component_idx != -1)
			continue;
		const struct btf_type *target = btf__type_by_id(o->btf, t->type);
		if (!target || !btf_is_func(target))
			continue;
		const char *name = btf__str_by_offset(o->btf, target->name_off);
		for (size_t i = 0; name && i < o->program_count; i++)
			if (strcmp(o->programs[i].name, name) == 0 && apply_tag(o->btf, t, &o->programs[i], e))
				return -1;
	}
	return 0;
}

static int read_program(const struct bpf_program *from, struct manifest_program *p, struct err *e)
{
	const char *section = bpf_program__section_name(from), *kind, *target;
	const char *type = libbpf_bpf_prog_type_str(bpf_program__type(from));

	p->required = true;
	if (copy_text(&p->name, bpf_program__name(from), e) || copy_text(&p->section, section, e) ||
	    copy_text(&p->group, "", e) || copy_text(&p->since, "", e) || copy_text(&p->options, "", e))
		return -1;
	if (!type || bpf_program__type(from) == BPF_PROG_TYPE_UNSPEC || !attach_split(section, &kind, &target))
		return err_set(e, ERR_BUILD_PROGRAM, "program %s: section \"%s\" is no known attach kind", p->name,
			       section);
	if (copy_text(&p->type, type, e) || copy_text(&p->attach, kind, e) || copy_text(&p->target, target, e))
		return -1;
	return 0;
}

static int read_programs(struct object *o, const struct bpf_object *libbpf, struct err *e)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, libbpf)
	{
		struct manifest_program *p = NULL;
		if (o->program_count >= MANIFEST_MAX_PROGRAMS)
			return err_set(e, ERR_LIMIT, "more than %d programs", MANIFEST_MAX_PROGRAMS);
		p = manifest_grow(&o->programs, &o->program_count, sizeof(*p), e);
		if (!p || read_program(program, p, e))
			return -1;
	}
	return read_program_tags(o, e);
}

/* ---- maps ---- */

static uint32_t map_variable(const struct btf *btf, const char *name)
{
	int32_t section = btf__find_by_name_kind(btf, ".maps", BTF_KIND_DATASEC);

	if (section < 0)
		return 0;
	const struct btf_type *datasec = btf__type_by_id(btf, (uint32_t)section);
	const struct btf_var_secinfo *var = btf_var_secinfos(datasec);
	for (unsigned i = 0; i < btf_vlen(datasec); i++) {
		const struct btf_type *t = btf__type_by_id(btf, var[i].type);
		const char *text = t ? btf__str_by_offset(btf, t->name_off) : NULL;
		if (text && strcmp(text, name) == 0)
			return var[i].type;
	}
	return 0;
}

static int read_map(const struct object *o, struct bpf_map *from, struct object_map *m, struct err *e)
{
	const char *name = bpf_map__name(from), *type = libbpf_bpf_map_type_str(bpf_map__type(from));
	size_t size = 0;

	/* A pin path in the object would make libbpf take over whatever map is pinned there, also another bundle's. */
	if (bpf_map__pin_path(from))
		return err_set(e, ERR_OBJECT_MALFORMED, "map %s: pinning by name is the loader's business", name);
	if (!type)
		return err_set(e, ERR_OBJECT_MALFORMED, "map %s: unknown type %d", name, (int)bpf_map__type(from));
	if (copy_text(&m->map.name, name, e) || copy_text(&m->map.type, type, e))
		return -1;
	m->map.key_size = bpf_map__key_size(from);
	m->map.value_size = bpf_map__value_size(from);
	m->map.max_entries = bpf_map__max_entries(from);
	m->key_type = bpf_map__btf_key_type_id(from);
	m->value_type = bpf_map__btf_value_type_id(from);
	m->data = bpf_map__is_internal(from);
	if (m->data)
		m->bytes = bpf_map__initial_value(from, &size);
	else
		m->def_type = o->btf ? map_variable(o->btf, name) : 0;
	return 0;
}

static int read_maps(struct object *o, const struct bpf_object *libbpf, struct err *e)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, libbpf)
	{
		struct object_map *m = NULL;
		if (o->map_count >= MANIFEST_MAX_MAPS)
			return err_set(e, ERR_LIMIT, "more than %d maps", MANIFEST_MAX_MAPS);
		m = manifest_grow(&o->maps, &o->map_count, sizeof(*m), e);
		if (!m || read_map(o, map, m, e))
			return -1;
	}
	return 0;
}

/* ---- the object ---- */

static bool has_kconfig(const struct btf *btf)
{
	return btf && btf__find_by_name_kind(btf, ".kconfig", BTF_KIND_DATASEC) > 0;
}

static int read_all(struct object *o, const char *name, const uint8_t *elf, size_t size, struct err *e)
{
	struct object_impl *impl = o->impl;
	OWN(code) struct code *code = NULL;

	/* First our own reading, which checks every bound that libbpf takes for granted. */
	if (code_read(elf, size, &code, e))
		return -1;
	libbpf_print_fn_t before = libbpf_set_print(NULL);
	int status = code->btf ? btf_check(code->btf, code->btf_size, e) : 0;
	libbpf_set_print(before);
	if (status || open_libbpf(name, elf, size, &impl->libbpf, e))
		return -1;
	o->btf = bpf_object__btf(impl->libbpf);
	o->kconfig = has_kconfig(o->btf);
	if (read_programs(o, impl->libbpf, e) || read_maps(o, impl->libbpf, e))
		return -1;
	if (copy_text(&o->licence, code->licence, e))
		return -1;
	return capabilities_derive(o, code, &o->capabilities, e);
}

int object_read(const char *name, const uint8_t *elf, size_t size, struct object **out, struct err *e)
{
	OWN(object) struct object *o = calloc(1, sizeof(*o));

	if (!o || !(o->impl = calloc(1, sizeof(struct object_impl))))
		return err_errno(e, ERR_NOMEM, "object %s", name);
	if (size > BUNDLE_OBJECT_MAX_BYTES)
		return err_set(e, ERR_OBJECT_MALFORMED, "object %s: %zu bytes, more than %d", name, size,
			       BUNDLE_OBJECT_MAX_BYTES);
	if (read_all(o, name, elf, size, e))
		return err_wrap(e, "object %s", name);
	*out = TAKE_PTR(o);
	return 0;
}

static void program_clear(struct manifest_program *p)
{
	free(p->name);
	free(p->section);
	free(p->type);
	free(p->attach);
	free(p->target);
	free(p->group);
	free(p->since);
	free(p->options);
}

void object_free(struct object **object)
{
	struct object *o = TAKE_PTR(*object);
	struct object_impl *impl;

	if (!o)
		return;
	for (size_t i = 0; i < o->program_count; i++)
		program_clear(&o->programs[i]);
	for (size_t i = 0; i < o->map_count; i++) {
		free(o->maps[i].map.name);
		free(o->maps[i].map.type);
	}
	free(o->programs);
	free(o->maps);
	capabilities_clear(&o->capabilities);
	free(o->licence);
	impl = o->impl;
	if (impl)
		bpf_object__close(impl->libbpf);
	free(impl);
	free(o);
}

/* ---- comparing with the manifest ---- */

static int compare_text(const char *what, const char *program, const char *has, const char *stated, struct err *e)
{
	if (strcmp(has, stated) == 0)
		return 0;
	return err_set(e, ERR_OBJECT_MISMATCH, "%s: %s is \"%s\", the manifest says \"%s\"", program, what, has,
		       stated);
}

static int compare_program(const struct manifest_program *has, const struct manifest_program *stated, struct err *e)
{
	if (compare_text("program", has->name, has->name, stated->name, e) ||
	    compare_text("section", has->name, has->section, stated->section, e) ||
	    compare_text("type", has->name, has->type, stated->type, e) ||
	    compare_text("attach kind", has->name, has->attach, stated->attach, e) ||
	    compare_text("target", has->name, has->target, stated->target, e) ||
	    compare_text("group", has->name, has->group, stated->group, e) ||
	    compare_text("since", has->name, has->since, stated->since, e) ||
	    compare_text("attach options", has->name, has->options, stated->options, e))
		return -1;
	if (has->required != stated->required || has->order != stated->order)
		return err_set(e, ERR_OBJECT_MISMATCH, "%s: required or order differ from the manifest", has->name);
	return 0;
}

static int compare_map(const struct manifest_map *has, const struct manifest_map *stated, struct err *e)
{
	if (compare_text("map", has->name, has->name, stated->name, e) ||
	    compare_text("map type", has->name, has->type, stated->type, e))
		return -1;
	if (has->key_size != stated->key_size || has->value_size != stated->value_size ||
	    has->max_entries != stated->max_entries)
		return err_set(e, ERR_OBJECT_MISMATCH, "%s: sizes differ from the manifest", has->name);
	return 0;
}

int object_compare(const struct object *object, const struct manifest_object *stated, struct err *e)
{
	if (object->program_count != stated->program_count)
		return err_set(e, ERR_OBJECT_MISMATCH, "object %s has %zu programs, the manifest says %zu",
			       stated->name, object->program_count, stated->program_count);
	if (object->map_count != stated->map_count)
		return err_set(e, ERR_OBJECT_MISMATCH, "object %s has %zu maps, the manifest says %zu", stated->name,
			       object->map_count, stated->map_count);
	for (size_t i = 0; i < object->program_count; i++)
		if (compare_program(&object->programs[i], &stated->programs[i], e))
			return err_wrap(e, "object %s", stated->name);
	for (size_t i = 0; i < object->map_count; i++)
		if (compare_map(&object->maps[i].map, &stated->maps[i], e))
			return err_wrap(e, "object %s", stated->name);
	const char *word = capabilities_difference(&object->capabilities, &stated->capabilities);
	if (word)
		return err_set(e, ERR_CAPABILITY_MISMATCH, "object %s: only one of code and manifest has \"%s\"",
			       stated->name, word);
	return 0;
}
