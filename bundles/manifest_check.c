/* What a manifest's values mean together. Everything here is about the manifest alone: whether it tells the truth about
 * its objects is found out when they are read. */
#include "bundles/manifest_impl.h"

#include <string.h>
#include <time.h>

#include <obs/event.h>

#include "bundles/fields.h"
#include "bundles/files.h"

#define bad(e, ...) err_set(e, ERR_MANIFEST_VALUE, __VA_ARGS__)

static bool in_words(const char *text, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

/* C names, and those of sections: [A-Za-z0-9_.]+ */
static bool is_ident(const char *text)
{
	return *text && text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")] == '\0';
}

static bool is_word(const char *text)
{
	return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

static bool is_time(const char *text)
{
	struct tm tm = {0}, again;
	char form[32];

	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (!end || *end)
		return false;
	time_t seconds = timegm(&tm);
	if (!gmtime_r(&seconds, &again) || !strftime(form, sizeof(form), "%Y-%m-%dT%H:%M:%SZ", &again))
		return false;
	return strcmp(form, text) == 0;
}

/* ---- head ---- */

static int check_head(const struct manifest *m, struct err *e)
{
	if (!manifest_name_valid(m->name))
		return bad(e, "name: \"%s\" is no namespace/name", m->name);
	if (!is_time(m->created))
		return bad(e, "created: \"%s\" is no time like 2026-01-31T12:00:00Z", m->created);
	if (m->kernel_major > 999 || m->kernel_minor > 999 || (m->kernel_major == 0 && m->kernel_minor != 0))
		return bad(e, "requirements.kernel: no kernel version");
	if (m->kernel_config_count > MANIFEST_MAX_CONFIG)
		return bad(e, "requirements.config: more than %d", MANIFEST_MAX_CONFIG);
	for (size_t i = 0; i < m->kernel_config_count; i++) {
		const char *config = m->kernel_config[i];
		if (!manifest_text_valid(config, 8, MANIFEST_IDENT_MAX) || strncmp(config, "CONFIG_", 7) != 0 ||
		    !is_ident(config))
			return bad(e, "requirements.config[%zu]: no kernel option like CONFIG_BPF", i);
	}
	return 0;
}

/* ---- objects ---- */

static int check_program(const struct manifest_object *o, size_t i, const char *at, struct err *e)
{
	const struct manifest_program *p = &o->programs[i];

	if (!is_ident(p->name))
		return bad(e, "%s.programs[%zu].name: \"%s\" is no name of a function", at, i, p->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(o->programs[k].name, p->name) == 0)
			return bad(e, "%s.programs[%zu].name: %s is there twice", at, i, p->name);
	if (!is_word(p->type))
		return bad(e, "%s.programs[%zu].type: \"%s\" is no program type", at, i, p->type);
	/* Any word: which kinds may run is for the policy to say, with its own code. */
	if (!is_ident(p->attach))
		return bad(e, "%s.programs[%zu].attach: \"%s\" is no attach kind", at, i, p->attach);
	if (*p->group && !is_ident(p->group))
		return bad(e, "%s.programs[%zu].group: \"%s\" is no name", at, i, p->group);
	if (!*p->group && p->order)
		return bad(e, "%s.programs[%zu].order: it has no group", at, i);
	return 0;
}

static int check_map(const struct manifest_object *o, size_t i, const char *at, struct err *e)
{
	const struct manifest_map *map = &o->maps[i];

	if (!is_ident(map->name))
		return bad(e, "%s.maps[%zu].name: \"%s\" is no name of a map", at, i, map->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(o->maps[k].name, map->name) == 0)
			return bad(e, "%s.maps[%zu].name: %s is there twice", at, i, map->name);
	if (!is_word(map->type))
		return bad(e, "%s.maps[%zu].type: \"%s\" is no map type", at, i, map->type);
	return 0;
}

static int check_object(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_object *o = &m->objects[i];
	char path[MANIFEST_IDENT_MAX * 2 + 16], at[32];

	snprintf(at, sizeof(at), "objects[%zu]", i);
	snprintf(path, sizeof(path), "obj/%s/%s.bpf.o", o->arch, o->name);
	if (!bundle_object_path_valid(path))
		return bad(e, "%s: %s is no file of a bundle", at, path);
	if (i) {
		const struct manifest_object *last = &m->objects[i - 1];
		int order = strcmp(last->arch, o->arch);
		if (order > 0 || (order == 0 && strcmp(last->name, o->name) >= 0))
			return bad(e, "%s: %s is not sorted by architecture and name", at, path);
	}
	for (size_t k = 0; k < m->object_count; k++)
		if (!manifest_object_find(m, m->objects[k].arch, o->name))
			return bad(e, "%s: there is none of its name for %s", at, m->objects[k].arch);
	for (size_t k = 1; k < o->capabilities.count; k++)
		if (strcmp(o->capabilities.word[k - 1], o->capabilities.word[k]) >= 0)
			return bad(e, "%s.capabilities[%zu]: not sorted, or twice", at, k);
	for (size_t k = 0; k < o->program_count; k++)
		if (check_program(o, k, at, e))
			return -1;
	for (size_t k = 0; k < o->map_count; k++)
		if (check_map(o, k, at, e))
			return -1;
	return 0;
}

static bool object_known(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->object_count; i++)
		if (strcmp(m->objects[i].name, name) == 0)
			return true;
	return false;
}

/* ---- enums ---- */

static int check_enum(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_enum *en = &m->enums[i];

	if (!is_ident(en->name))
		return bad(e, "enums[%zu].name: \"%s\" is no name", i, en->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(m->enums[k].name, en->name) == 0)
			return bad(e, "enums[%zu].name: %s is there twice", i, en->name);
	if (en->value_count < 1 || en->value_count > MANIFEST_MAX_ENUMERATORS)
		return bad(e, "enums[%zu].values: %zu, 1 to %d are allowed", i, en->value_count,
			   MANIFEST_MAX_ENUMERATORS);
	for (size_t k = 0; k < en->value_count; k++) {
		if (!manifest_text_valid(en->values[k].name, 1, MANIFEST_IDENT_MAX))
			return bad(e, "enums[%zu].values: the name of enumerator %zu", i, k);
		for (size_t n = 0; n < k; n++)
			if (strcmp(en->values[n].name, en->values[k].name) == 0)
				return bad(e, "enums[%zu].values: %s is there twice", i, en->values[k].name);
	}
	return 0;
}

/* ---- fields ---- */

static bool integer_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* at: the event; names: of the parts below it. */
static int check_fields(const struct manifest *m, const char *event, const struct fields_part *parts,
			const char *const *names, size_t part_count, const char *at, struct err *e)
{
	struct fields_problem p;

	if (!fields_problem(event, parts, part_count, m, &p))
		return 0;
	if (!p.part)
		return bad(e, "%s: %s", at, p.text);
	return bad(e, "%s.%s[%zu] (%s): %s", at, names[p.part - parts], p.index, p.part->fields[p.index].name, p.text);
}

static int check_event(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_event *event = &m->events[i];
	const struct fields_part part = {event->fields, event->field_count, event->size, true};
	char at[32];

	if (!fields_event_name_valid(event->name))
		return bad(e, "events[%zu].name: \"%s\" is no name of an event", i, event->name);
	if (!object_known(m, event->object))
		return bad(e, "events[%zu].object: there is no object %s", i, event->object);
	if (event->size < sizeof(struct obs_header))
		return bad(e, "events[%zu].size: %u, an event has %zu bytes or more", i, event->size,
			   sizeof(struct obs_header));
	for (size_t k = 0; k < i; k++)
		if (m->events[k].id == event->id && strcmp(m->events[k].object, event->object) == 0)
			return bad(e, "events[%zu].id: %u is there twice", i, event->id);
	snprintf(at, sizeof(at), "events[%zu]", i);
	return check_fields(m, event->name, &part, (const char *const[]){"fields"}, 1, at, e);
}

/* ---- outputs ---- */

static const char *const map_types[OUTPUT_KIND_COUNT][9] = {
    [OUTPUT_RING] = {"ringbuf"},
    [OUTPUT_SAMPLE] = {"hash", "array", "percpu_hash", "percpu_array", "lru_hash", "lru_percpu_hash", "lpm_trie"},
    [OUTPUT_LOST] = {"percpu_array"},
};

static bool is_interval(const struct manifest_param *p)
{
	return p->kind == PARAM_UINT && p->size == 4 && !p->count && p->umin >= SAMPLE_MIN_MS &&
	       p->umax <= SAMPLE_MAX_MS;
}

static int check_sample(const struct manifest *m, size_t i, const struct manifest_map *map, struct err *e)
{
	const struct manifest_output *o = &m->outputs[i];
	const struct fields_part parts[] = {{o->key_fields, o->key_field_count, map->key_size, false},
					    {o->value_fields, o->value_field_count, map->value_size, false}};
	const struct manifest_param *interval = *o->interval_param ? manifest_param_find(m, o->interval_param) : NULL;
	char at[32];

	if (!fields_event_name_valid(o->event))
		return bad(e, "outputs[%zu].event: \"%s\" is no name of an event", i, o->event);
	if (o->interval_ms < SAMPLE_MIN_MS || o->interval_ms > SAMPLE_MAX_MS)
		return bad(e, "outputs[%zu].interval_ms: %u, %d to %d are allowed", i, o->interval_ms, SAMPLE_MIN_MS,
			   SAMPLE_MAX_MS);
	if (*o->interval_param && !(interval && is_interval(interval)))
		return bad(e, "outputs[%zu].interval_param: %s is no parameter of 4 unsigned bytes from %d to %d", i,
			   o->interval_param, SAMPLE_MIN_MS, SAMPLE_MAX_MS);
	if (map->key_size > EVENT_MAX_BYTES || map->value_size > EVENT_MAX_BYTES)
		return bad(e, "outputs[%zu].map: keys and values of %s have more than %d bytes", i, o->map,
			   EVENT_MAX_BYTES);
	if (o->key_field_count + o->value_field_count == 0)
		return bad(e, "outputs[%zu]: it has no fields", i);
	snprintf(at, sizeof(at), "outputs[%zu]", i);
	return check_fields(m, o->event, parts, (const char *const[]){"key", "value"}, ARRAY_LEN(parts), at, e);
}

static int check_output(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_output *o = &m->outputs[i];

	if (!object_known(m, o->object))
		return bad(e, "outputs[%zu].object: there is no object %s", i, o->object);
	for (size_t k = 0; k < i; k++)
		if (strcmp(m->outputs[k].object, o->object) == 0 && strcmp(m->outputs[k].map, o->map) == 0)
			return bad(e, "outputs[%zu].map: %s is there twice", i, o->map);
	if (o->kind != OUTPUT_SAMPLE && (*o->event || o->interval_ms || *o->interval_param || o->only_changed ||
					 o->clear || o->key_field_count || o->value_field_count))
		return bad(e, "outputs[%zu]: only a sampled map has an event, an interval and fields", i);
	for (size_t k = 0; k < m->object_count; k++) {
		if (strcmp(m->objects[k].name, o->object) != 0)
			continue;
		const struct manifest_map *map = manifest_map_find(&m->objects[k], o->map);
		if (!map || !in_words(map->type, map_types[o->kind]))
			return bad(e, "outputs[%zu].map: %s of objects[%zu] is no map for a %s", i, o->map, k,
				   output_kind_names[o->kind]);
		if (o->kind == OUTPUT_LOST &&
		    (map->key_size != 4 || map->value_size != 8 || map->max_entries > LOSS_MAX_SLOTS))
			return bad(e, "outputs[%zu].map: %s holds no drop counters", i, o->map);
		if (o->kind == OUTPUT_SAMPLE && check_sample(m, i, map, e))
			return -1;
	}
	return 0;
}

/* ---- parameters ---- */

static const char *param_problem(const struct manifest_param *p, const struct manifest *m)
{
	bool number = p->kind == PARAM_UINT || p->kind == PARAM_INT || p->kind == PARAM_ENUM;

	if (!manifest_text_valid(p->help, 0, MANIFEST_TEXT_MAX) || !manifest_text_valid(p->unit, 0, MANIFEST_IDENT_MAX))
		return "its help or unit is no text";
	if (p->name[strcspn(p->name, ".")] || !is_ident(p->name) || (p->name[0] >= '0' && p->name[0] <= '9'))
		return "its name is no C name";
	if (number && !integer_size(p->size))
		return "numbers have 1, 2, 4 or 8 bytes";
	if (p->kind == PARAM_BOOL && p->size != 1)
		return "a bool has 1 byte";
	if (p->kind == PARAM_CIDR && p->size != CIDR_BYTES)
		return "a network has 24 bytes";
	if (p->count && (p->kind == PARAM_BOOL || p->kind == PARAM_CHARS))
		return "there are no lists of its kind";
	if (manifest_param_bytes(p) > PARAM_MAX_BYTES)
		return "it is too large";
	if (p->enum_index < -1 || p->enum_index >= (int64_t)m->enum_count ||
	    (p->enum_index >= 0) != (p->kind == PARAM_ENUM))
		return "an enum, and only an enum, names its enum";
	if (p->kind == PARAM_UINT && (p->umin > p->umax || (p->size < 8 && p->umax >> (8 * p->size))))
		return "its bounds are no range of its size";
	if ((p->kind == PARAM_INT || p->kind == PARAM_ENUM) && p->min > p->max)
		return "its bounds are no range";
	if (p->kind == PARAM_INT && p->size < 8 &&
	    (p->min < -(1LL << (8 * p->size - 1)) || p->max >= 1LL << (8 * p->size - 1)))
		return "its bounds do not fit its size";
	return NULL;
}

/* False: *index is the element that may not be. A zero element of a list is an unused one: none stands before one in use. */
static bool default_valid(const struct manifest_param *p, const struct manifest *m, size_t *index)
{
	static const uint8_t zero[PARAM_MAX_BYTES];
	bool ended = false;

	*index = 0;
	if (!p->count)
		return manifest_element_valid(p, m, p->initial);
	for (size_t k = 0; k < p->count; k++) {
		const uint8_t *element = p->initial + k * p->size;
		bool unused = memcmp(element, zero, p->size) == 0;
		*index = k;
		if (!unused && (ended || !manifest_element_valid(p, m, element)))
			return false;
		ended |= unused;
	}
	return true;
}

const char *manifest_param_problem(const struct manifest_param *p, const struct manifest *m)
{
	const char *problem = param_problem(p, m);
	size_t index;

	if (problem || default_valid(p, m, &index))
		return problem;
	return p->count ? "its default is out of its bounds, or has a gap" : "its default is out of its bounds";
}

static int check_default(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_param *p = &m->params[i];
	size_t k;

	if (!p->initial)
		return bad(e, "parameters[%zu].default: it is missing", i);
	if (default_valid(p, m, &k))
		return 0;
	if (!p->count)
		return bad(e, "parameters[%zu].default: %s does not allow it itself", i, p->name);
	return bad(e, "parameters[%zu].default[%zu]: %s does not allow it itself", i, k, p->name);
}

static int check_param(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_param *p = &m->params[i];
	const char *problem = param_problem(p, m);

	if (problem)
		return bad(e, "parameters[%zu] (%s): %s", i, p->name, problem);
	if (p->variable_count == 0)
		return bad(e, "parameters[%zu] (%s): it has no variable", i, p->name);
	for (size_t k = 0; k < i; k++)
		if (strcmp(m->params[k].name, p->name) == 0)
			return bad(e, "parameters[%zu].name: %s is there twice", i, p->name);
	if (check_default(m, i, e))
		return -1;
	for (size_t k = 0; k < p->variable_count; k++) {
		const struct manifest_variable *v = &p->variables[k];
		if (!object_known(m, v->object))
			return bad(e, "parameters[%zu].variables[%zu].object: there is no object %s", i, k, v->object);
		for (size_t n = 0; n < m->object_count; n++) {
			if (strcmp(m->objects[n].name, v->object) != 0)
				continue;
			const struct manifest_map *map = manifest_map_find(&m->objects[n], v->map);
			if (!map || strcmp(map->type, "array") != 0)
				return bad(e, "parameters[%zu].variables[%zu].map: objects[%zu] has no section %s", i,
					   k, n, v->map);
			if (v->offset + (uint64_t)manifest_param_bytes(p) > map->value_size)
				return bad(e, "parameters[%zu].variables[%zu].offset: not within %s", i, k, v->map);
		}
	}
	return 0;
}

int manifest_check(const struct manifest *m, struct err *e)
{
	struct place top = {NULL};

	if (manifest_shape_check(&manifest_shape, m, &top, e) || check_head(m, e))
		return -1;
	if (m->object_count == 0)
		return bad(e, "objects: there is none");
	for (size_t i = 0; i < m->object_count; i++)
		if (check_object(m, i, e))
			return -1;
	for (size_t i = 0; i < m->enum_count; i++)
		if (check_enum(m, i, e))
			return -1;
	for (size_t i = 0; i < m->event_count; i++)
		if (check_event(m, i, e))
			return -1;
	/* Parameters before outputs, which refer to them. */
	for (size_t i = 0; i < m->param_count; i++)
		if (check_param(m, i, e))
			return -1;
	for (size_t i = 0; i < m->output_count; i++)
		if (check_output(m, i, e))
			return -1;
	return 0;
}
