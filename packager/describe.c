#include "packager/describe_impl.h"

#include <obs/event.h>
#include <stdlib.h>
#include <string.h>

#include "bundles/fields.h"

/* The header of every event is the loader's business: time and number. */
enum { FIRST_MEMBER = 1 };

static char *copy(const char *text, struct err *e)
{
	char *result = strdup(text);

	if (!result)
		err_errno(e, ERR_NOMEM, "description");
	return result;
}

static int wrap_struct(struct describing *d, const char *name, struct err *e)
{
	struct place place;

	if (e->depth > 1)
		return -1;
	locate(d->definition, d->source, true, name, NULL, &place);
	return err_wrap(e, "%s: struct %s", place.text, name);
}

static int wrap_name(struct describing *d, const char *what, const char *name, struct err *e)
{
	struct place place;

	if (e->depth > 1)
		return -1;
	locate(d->definition, d->source, false, name, NULL, &place);
	return err_wrap(e, "%s: %s %s", place.text, what, name);
}

static bool event_name_valid(const char *name)
{
	return describe_name_valid(name, true) && fields_event_name_valid(name);
}

/* What a host would refuse of the whole event. */
static int check_fields(const struct describing *d, const char *event, const struct fields_part *parts, size_t count,
			struct err *e)
{
	struct fields_problem p;

	if (!fields_problem(event, parts, count, d->m, &p))
		return 0;
	if (!p.part)
		return err_set(e, ERR_BUILD_FIELD, "%s", p.text);
	return err_set(e, ERR_BUILD_FIELD, "\"%s\": %s", p.part->fields[p.index].name, p.text);
}

/* ---- events ---- */

static int event_id(struct describing *d, uint32_t type, uint32_t *out, struct err *e)
{
	const char *text;
	struct number id;

	if (!object_tag(d->o->btf, type, -1, "id", &text) || !describe_number(d->o->btf, text, &id) || id.negative ||
	    id.bits > UINT32_MAX)
		return err_set(e, ERR_BUILD_OUTPUT, "its number (id=) is no 32-bit number nor an enumerator");
	for (size_t i = 0; i < d->m->event_count; i++)
		if (strcmp(d->m->events[i].object, d->object) == 0 && d->m->events[i].id == id.bits)
			return err_set(e, ERR_BUILD_OUTPUT, "events %s and this one have the same number %u",
				       d->m->events[i].name, (unsigned)id.bits);
	*out = (uint32_t)id.bits;
	return 0;
}

static bool starts_with_header(const struct btf *btf, const struct btf_type *t)
{
	if (btf_vlen(t) == 0 || btf_member_bit_offset(t, 0) != 0)
		return false;
	uint32_t id = btf_members(t)[0].type;
	const struct btf_type *first = describe_plain(btf, &id);
	return first && btf_is_struct(first) && first->size == sizeof(struct obs_header) &&
	       strcmp(describe_text(btf, first->name_off), "obs_header") == 0;
}

/* The least that a record has: up to a last member without a length, whatever padding the compiler puts behind it. */
static uint32_t least_size(const struct btf *btf, const struct btf_type *t)
{
	unsigned last = btf_vlen(t) - 1;
	uint32_t type = btf_members(t)[last].type;
	const struct btf_type *plain = describe_plain(btf, &type);

	return plain && btf_is_array(plain) && btf_array(plain)->nelems == 0 ? btf_member_bit_offset(t, last) / 8
									     : t->size;
}

static int fill_event(struct describing *d, uint32_t type, const char *name, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t = btf__type_by_id(btf, type);
	struct manifest_event event = {0};

	if (!event_name_valid(name))
		return err_set(e, ERR_BUILD_OUTPUT, "event name \"%s\" is not dotted lower case, or the daemon's",
			       name);
	if (!starts_with_header(btf, t))
		return err_set(e, ERR_BUILD_FIELD, "its first member is not struct obs_header");
	if (t->size > EVENT_MAX_BYTES)
		return err_set(e, ERR_BUILD_FIELD, "%u bytes, more than %d", t->size, EVENT_MAX_BYTES);
	if (event_id(d, type, &event.id, e))
		return -1;
	if (d->m->event_count >= MANIFEST_MAX_EVENTS)
		return err_set(e, ERR_BUILD_OUTPUT, "more than %d events", MANIFEST_MAX_EVENTS);
	struct manifest_event *added = manifest_grow(&d->m->events, &d->m->event_count, sizeof(*added), e);
	if (!added)
		return -1;
	added->id = event.id;
	added->size = least_size(btf, t);
	if (!(added->name = copy(name, e)) || !(added->object = copy(d->object, e)))
		return -1;
	struct field_table table = {&added->fields, &added->field_count, added->size, name, 0};
	if (describe_struct(d, &table, type, FIRST_MEMBER, "", 0, e))
		return -1;
	const struct fields_part part = {added->fields, added->field_count, added->size, true};
	return check_fields(d, name, &part, 1, e);
}

