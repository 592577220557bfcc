#include "packager/describe_impl.h"

#include <obs/event.h>
#include <stdlib.h>
#include <string.h>

static const char section_name[] = ".data.params";

struct variable {
	const char *name;
	uint32_t var;    /* BTF id */
	uint32_t offset; /* in the section */
	uint32_t size;
	const struct btf_type *t; /* of one element */
	uint32_t type;
	uint32_t length; /* elements, 0: scalar */
};

static const struct object_map *params_map(const struct object *o)
{
	for (size_t i = 0; i < o->map_count; i++)
		if (o->maps[i].data && o->maps[i].bytes && strcmp(o->maps[i].map.name, section_name) == 0)
			return &o->maps[i];
	return NULL;
}

static const char *tag(const struct describing *d, const struct variable *v, const char *key)
{
	const char *value;

	return object_tag(d->o->btf, v->var, -1, key, &value) ? value : NULL;
}

static int read_bounds(struct describing *d, const struct variable *v, struct number *min, struct number *max,
		       struct err *e)
{
	const char *low = tag(d, v, "min"), *high = tag(d, v, "max");

	if (!low || !high || !describe_number(d->o->btf, low, min) || !describe_number(d->o->btf, high, max))
		return err_set(e, ERR_BUILD_PARAMETER, "its bounds are no numbers");
	return 0;
}

static int bounds_problem(struct describing *d, const struct variable *v, const char *sign, struct err *e)
{
	return err_set(e, ERR_BUILD_PARAMETER, "bounds %s to %s do not fit %u %s bytes", tag(d, v, "min"),
		       tag(d, v, "max"), v->t->size, sign);
}

static int unsigned_bounds(struct describing *d, const struct variable *v, struct manifest_param *p, struct err *e)
{
	uint64_t top = p->size == 8 ? UINT64_MAX : (1ULL << p->size * 8) - 1;
	struct number min, max;

	if (read_bounds(d, v, &min, &max, e))
		return -1;
	p->umin = min.bits;
	p->umax = max.bits;
	if (min.negative || max.negative || p->umin > p->umax || p->umax > top)
		return bounds_problem(d, v, "unsigned", e);
	return 0;
}

static int signed_bounds(struct describing *d, const struct variable *v, struct manifest_param *p, struct err *e)
{
	int64_t top = p->size == 8 ? INT64_MAX : (1LL << (p->size * 8 - 1)) - 1;
	struct number min, max;

	if (read_bounds(d, v, &min, &max, e))
		return -1;
	if (!describe_signed(&min, &p->min) || !describe_signed(&max, &p->max) || p->min > p->max || p->max > top ||
	    p->min < -top - 1)
		return bounds_problem(d, v, "signed", e);
	return 0;
}

static int enum_bounds(struct describing *d, const struct variable *v, struct manifest_param *p, struct err *e)
{
	if (describe_enum(d, v->type, v->name, &p->enum_index, e))
		return -1;
	const struct manifest_enum *names = &d->m->enums[p->enum_index];
	if (names->value_count == 0)
		return err_set(e, ERR_BUILD_PARAMETER, "an enum without values");
	p->min = p->max = names->values[0].value;
	for (size_t i = 1; i < names->value_count; i++) {
		p->min = names->values[i].value < p->min ? names->values[i].value : p->min;
		p->max = names->values[i].value > p->max ? names->values[i].value : p->max;
	}
	return 0;
}

static int param_type(struct describing *d, const struct variable *v, struct manifest_param *p, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t = v->t;

	p->size = t->size;
	p->count = v->length;
	p->enum_index = -1;
	if (btf_is_struct(t) && strcmp(describe_text(btf, t->name_off), "obs_cidr") == 0 &&
	    t->size == sizeof(struct obs_cidr)) {
		p->kind = PARAM_CIDR;
		return 0;
	}
	if (btf_is_any_enum(t)) {
		p->kind = PARAM_ENUM;
		return enum_bounds(d, v, p, e);
	}
	if (!btf_is_int(t) || (t->size != 1 && t->size != 2 && t->size != 4 && t->size != 8))
		return err_set(e, ERR_BUILD_PARAMETER, "neither integer, bool, enum, text nor struct obs_cidr");
	if (btf_int_encoding(t) & BTF_INT_BOOL) {
		p->kind = PARAM_BOOL;
		return 0;
	}
	if (v->length && strcmp(describe_text(btf, t->name_off), "char") == 0) {
		p->kind = PARAM_CHARS;
		p->size = v->length;
		p->count = 0;
		return 0;
	}
	p->kind = btf_int_encoding(t) & BTF_INT_SIGNED ? PARAM_INT : PARAM_UINT;
	return p->kind == PARAM_INT ? signed_bounds(d, v, p, e) : unsigned_bounds(d, v, p, e);
}

static char *copy(const char *text, struct err *e)
{
	char *result = strdup(text);

	if (!result)
		err_errno(e, ERR_NOMEM, "parameter");
	return result;
}

