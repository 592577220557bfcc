#include "packager/assemble.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bundles/base/text.h"

static int copy(char **out, const char *text, struct err *e)
{
	*out = strdup(text);
	return *out ? 0 : err_errno(e, ERR_NOMEM, "manifest");
}

/* ---- what may be in a bundle at all ---- */

static int wrap_place(const struct describing *d, const char *word, struct err *e)
{
	struct place place;

	locate(d->definition, d->source, false, word, NULL, &place);
	return err_wrap(e, "%s", place.text);
}

static int check_target(const struct manifest_program *p, struct err *e)
{
	static const char *const aimed[] = {"tp",     "raw_tp",    "tp_btf", "kprobe", "kretprobe", "uprobe",
					    "fentry", "uretprobe", "usdt",   "fexit",  "iter"};

	for (size_t i = 0; i < ARRAY_LEN(aimed); i++)
		if (strcmp(p->attach, aimed[i]) == 0 && !p->target[0])
			return err_set(e, ERR_BUILD_PROGRAM, "program %s: section \"%s\" does not say where to attach",
				       p->name, p->section);
	return 0;
}

static bool gpl_compatible(const char *licence)
{
	static const char *const compatible[] = {"GPL",          "GPL v2",       "GPL and additional rights",
						 "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"};

	for (size_t i = 0; i < ARRAY_LEN(compatible); i++)
		if (strcmp(licence, compatible[i]) == 0)
			return true;
	return false;
}

static void warn_licence(const struct describing *d)
{
	bool stated = strstr(d->definition->licence, "GPL") != NULL;

	if (stated == gpl_compatible(d->o->licence))
		return;
	fprintf(stderr, "obspkg: warning: %s: the kernel will take \"", d->source);
	text_terminal(stderr, d->o->licence, false);
	fprintf(stderr, "\" as %sGPL-compatible, bundle.json says \"", stated ? "not " : "");
	text_terminal(stderr, d->definition->licence, false);
	fputs("\"\n", stderr);
}

static int check_object(const struct describing *d, bool warn, struct err *e)
{
	if (d->o->kconfig) {
		err_set(e, ERR_BUILD_KCONFIG, "__kconfig variables would be baked in from the machine that loads it");
		return wrap_place(d, "__kconfig", e);
	}
	if (d->o->program_count == 0) {
		err_set(e, ERR_BUILD_PROGRAM, "no program");
		return err_wrap(e, "%s", d->source);
	}
	if (!d->o->licence[0]) {
		err_set(e, ERR_BUILD_LICENCE, "program %s has no licence", d->o->programs[0].name);
		return wrap_place(d, d->o->programs[0].name, e);
	}
	for (size_t i = 0; i < d->o->program_count; i++)
		if (check_target(&d->o->programs[i], e))
			return wrap_place(d, d->o->programs[i].name, e);
	if (warn)
		warn_licence(d);
	return 0;
}

/* ---- head ---- */

static int add_tool(struct manifest *m, const char *name, const char *version, struct err *e)
{
	struct manifest_tool *tool = manifest_grow(&m->toolchain, &m->toolchain_count, sizeof(*tool), e);

	if (!tool)
		return -1;
	return copy(&tool->name, name, e) || copy(&tool->version, version, e) ? -1 : 0;
}

static int fill_head(struct manifest *m, const struct definition *d, int64_t created, struct err *e)
{
	char when[32];
	time_t seconds = (time_t)created;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return err_set(e, ERR_USAGE, "SOURCE_DATE_EPOCH is out of range");
	m->serial = d->serial;
	m->kernel_major = d->kernel_major;
	m->kernel_minor = d->kernel_minor;
	m->needs_btf = d->needs_btf;
	for (size_t i = 0; i < d->config.count; i++) {
		char **option = manifest_grow(&m->kernel_config, &m->kernel_config_count, sizeof(*option), e);
		if (!option || copy(option, d->config.text[i], e))
			return -1;
	}
	return copy(&m->name, d->name, e) || copy(&m->version, d->version, e) ||
		       copy(&m->description, d->description, e) || copy(&m->licence, d->licence, e) ||
		       copy(&m->created, when, e)
		   ? -1
		   : 0;
}