static int by_id(const void *a, const void *b)
{
	const struct manifest_event *first = a, *second = b;

	return first->id < second->id ? -1 : first->id > second->id;
}

static int describe_events(struct describing *d, struct err *e)
{
	const struct btf *btf = d->o->btf;
	size_t before = d->m->event_count;

	for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		const char *name;
		if (!btf_is_struct(t) || !object_tag(btf, id, -1, "event", &name))
			continue;
		if (fill_event(d, id, name, e))
			return wrap_struct(d, describe_text(btf, t->name_off), e);
	}
	if (d->m->event_count > before)
		qsort(d->m->events + before, d->m->event_count - before, sizeof(*d->m->events), by_id);
	return 0;
}

/* ---- outputs ---- */

static bool one_of(const char *text, const char *const *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(text, words[i]) == 0)
			return true;
	return false;
}

/* Fields of a map's key or value: of its struct, or one of a scalar, named by a tag. index: an array's key, which needs
 * no name. */
static int map_fields(struct describing *d, const struct object_map *map, const char *tag, uint32_t type,
		      struct field_table *table, bool index, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t;
	const char *name;
	uint32_t plain = type;

	t = type ? describe_plain(btf, &plain) : NULL;
	if (!t)
		return err_set(e, ERR_BUILD_OUTPUT, "no __type(%s, ...)", tag);
	if (btf_is_struct(t))
		return describe_struct(d, table, plain, 0, "", 0, e);
	if (!object_tag(btf, map->def_type, -1, tag, &name)) {
		if (index)
			return 0;
		return err_set(e, ERR_BUILD_FIELD, "its %s is no struct and has no name: OBS_%s", tag,
			       strcmp(tag, "key") == 0 ? "KEY" : "VALUE");
	}
	/* format= and omit_zero= on the map are about its value. */
	return describe_scalar(d, table, type, strcmp(tag, "value") == 0 ? map->def_type : plain, name, e);
}

static int sample_times(struct describing *d, const struct object_map *map, struct manifest_output *out, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const char *value;
	struct number ms;

	if (!object_tag(btf, map->def_type, -1, "interval_ms", &value) || !describe_number(btf, value, &ms) ||
	    ms.bits < SAMPLE_MIN_MS || ms.bits > SAMPLE_MAX_MS)
		return err_set(e, ERR_BUILD_OUTPUT, "interval_ms is not from 100 to 3600000");
	out->interval_ms = (uint32_t)ms.bits;
	out->only_changed = object_tag(btf, map->def_type, -1, "changed", &value);
	out->clear = object_tag(btf, map->def_type, -1, "clear", &value);
	if (!object_tag(btf, map->def_type, -1, "interval_param", &value))
		value = "";
	out->interval_param = copy(value, e);
	return out->interval_param ? 0 : -1;
}

static int describe_sample(struct describing *d, const struct object_map *map, struct manifest_output *out,
			   struct err *e)
{
	static const char *const types[] = {"hash",  "percpu_hash",  "lru_hash", "lru_percpu_hash",
					    "array", "percpu_array", "lpm_trie"};
	const char *event = "";
	char title[MANIFEST_IDENT_MAX + 8];
	bool array = strstr(map->map.type, "array") != NULL;

	snprintf(title, sizeof(title), "map %s", map->map.name);
	if (!one_of(map->map.type, types, ARRAY_LEN(types)))
		return err_set(e, ERR_BUILD_OUTPUT, "a map of type %s cannot be sampled", map->map.type);
	if (!object_tag(d->o->btf, map->def_type, -1, "event", &event) || !event_name_valid(event))
		return err_set(e, ERR_BUILD_OUTPUT, "its event name \"%s\" is not dotted lower case, or the daemon's",
			       event);
	if (map->map.key_size > EVENT_MAX_BYTES || map->map.value_size > EVENT_MAX_BYTES)
		return err_set(e, ERR_BUILD_OUTPUT, "key or value of more than %d bytes", EVENT_MAX_BYTES);
	if (!(out->event = copy(event, e)) || sample_times(d, map, out, e))
		return -1;
	struct field_table keys = {&out->key_fields, &out->key_field_count, map->map.key_size, title, 0};
	struct field_table values = {&out->value_fields, &out->value_field_count, map->map.value_size, title, 0};
	if (map_fields(d, map, "key", map->key_type, &keys, array, e) ||
	    map_fields(d, map, "value", map->value_type, &values, false, e))
		return -1;
	if (out->value_field_count == 0)
		return err_set(e, ERR_BUILD_OUTPUT, "its value has no visible field");
	const struct fields_part parts[] = {{out->key_fields, out->key_field_count, keys.record_size, false},
					    {out->value_fields, out->value_field_count, values.record_size, false}};
	return check_fields(d, event, parts, ARRAY_LEN(parts), e);
}