static int add_variable(struct describing *d, const struct variable *v, struct manifest_param *p, struct err *e)
{
	struct manifest_variable *added = manifest_grow(&p->variables, &p->variable_count, sizeof(*added), e);

	if (!added)
		return -1;
	added->offset = v->offset;
	if (!(added->object = copy(d->object, e)) || !(added->map = copy(section_name, e)))
		return -1;
	return 0;
}

static bool same_param(const struct manifest_param *a, const struct manifest_param *b)
{
	return strcmp(a->help, b->help) == 0 && strcmp(a->unit, b->unit) == 0 && a->kind == b->kind &&
	       a->size == b->size && a->count == b->count && a->min == b->min && a->max == b->max &&
	       a->umin == b->umin && a->umax == b->umax && a->enum_index == b->enum_index &&
	       memcmp(a->initial, b->initial, (size_t)a->size * (a->count ? a->count : 1)) == 0;
}

static void param_clear(struct manifest_param *p)
{
	free(p->name);
	free(p->help);
	free(p->unit);
	free(p->initial);
	*p = (struct manifest_param){0};
}

static int fill_param(struct describing *d, const struct variable *v, const uint8_t *bytes, struct manifest_param *p,
		      struct err *e)
{
	const char *help = tag(d, v, "help"), *unit = tag(d, v, "unit");

	if (!tag(d, v, "param"))
		return err_set(e, ERR_BUILD_PARAMETER, "in %s, but not declared as a parameter", section_name);
	if (!describe_name_valid(v->name, false))
		return err_set(e, ERR_BUILD_PARAMETER, "its name is not lower case");
	if (!help || !help[0] || strlen(help) > MANIFEST_TEXT_MAX)
		return err_set(e, ERR_BUILD_PARAMETER, "no help of 1 to %d bytes", MANIFEST_TEXT_MAX);
	if (!(p->name = copy(v->name, e)) || !(p->help = copy(help, e)) || !(p->unit = copy(unit ? unit : "", e)))
		return -1;
	if (param_type(d, v, p, e))
		return -1;
	size_t size = (size_t)p->size * (p->count ? p->count : 1);
	if (size != v->size)
		return err_set(e, ERR_BUILD_PARAMETER, "its size is not that of its type");
	p->initial = malloc(size);
	if (!p->initial)
		return err_errno(e, ERR_NOMEM, "parameter");
	memcpy(p->initial, bytes + v->offset, size);
	const char *problem = manifest_param_problem(p, d->m);
	return problem ? err_set(e, ERR_BUILD_PARAMETER, "%s", problem) : 0;
}

static int add_param(struct describing *d, const struct variable *v, const uint8_t *bytes, struct err *e)
{
	const struct manifest_param *known = manifest_param_find(d->m, v->name);
	size_t known_index = known ? (size_t)(known - d->m->params) : 0;
	struct manifest_param *p, *target;

	if (d->m->param_count >= MANIFEST_MAX_PARAMS)
		return err_set(e, ERR_BUILD_PARAMETER, "more than %d parameters", MANIFEST_MAX_PARAMS);
	p = manifest_grow(&d->m->params, &d->m->param_count, sizeof(*p), e);
	if (!p)
		return -1;
	p->enum_index = -1;
	if (fill_param(d, v, bytes, p, e))
		return -1;
	target = p;
	if (known) {
		target = &d->m->params[known_index];
		if (!same_param(target, p))
			return err_set(e, ERR_BUILD_PARAMETER, "another object declares it differently");
		param_clear(p);
		d->m->param_count--;
	}
	return add_variable(d, v, target, e);
}

static int read_variable(struct describing *d, const struct btf_var_secinfo *info, const struct object_map *map,
			 struct variable *v, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *var = btf__type_by_id(btf, info->type);

	*v = (struct variable){.var = info->type, .offset = info->offset, .size = info->size};
	v->name = describe_text(btf, var->name_off);
	v->type = var->type;
	v->t = describe_plain(btf, &v->type);
	if (v->t && btf_is_array(v->t)) {
		v->length = btf_array(v->t)->nelems;
		v->type = btf_array(v->t)->type;
		v->t = describe_plain(btf, &v->type);
	}
	if (!v->t || v->size == 0 || v->offset > map->map.value_size || v->size > map->map.value_size - v->offset)
		return err_set(e, ERR_BUILD_PARAMETER, "a type of unknown size");
	return 0;
}

int describe_params(struct describing *d, struct err *e)
{
	const struct btf *btf = d->o->btf;
	int32_t id = btf__find_by_name_kind(btf, section_name, BTF_KIND_DATASEC);
	const struct object_map *map = params_map(d->o);

	if (id <= 0 || !map)
		return 0;
	const struct btf_type *section = btf__type_by_id(btf, (uint32_t)id);
	for (unsigned i = 0; i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *info = btf_var_secinfos(section) + i;
		struct variable v;
		struct place place;

		if (read_variable(d, info, map, &v, e) == 0 && add_param(d, &v, map->bytes, e) == 0)
			continue;
		locate(d->definition, d->source, false, v.name, NULL, &place);
		return err_wrap(e, "%s: parameter %s", place.text, v.name);
	}
	return 0;
}
