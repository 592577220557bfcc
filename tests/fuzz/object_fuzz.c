/* Any bytes as a BPF object, as the gate reads one after its digest was right: a signer's key may be in wrong hands. The
 * seeds are the objects of tests/bpf. */
#include <bpf/btf.h>
#include <stdlib.h>
#include <string.h>

#include "keys/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned touched;

static void check_programs(const struct object *o)
{
	for (size_t i = 0; i < o->program_count; i++) {
		const struct manifest_program *p = &o->programs[i];
		if (!p->name || !p->section || !p->type || !p->attach || !p->target || !p->group || !p->since ||
		    !p->options)
			abort();
	}
}

static void check_maps(const struct object *o)
{
	const char *tag;

	for (size_t i = 0; i < o->map_count; i++) {
		const struct object_map *m = &o->maps[i];
		if (!m->map.name || !m->map.type)
			abort();
		/* The packager reads the values of parameters there. */
		if (m->bytes)
			touched += memchr(m->bytes, 0xa5, m->map.value_size) != NULL;
		if (o->btf && m->def_type)
			object_tag(o->btf, m->def_type, -1, "event", &tag);
	}
}

static void check_capabilities(const struct capabilities *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (!c->word[i][0] || (i && strcmp(c->word[i - 1], c->word[i]) >= 0))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(object) struct object *o = NULL;
	struct err e = ERR_INIT;

	if (object_read("x", data, size, &o, &e)) {
		if (o || e.code == ERR_NONE || e.code == ERR_INTERNAL)
			abort();
		return 0;
	}
	check_programs(o);
	check_maps(o);
	check_capabilities(&o->capabilities);
	if (capabilities_difference(&o->capabilities, &o->capabilities))
		abort();
	return 0;
}
