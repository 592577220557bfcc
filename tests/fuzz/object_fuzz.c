/* Any bytes as a BPF object, as the gate reads one after its digest was right: a signer's key may be in wrong hands; and as the
 * packager describes it, whose author may write BTF by hand. The seeds are the objects of tests/bpf. */
#include <bpf/btf.h>
#include <stdlib.h>
#include <string.h>

#include "packager/packager.h"

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

/* Whatever the loader would refuse, the packager refuses when it reads its own manifest. */
static void check_description(const struct object *o)
{
	static const struct definition definition = {.folder = (char *)(uintptr_t) "/nonexistent"};
	OWN(manifest) struct manifest *m = calloc(1, sizeof(*m));
	OWN(manifest) struct manifest *again = NULL;
	OWN_FREE char *text = NULL;
	struct err e = ERR_INIT;
	size_t size;

	if (!m || !(m->name = strdup("a/b")) || !(m->version = strdup("1")) || !(m->description = strdup("d")) ||
	    !(m->licence = strdup("GPL")) || !(m->created = strdup("1970-01-01T00:00:00Z")))
		abort();
	m->serial = 1;
	struct describing d = {.definition = &definition, .source = "x.bpf.c", .object = "x", .o = o, .m = m};
	if (describe(&d, &e)) {
		if (strncmp(err_name(e.code), "build.", 6) != 0)
			abort();
		return;
	}
	if (manifest_format(m, &text, &size, &e)) {
		if (e.code == ERR_NONE || e.code == ERR_INTERNAL)
			abort();
		return;
	}
	if (manifest_parse((const uint8_t *)text, size, &again, &e) && strncmp(err_name(e.code), "manifest.", 9) != 0)
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
	check_description(o);
	if (capabilities_difference(&o->capabilities, &o->capabilities))
		abort();
	return 0;
}