/* ---- objects ---- */

struct assembly {
	const struct definition *definition;
	const struct compiler *compiler;
	struct built *built;
	struct manifest *m;
	void (*progress)(const char *source, const char *arch, size_t done, size_t of);
	size_t done;
};

/* Moves what the object holds into the manifest's object. */
static int take_object(struct object *o, struct manifest_object *to, struct err *e)
{
	to->programs = TAKE_PTR(o->programs);
	to->program_count = o->program_count;
	o->program_count = 0;
	for (size_t i = 0; i < o->map_count; i++) {
		struct manifest_map *map = manifest_grow(&to->maps, &to->map_count, sizeof(*map), e);
		if (!map)
			return -1;
		map->name = TAKE_PTR(o->maps[i].map.name);
		map->type = TAKE_PTR(o->maps[i].map.type);
		map->key_size = o->maps[i].map.key_size;
		map->value_size = o->maps[i].map.value_size;
		map->max_entries = o->maps[i].map.max_entries;
	}
	to->capabilities = o->capabilities;
	o->capabilities = (struct capabilities){0};
	return 0;
}

static int add_object(struct assembly *a, struct object *o, const char *name, const char *arch, uint8_t **elf,
		      size_t size, struct err *e)
{
	struct manifest_object *to = manifest_grow(&a->m->objects, &a->m->object_count, sizeof(*to), e);
	struct built_object *kept = manifest_grow(&a->built->objects, &a->built->count, sizeof(*kept), e);

	if (!to || !kept)
		return -1;
	to->size = size;
	if (copy(&to->name, name, e) || copy(&to->arch, arch, e) || digest_of(*elf, size, &to->digest, e))
		return -1;
	if (take_object(o, to, e))
		return -1;
	snprintf(kept->path, sizeof(kept->path), "obj/%s/%s.bpf.o", arch, name);
	kept->size = size;
	kept->data = TAKE_PTR(*elf);
	return 0;
}

static int object_failed(const struct describing *d, struct err *e)
{
	struct place place;

	/* object_read names the program; its line is found by that name. */
	if (e->code != ERR_BUILD_PROGRAM) {
		return err_wrap(e, "%s", d->source);
	}
	char name[MANIFEST_IDENT_MAX + 1] = "";
	if (sscanf(e->frame[0], "program %127[A-Za-z0-9_]", name) != 1)
		return err_wrap(e, "%s", d->source);
	locate(d->definition, d->source, false, name, NULL, &place);
	return err_wrap(e, "%s", place.text);
}

static int build_one(struct assembly *a, const char *source, const char *arch, struct manifest *described, bool warn,
		     struct err *e)
{
	OWN_FREE uint8_t *elf = NULL;
	OWN(object) struct object *o = NULL;
	char name[MANIFEST_IDENT_MAX + 1] = "";
	size_t size = 0;
	struct describing d = {.definition = a->definition, .source = source, .object = name, .m = described};

	if (a->progress)
		a->progress(source, arch, a->done, a->definition->sources.count * a->definition->arches.count);
	if (!definition_object_name(source, name))
		return err_set(e, ERR_INTERNAL, "%s is no source", source);
	if (compiler_run(a->compiler, source, arch, &elf, &size, e))
		return -1;
	if (object_read(name, elf, size, &o, e))
		return object_failed(&d, e);
	d.o = o;
	if (check_object(&d, warn, e) || describe(&d, e))
		return -1;
	a->done++;
	return add_object(a, o, name, arch, &elf, size, e);
}

/* ---- all architectures say the same ---- */

static size_t line_length(const char *text)
{
	return strcspn(text, "\n");
}

