#include "keys/btf_check.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum { CHAIN_MAX = 64 };

struct checking {
	const struct btf *btf;
	uint32_t types;
	bool bad;
};

static void name(struct checking *c, uint32_t offset)
{
	c->bad |= !btf__str_by_offset(c->btf, offset);
}

static void reference(struct checking *c, uint32_t type)
{
	c->bad |= type >= c->types;
}

static bool is_link(const struct btf_type *t)
{
	return btf_is_mod(t) || btf_is_typedef(t) || btf_kind(t) == BTF_KIND_TYPE_TAG;
}

static void chain(struct checking *c, const struct btf_type *t)
{
	unsigned steps = 0;

	while (!c->bad && is_link(t)) {
		if (t->type >= c->types || ++steps > CHAIN_MAX) {
			c->bad = true;
			return;
		}
		t = btf__type_by_id(c->btf, t->type);
	}
}

static void members(struct checking *c, const struct btf_type *t)
{
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		name(c, btf_members(t)[i].name_off);
		reference(c, btf_members(t)[i].type);
	}
}

static void parameters(struct checking *c, const struct btf_type *t)
{
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		name(c, btf_params(t)[i].name_off);
		reference(c, btf_params(t)[i].type);
	}
	reference(c, t->type);
}

static void variables(struct checking *c, const struct btf_type *t)
{
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		uint32_t type = btf_var_secinfos(t)[i].type;
		const struct btf_type *v = type && type < c->types ? btf__type_by_id(c->btf, type) : NULL;
		c->bad |= !v || (!btf_is_var(v) && !btf_is_func(v));
	}
}

static void enumerators(struct checking *c, const struct btf_type *t)
{
	for (unsigned i = 0; i < btf_vlen(t); i++)
		name(c, btf_is_enum64(t) ? btf_enum64(t)[i].name_off : btf_enum(t)[i].name_off);
}

static void check_type(struct checking *c, const struct btf_type *t)
{
	name(c, t->name_off);
	switch (btf_kind(t)) {
	case BTF_KIND_ARRAY:
		reference(c, btf_array(t)->type);
		reference(c, btf_array(t)->index_type);
		break;
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		members(c, t);
		break;
	case BTF_KIND_ENUM:
	case BTF_KIND_ENUM64:
		enumerators(c, t);
		break;
	case BTF_KIND_FUNC_PROTO:
		parameters(c, t);
		break;
	case BTF_KIND_DATASEC:
		variables(c, t);
		break;
	case BTF_KIND_FUNC:
		reference(c, t->type);
		c->bad |= !c->bad && !btf_is_func_proto(btf__type_by_id(c->btf, t->type));
		break;
	case BTF_KIND_INT:
	case BTF_KIND_FLOAT:
	case BTF_KIND_FWD:
		break;
	default: /* pointers, typedefs, qualifiers, variables, tags: one type each */
		reference(c, t->type);
		chain(c, t);
	}
}

int btf_check(const uint8_t *bytes, size_t size, struct err *e)
{
	struct btf *btf = size <= UINT32_MAX ? btf__new(bytes, (uint32_t)size) : NULL;
	struct checking c = {.btf = btf};

	if (!btf)
		return err_set(e, ERR_OBJECT_MALFORMED, ".BTF is broken: %s", strerror(errno));
	c.types = btf__type_cnt(btf);
	for (uint32_t id = 1; id < c.types && !c.bad; id++)
		check_type(&c, btf__type_by_id(btf, id));
	btf__free(btf);
	return c.bad ? err_set(e, ERR_OBJECT_MALFORMED, ".BTF is broken: it names what it does not have") : 0;
}