static bool object_has_events(const struct describing *d)
{
	for (size_t i = 0; i < d->m->event_count; i++)
		if (strcmp(d->m->events[i].object, d->object) == 0)
			return true;
	return false;
}

static int describe_output(struct describing *d, const struct object_map *map, const char *kind, struct err *e)
{
	struct manifest_output *out;

	if (d->m->output_count >= MANIFEST_MAX_OUTPUTS)
		return err_set(e, ERR_BUILD_OUTPUT, "more than %d outputs", MANIFEST_MAX_OUTPUTS);
	out = manifest_grow(&d->m->outputs, &d->m->output_count, sizeof(*out), e);
	if (!out)
		return -1;
	if (!(out->object = copy(d->object, e)) || !(out->map = copy(map->map.name, e)))
		return -1;
	if (strcmp(kind, "sample") == 0) {
		out->kind = OUTPUT_SAMPLE;
		return describe_sample(d, map, out, e);
	}
	if (!(out->event = copy("", e)) || !(out->interval_param = copy("", e)))
		return -1;
	if (strcmp(kind, "ring") == 0) {
		out->kind = OUTPUT_RING;
		if (strcmp(map->map.type, "ringbuf") != 0)
			return err_set(e, ERR_BUILD_OUTPUT, "output=ring on a map of type %s", map->map.type);
		if (!object_has_events(d))
			return err_set(e, ERR_BUILD_OUTPUT, "the object has no event types, so nobody could read it");
		return 0;
	}
	out->kind = OUTPUT_LOST;
	if (strcmp(kind, "lost") != 0)
		return err_set(e, ERR_BUILD_OUTPUT, "output=%s is none of ring, sample, lost", kind);
	if (strcmp(map->map.type, "percpu_array") != 0 || map->map.value_size != 8 ||
	    map->map.max_entries != OBS_LOST_COUNT)
		return err_set(e, ERR_BUILD_OUTPUT, "not the drop counters that <obs/obs.h> declares");
	return 0;
}

/* libbpf rounds a ring up to what the page size of the running machine allows: only sizes that are right for all pages
 * (4 to 64 KiB) mean the same everywhere. */
static int check_ring_size(const struct object_map *map, struct err *e)
{
	uint32_t size = map->map.max_entries;

	if (strcmp(map->map.type, "ringbuf") != 0)
		return 0;
	if (size < 65536 || (size & (size - 1)))
		return err_set(e, ERR_BUILD_OUTPUT, "%u bytes: a ring needs a power of two of at least 65536", size);
	return 0;
}

static int describe_outputs(struct describing *d, struct err *e)
{
	for (size_t i = 0; i < d->o->map_count; i++) {
		const struct object_map *map = &d->o->maps[i];
		const char *kind;

		if (check_ring_size(map, e))
			return wrap_name(d, "map", map->map.name, e);
		if (!map->def_type || !object_tag(d->o->btf, map->def_type, -1, "output", &kind))
			continue;
		if (describe_output(d, map, kind, e))
			return wrap_name(d, "map", map->map.name, e);
	}
	return 0;
}

static int check_interval_params(struct describing *d, struct err *e)
{
	for (size_t i = 0; i < d->m->output_count; i++) {
		const struct manifest_output *out = &d->m->outputs[i];
		if (strcmp(out->object, d->object) != 0 || !out->interval_param[0])
			continue;
		const struct manifest_param *param = manifest_param_find(d->m, out->interval_param);
		if (param && param->kind == PARAM_UINT && param->size == 4 && param->count == 0 && param->umin >= 100 &&
		    param->umax <= 3600000)
			continue;
		err_set(e, ERR_BUILD_OUTPUT, "interval_param=%s is no __u32 parameter from 100 to 3600000",
			out->interval_param);
		return wrap_name(d, "map", out->map, e);
	}
	return 0;
}

int describe(struct describing *d, struct err *e)
{
	if (!d->o->btf)
		return err_set(e, ERR_BUILD_OUTPUT, "%s: the object has no BTF", d->source);
	if (describe_events(d, e) || describe_outputs(d, e) || describe_params(d, e))
		return -1;
	return check_interval_params(d, e);
}