/* The first line in which they differ is told. */
static int compare_texts(const char *p, const char *q, const char *a_arch, const char *b_arch, struct err *e)
{
	while (*p && *q && line_length(p) == line_length(q) && strncmp(p, q, line_length(p)) == 0) {
		p += line_length(p) + (p[line_length(p)] != '\0');
		q += line_length(q) + (q[line_length(q)] != '\0');
	}
	if (!*p && !*q)
		return 0;
	return err_set(e, ERR_BUILD_FIELD, "events, outputs or parameters differ: on %s \"%.*s\", on %s \"%.*s\"",
		       a_arch, (int)(line_length(p) > 80 ? 80 : line_length(p)), p + strspn(p, " "), b_arch,
		       (int)(line_length(q) > 80 ? 80 : line_length(q)), q + strspn(q, " "));
}

static int new_manifest(const struct definition *d, int64_t created, struct manifest **out, struct err *e)
{
	OWN(manifest) struct manifest *m = calloc(1, sizeof(*m));

	if (!m)
		return err_errno(e, ERR_NOMEM, "manifest");
	if (fill_head(m, d, created, e))
		return -1;
	*out = TAKE_PTR(m);
	return 0;
}

static void move_description(struct manifest *from, struct manifest *to)
{
	to->enums = TAKE_PTR(from->enums);
	to->enum_count = from->enum_count;
	to->events = TAKE_PTR(from->events);
	to->event_count = from->event_count;
	to->outputs = TAKE_PTR(from->outputs);
	to->output_count = from->output_count;
	to->params = TAKE_PTR(from->params);
	to->param_count = from->param_count;
	from->enum_count = from->event_count = from->output_count = from->param_count = 0;
}

/* Formats the manifest with either description: nothing else can differ. */
static int compare_description(struct assembly *a, struct manifest *described, const char *arch, struct err *e)
{
	OWN(manifest) struct manifest *aside = calloc(1, sizeof(*aside));
	OWN_FREE char *first = NULL;
	OWN_FREE char *second = NULL;
	size_t first_size = 0, second_size = 0;

	if (!aside)
		return err_errno(e, ERR_NOMEM, "manifest");
	if (manifest_format(a->m, &first, &first_size, e))
		return -1;
	move_description(a->m, aside);
	move_description(described, a->m);
	int status = manifest_format(a->m, &second, &second_size, e);
	move_description(a->m, described);
	move_description(aside, a->m);
	return status ? -1 : compare_texts(first, second, a->definition->arches.text[0], arch, e);
}

static int build_arch(struct assembly *a, size_t arch_index, int64_t created, struct err *e)
{
	const struct definition *d = a->definition;
	const char *arch = d->arches.text[arch_index];
	OWN(manifest) struct manifest *described = NULL;

	if (new_manifest(d, created, &described, e))
		return -1;
	for (size_t i = 0; i < d->sources.count; i++)
		if (build_one(a, d->sources.text[i], arch, described, arch_index == 0, e))
			return -1;
	if (arch_index == 0) {
		move_description(described, a->m);
		return 0;
	}
	return compare_description(a, described, arch, e);
}

void built_free(struct built **built)
{
	struct built *b = TAKE_PTR(*built);

	if (!b)
		return;
	for (size_t i = 0; i < b->count; i++)
		free(b->objects[i].data);
	free(b->objects);
	free(b);
}

int assemble(const struct definition *definition, int64_t created,
	     void (*progress)(const char *source, const char *arch, size_t done, size_t of), struct manifest **out,
	     struct built **out_built, struct err *e)
{
	OWN(manifest) struct manifest *m = NULL;
	OWN(compiler) struct compiler *compiler = NULL;
	OWN(built) struct built *built = calloc(1, sizeof(*built));
	char version[64];

	if (!built)
		return err_errno(e, ERR_NOMEM, "objects");
	if (new_manifest(definition, created, &m, e) || compiler_new(definition, &compiler, e) ||
	    compiler_version(compiler, version, sizeof(version), e) || add_tool(m, "clang", version, e) ||
	    add_tool(m, "obspkg", OBS_VERSION, e))
		return -1;
	struct assembly a = {definition, compiler, built, m, progress, 0};
	for (size_t i = 0; i < definition->arches.count; i++)
		if (build_arch(&a, i, created, e))
			return -1;
	*out = TAKE_PTR(m);
	*out_built = TAKE_PTR(built);
	return 0;
}
