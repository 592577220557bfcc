/* What a manifest's values mean together. Everything here is about the manifest alone: whether it tells the truth about
 * its objects is found out when they are read. */
#include "bundles/manifest_impl.h"

#include <string.h>
#include <time.h>

#include <obs/event.h>

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

/* Segments of [A-Za-z0-9_]+ between single dots. */
static bool is_path(const char *text)
{
	size_t size = strlen(text);

	return is_ident(text) && text[0] != '.' && text[size - 1] != '.' && !strstr(text, "..");
}

static bool is_event_name(const char *text)
{
	if (strcmp(text, "obs.lost") == 0 || strcmp(text, "obs.bundle") == 0)
		return false; /* the daemon's own */
	return is_path(text) && text[strcspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
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

static const struct manifest_map *map_find(const struct manifest_object *o, const char *name)
{
	for (size_t i = 0; i < o->map_count; i++)
		if (strcmp(o->maps[i].name, name) == 0)
			return &o->maps[i];
	return NULL;
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

/* A table of fields, the record that holds it, and its place for errors. */
struct table {
	const struct manifest_field *fields;
	size_t count;
	uint64_t record_size;
	bool open_ended; /* a record may be longer than record_size */
	char at[64];
};

static bool integer_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static const char *size_problem(const struct manifest_field *f, const struct table *t)
{
	bool integer = f->kind == FIELD_UINT || f->kind == FIELD_INT || f->kind == FIELD_ENUM;

	if (f->bit_size) {
		if (f->kind == FIELD_CHARS || f->kind == FIELD_BYTES || f->count)
			return "a bit field is one number";
		if (!integer_size(f->size) || (uint32_t)f->bit_offset + f->bit_size > 8 * f->size)
			return "the bits are not within its bytes";
	} else if (f->bit_offset) {
		return "bit_offset without bit_size";
	} else if (integer && !integer_size(f->size)) {
		return "numbers have 1, 2, 4 or 8 bytes";
	} else if (f->kind == FIELD_BOOL && f->size != 1) {
		return "a bool has 1 byte";
	}
	if (f->size == 0 && (f->kind != FIELD_BYTES || f->count || !t->open_ended))
		return "only raw bytes of an event reach to the end of the record";
	if (f->count ? f->stride < f->size : f->stride != 0)
		return "stride does not fit count and size";
	uint64_t last = f->count ? (uint64_t)(f->count - 1) * f->stride : 0;
	if (f->offset + last + f->size > t->record_size)
		return "it is not within its record";
	return NULL;
}

static const char *format_problem(const struct manifest_field *f)
{
	bool uint = f->kind == FIELD_UINT, bytes = f->kind == FIELD_BYTES;

	if (f->format != FORMAT_LINEAR && (f->base || f->step))
		return "base and step are for linear histograms";
	switch (f->format) {
	case FORMAT_PLAIN:
		return NULL;
	case FORMAT_IP:
		return bytes && (f->size == 4 || f->size == 16) ? NULL : "ip is for 4 or 16 raw bytes";
	case FORMAT_MAC:
		return bytes && f->size == 6 ? NULL : "mac is for 6 raw bytes";
	case FORMAT_PORT:
	case FORMAT_NS:
	case FORMAT_US:
	case FORMAT_BYTES:
		return uint ? NULL : "its format is for unsigned numbers";
	case FORMAT_HEX:
		return uint || bytes ? NULL : "hex is for unsigned numbers and raw bytes";
	case FORMAT_TIME:
		return uint && f->size == 8 && !f->bit_size ? NULL : "time is for unsigned numbers of 8 bytes";
	case FORMAT_KSTACK:
		return uint && f->size == 8 && f->count ? NULL : "kstack is for arrays of unsigned 8 bytes";
	case FORMAT_DNS:
		return bytes && !f->count ? NULL : "dns is for raw bytes";
	case FORMAT_LOG2:
		return uint && f->count ? NULL : "log2 is for arrays of unsigned numbers";
	case FORMAT_LINEAR:
		if (f->step <= 0)
			return "a linear histogram has a step above zero";
		return uint && f->count ? NULL : "linear is for arrays of unsigned numbers";
	case FORMAT_COUNT:
		break;
	}
	return "no such format";
}

static const char *reference_problem(const struct manifest_field *f, size_t i, const struct table *t,
				     const struct manifest *m)
{
	if (f->enum_index < -1 || f->enum_index >= (int64_t)m->enum_count)
		return "no such enum";
	if (f->enum_index >= 0 && f->kind != FIELD_ENUM)
		return "only enums name an enum";
	if (f->length_field == -1)
		return NULL;
	if (f->length_field < 0 || f->length_field >= (int64_t)t->count || (size_t)f->length_field == i)
		return "length: no such field";
	if (f->kind != FIELD_CHARS && f->kind != FIELD_BYTES && !f->count)
		return "length: for text, raw bytes and arrays only";
	const struct manifest_field *length = &t->fields[f->length_field];
	if (length->kind != FIELD_UINT || length->count)
		return "length: it is no unsigned number";
	return NULL;
}

/* a.b beside a would be a value and an object at once. */
static bool names_collide(const char *a, const char *b)
{
	size_t size = strlen(a);

	return strncmp(a, b, size) == 0 && (b[size] == '\0' || b[size] == '.');
}

static const char *name_problem(const char *name)
{
	/* What every event has already. */
	static const char *const taken[] = {"time", "event", "bundle", "host", "seq"};

	if (!is_path(name))
		return "its name is no dotted path";
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (names_collide(taken[i], name))
			return "every event has its name already";
	return NULL;
}

static int check_table(const struct table *t, const struct manifest *m, struct err *e)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct manifest_field *f = &t->fields[i];
		const char *problem = size_problem(f, t);
		if (!problem)
			problem = format_problem(f);
		if (!problem)
			problem = reference_problem(f, i, t, m);
		if (!problem)
			problem = name_problem(f->name);
		if (problem)
			return bad(e, "%s[%zu] (%s): %s", t->at, i, f->name, problem);
		for (size_t k = 0; k < i; k++)
			if (names_collide(t->fields[k].name, f->name) || names_collide(f->name, t->fields[k].name))
				return bad(e, "%s[%zu].name: %s collides with %s", t->at, i, f->name,
					   t->fields[k].name);
	}
	return 0;
}

static int check_event(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_event *event = &m->events[i];
	struct table t = {event->fields, event->field_count, event->size, true, ""};

	if (!is_event_name(event->name))
		return bad(e, "events[%zu].name: \"%s\" is no name of an event", i, event->name);
	if (!object_known(m, event->object))
		return bad(e, "events[%zu].object: there is no object %s", i, event->object);
	if (event->size < sizeof(struct obs_header))
		return bad(e, "events[%zu].size: %u, an event has %zu bytes or more", i, event->size,
			   sizeof(struct obs_header));
	for (size_t k = 0; k < i; k++)
		if (m->events[k].id == event->id && strcmp(m->events[k].object, event->object) == 0)
			return bad(e, "events[%zu].id: %u is there twice", i, event->id);
	snprintf(t.at, sizeof(t.at), "events[%zu].fields", i);
	return check_table(&t, m, e);
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
	struct table key = {o->key_fields, o->key_field_count, map->key_size, false, ""};
	struct table value = {o->value_fields, o->value_field_count, map->value_size, false, ""};
	const struct manifest_param *interval = *o->interval_param ? manifest_param_find(m, o->interval_param) : NULL;

	if (!is_event_name(o->event))
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
	for (size_t k = 0; k < o->key_field_count; k++)
		for (size_t v = 0; v < o->value_field_count; v++)
			if (names_collide(o->key_fields[k].name, o->value_fields[v].name) ||
			    names_collide(o->value_fields[v].name, o->key_fields[k].name))
				return bad(e, "outputs[%zu].value[%zu].name: %s collides with a field of the key", i, v,
					   o->value_fields[v].name);
	snprintf(key.at, sizeof(key.at), "outputs[%zu].key", i);
	snprintf(value.at, sizeof(value.at), "outputs[%zu].value", i);
	return check_table(&key, m, e) ? -1 : check_table(&value, m, e);
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
		const struct manifest_map *map = map_find(&m->objects[k], o->map);
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
	if (p->variable_count == 0)
		return "it has no variable";
	return NULL;
}

static int check_default(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_param *p = &m->params[i];
	static const uint8_t zero[PARAM_MAX_BYTES];
	bool ended = false;

	if (!p->initial)
		return bad(e, "parameters[%zu].default: it is missing", i);
	if (!p->count)
		return manifest_element_valid(p, m, p->initial)
			   ? 0
			   : bad(e, "parameters[%zu].default: %s does not allow it itself", i, p->name);
	for (size_t k = 0; k < p->count; k++) {
		const uint8_t *element = p->initial + k * p->size;
		bool unused = memcmp(element, zero, p->size) == 0;
		/* A zero element is an unused one: none stands before one in use. */
		if (!unused && (ended || !manifest_element_valid(p, m, element)))
			return bad(e, "parameters[%zu].default[%zu]: %s does not allow it itself", i, k, p->name);
		ended |= unused;
	}
	return 0;
}

static int check_param(const struct manifest *m, size_t i, struct err *e)
{
	const struct manifest_param *p = &m->params[i];
	const char *problem = param_problem(p, m);

	if (problem)
		return bad(e, "parameters[%zu] (%s): %s", i, p->name, problem);
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
			const struct manifest_map *map = map_find(&m->objects[n], v->map);
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
