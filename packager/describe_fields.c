#include "packager/describe_impl.h"

#include <stdlib.h>
#include <string.h>

#include "bundles/fields.h"

enum { MEMBERS_MAX = 1024 }; /* of one table, with those of nested structs */

/* What a member looks like once typedefs and array levels are off. */
struct shape {
	const struct btf_type *t; /* of one element */
	uint32_t type;
	uint32_t size;         /* of one element */
	uint32_t inner, outer; /* array lengths: [outer][inner], 0: no such level */
	bool array, flexible;
};

const struct btf_type *describe_plain(const struct btf *btf, uint32_t *id)
{
	const struct btf_type *t = btf__type_by_id(btf, *id);

	for (int depth = 0; t && depth < 64; depth++) {
		if (!btf_is_mod(t) && !btf_is_typedef(t) && btf_kind(t) != BTF_KIND_TYPE_TAG)
			return t;
		*id = t->type;
		t = btf__type_by_id(btf, *id);
	}
	return NULL;
}

const char *describe_text(const struct btf *btf, uint32_t offset)
{
	const char *text = btf__str_by_offset(btf, offset);

	return text ? text : "";
}

bool describe_name_valid(const char *name, bool dots)
{
	for (const char *p = name;; p++) {
		if (*p < 'a' || *p > 'z')
			return false;
		p += strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_");
		if (*p == '\0')
			return (size_t)(p - name) <= MANIFEST_IDENT_MAX;
		if (*p != '.' || !dots)
			return false;
	}
}

/* ---- enums ---- */

static int64_t enumerator_value(const struct btf_type *t, unsigned i)
{
	if (btf_is_enum64(t)) {
		const struct btf_enum64 *v = btf_enum64(t) + i;
		return (int64_t)((uint64_t)v->val_hi32 << 32 | v->val_lo32);
	}
	/* clang 14 does not say whether an enum is signed; its values are what it was given as int. */
	return btf_enum(t)[i].val;
}

static const char *enumerator_name(const struct btf *btf, const struct btf_type *t, unsigned i)
{
	return describe_text(btf, btf_is_enum64(t) ? btf_enum64(t)[i].name_off : btf_enum(t)[i].name_off);
}

static bool digits_number(const char *text, struct number *out)
{
	bool minus = text[0] == '-';
	uint64_t number;
	char *end;

	errno = 0;
	number = strtoull(text + minus, &end, 0);
	if (errno || end[strspn(end, "uUlL")] || (minus && number > (uint64_t)INT64_MAX + 1))
		return false;
	out->negative = minus && number;
	out->bits = minus ? 0 - number : number;
	return true;
}

bool describe_number(const struct btf *btf, const char *text, struct number *out)
{
	size_t len = strlen(text);
	char copy[64];

	while (len >= 2 && text[0] == '(' && text[len - 1] == ')') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(copy))
		return false;
	snprintf(copy, sizeof(copy), "%.*s", (int)len, text);
	const char *digits = copy + (copy[0] == '-');
	if (*digits >= '0' && *digits <= '9')
		return digits_number(copy, out);
	for (uint32_t id = 1; id < btf__type_cnt(btf); id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		for (unsigned i = 0; btf_is_any_enum(t) && i < btf_vlen(t); i++)
			if (strcmp(enumerator_name(btf, t, i), copy) == 0) {
				out->bits = (uint64_t)enumerator_value(t, i);
				out->negative = enumerator_value(t, i) < 0 && !(btf_is_enum64(t) && !btf_kflag(t));
				return true;
			}
	}
	return false;
}

bool describe_signed(const struct number *n, int64_t *out)
{
	*out = (int64_t)n->bits;
	return n->negative || n->bits <= INT64_MAX;
}

static int add_enumerator(struct manifest_enum *target, const char *name, int64_t value, struct err *e)
{
	/* "obs_role__client" is shown as "client". */
	for (const char *mark; (mark = strstr(name, "__")) && mark[2];)
		name = mark + 2;
	for (size_t i = 0; i < target->value_count; i++) {
		const struct manifest_enumerator *known = &target->values[i];
		if (known->value == value)
			return 0; /* an alias: the first name stands */
		if (strcmp(known->name, name) == 0)
			return err_set(e, ERR_BUILD_FIELD, "enum %s would show both %lld and %lld as \"%s\"",
				       target->name, (long long)known->value, (long long)value, name);
	}
	if (strlen(name) > MANIFEST_IDENT_MAX)
		return err_set(e, ERR_BUILD_FIELD, "enum %s has a name of more than %d bytes", target->name,
			       MANIFEST_IDENT_MAX);
	if (target->value_count >= MANIFEST_MAX_ENUMERATORS)
		return err_set(e, ERR_BUILD_FIELD, "enum %s has more than %d values", target->name,
			       MANIFEST_MAX_ENUMERATORS);
	struct manifest_enumerator *v = manifest_grow(&target->values, &target->value_count, sizeof(*v), e);
	if (!v)
		return -1;
	v->value = value;
	v->name = strdup(name);
	return v->name ? 0 : err_errno(e, ERR_NOMEM, "enum");
}

static bool enum_equal(const struct manifest_enum *a, const struct manifest_enum *b)
{
	bool equal = strcmp(a->name, b->name) == 0 && a->value_count == b->value_count;

	for (size_t i = 0; equal && i < a->value_count; i++)
		equal = a->values[i].value == b->values[i].value && strcmp(a->values[i].name, b->values[i].name) == 0;
	return equal;
}

static void enum_clear(struct manifest_enum *target)
{
	for (size_t i = 0; i < target->value_count; i++)
		free(target->values[i].name);
	free(target->values);
	free(target->name);
	*target = (struct manifest_enum){0};
}

int describe_enum(struct describing *d, uint32_t type, const char *name, int32_t *out, struct err *e)
{
	const struct btf_type *t = btf__type_by_id(d->o->btf, type);
	const char *own = describe_text(d->o->btf, t->name_off);
	struct manifest_enum *added;

	added = manifest_grow(&d->m->enums, &d->m->enum_count, sizeof(*added), e);
	if (!added)
		return -1;
	added->name = strdup(own[0] ? own : name);
	if (!added->name)
		return err_errno(e, ERR_NOMEM, "enum");
	for (unsigned i = 0; i < btf_vlen(t); i++)
		if (add_enumerator(added, enumerator_name(d->o->btf, t, i), enumerator_value(t, i), e))
			return -1;
	size_t last = d->m->enum_count - 1;
	for (size_t i = 0; i < last; i++) {
		if (enum_equal(&d->m->enums[i], added)) {
			enum_clear(added);
			d->m->enum_count--;
			last = i;
			break;
		}
		if (strcmp(d->m->enums[i].name, added->name) == 0)
			return err_set(e, ERR_BUILD_FIELD, "two different enums are named %s", added->name);
	}
	if (last >= MANIFEST_MAX_ENUMS)
		return err_set(e, ERR_BUILD_FIELD, "more than %d enums", MANIFEST_MAX_ENUMS);
	*out = (int32_t)last;
	return 0;
}

/* ---- one field ---- */

static bool is_byte(const struct btf_type *t)
{
	return t && btf_is_int(t) && t->size == 1 && !(btf_int_encoding(t) & BTF_INT_BOOL);
}

static int shape_of(const struct btf *btf, uint32_t type, struct shape *out, struct err *e)
{
	uint32_t lengths[2];
	unsigned levels = 0;

	*out = (struct shape){.type = type};
	out->t = describe_plain(btf, &out->type);
	while (out->t && btf_is_array(out->t)) {
		if (levels == 2)
			return err_set(e, ERR_BUILD_FIELD, "an array of more than two dimensions");
		lengths[levels++] = btf_array(out->t)->nelems;
		out->type = btf_array(out->t)->type;
		out->t = describe_plain(btf, &out->type);
	}
	if (!out->t)
		return err_set(e, ERR_BUILD_FIELD, "a type without meaning");
	out->array = levels > 0;
	if (levels)
		out->inner = lengths[levels - 1];
	if (levels == 2)
		out->outer = lengths[0];
	out->flexible = levels && lengths[0] == 0;
	if (btf_is_ptr(out->t))
		return err_set(e, ERR_BUILD_FIELD, "a pointer means nothing outside of the kernel");
	if (btf_kind(out->t) == BTF_KIND_FLOAT)
		return err_set(e, ERR_BUILD_FIELD, "floating point");
	int64_t size = btf__resolve_size(btf, out->type);
	if (size <= 0 || size > EVENT_MAX_BYTES)
		return err_set(e, ERR_BUILD_FIELD, "a type of unknown or too large size");
	out->size = (uint32_t)size;
	return 0;
}

/* Formats that make one unit of several bytes: u8[n], or a struct, union or integer of that size. */
static int bytes_field(const struct shape *s, struct manifest_field *f, const char *word, struct err *e)
{
	bool bytes = s->array && is_byte(s->t);
	bool number = f->format == FORMAT_IP && btf_is_int(s->t) && s->size == 4;
	bool whole = f->format == FORMAT_IP && btf_is_composite(s->t);

	if (!bytes && !number && !whole)
		return err_set(e, ERR_BUILD_FIELD, "format %s needs an array of bytes", word);
	f->kind = FIELD_BYTES;
	f->size = bytes ? s->inner : s->size;
	if (bytes && s->outer) {
		f->count = s->outer;
		f->stride = f->size;
	} else if (!bytes && s->array) {
		if (s->outer || s->flexible)
			return err_set(e, ERR_BUILD_FIELD, "an array of that form");
		f->count = s->inner;
		f->stride = f->size;
	}
	if (f->format == FORMAT_IP && f->size != 4 && f->size != 16)
		return err_set(e, ERR_BUILD_FIELD, "format ip needs 4 or 16 bytes, not %u", f->size);
	if (f->format == FORMAT_MAC && f->size != 6)
		return err_set(e, ERR_BUILD_FIELD, "format mac needs 6 bytes, not %u", f->size);
	return 0;
}

static int check_number_format(const struct shape *s, const struct manifest_field *f, const char *word, struct err *e)
{
	bool histogram = f->format == FORMAT_LOG2 || f->format == FORMAT_LINEAR;

	if (f->format == FORMAT_PLAIN)
		return 0;
	if (f->kind != FIELD_UINT)
		return err_set(e, ERR_BUILD_FIELD, "format %s needs an unsigned integer", word);
	if (f->format == FORMAT_PORT && s->size != 2)
		return err_set(e, ERR_BUILD_FIELD, "format port needs 2 bytes in host order, not %u", s->size);
	if (f->format == FORMAT_TIME && s->size != 8)
		return err_set(e, ERR_BUILD_FIELD, "format time needs 8 bytes, not %u", s->size);
	if (f->format == FORMAT_KSTACK && (s->size != 8 || !s->array))
		return err_set(e, ERR_BUILD_FIELD, "format kstack needs an array of 8-byte addresses");
	if (histogram && ((s->size != 8 && s->size != 4) || !s->array))
		return err_set(e, ERR_BUILD_FIELD, "format %s needs an array of 4- or 8-byte counts", word);
	return 0;
}

static int number_field(struct describing *d, const struct shape *s, struct manifest_field *f, const char *word,
			struct err *e)
{
	if (s->outer || s->flexible)
		return err_set(e, ERR_BUILD_FIELD, "an array of that form needs format hex, ip, mac or dns");
	f->size = s->size;
	if (s->array) {
		f->count = s->inner;
		f->stride = s->size;
	}
	if (btf_is_any_enum(s->t)) {
		f->kind = FIELD_ENUM;
		if (f->enum_index < 0 && describe_enum(d, s->type, f->name, &f->enum_index, e))
			return -1;
		if (f->format != FORMAT_PLAIN)
			return err_set(e, ERR_BUILD_FIELD, "format %s for an enum", word);
		return 0;
	}
	if (!btf_is_int(s->t))
		return err_set(e, ERR_BUILD_FIELD, "a %s cannot be shown without a format",
			       btf_is_union(s->t)    ? "union"
			       : btf_is_struct(s->t) ? "array of structs"
						     : "type of that kind");
	if (s->size != 1 && s->size != 2 && s->size != 4 && s->size != 8)
		return err_set(e, ERR_BUILD_FIELD, "an integer of %u bytes", s->size);
	if (f->enum_index >= 0)
		f->kind = FIELD_ENUM;
	else if (btf_int_encoding(s->t) & BTF_INT_BOOL)
		f->kind = FIELD_BOOL;
	else
		f->kind = btf_int_encoding(s->t) & BTF_INT_SIGNED ? FIELD_INT : FIELD_UINT;
	return check_number_format(s, f, word, e);
}

static int read_format(const char *word, enum field_format *out, struct err *e)
{
	for (int i = 0; i < FORMAT_COUNT; i++)
		if (strcmp(word, field_format_names[i]) == 0) {
			*out = (enum field_format)i;
			return 0;
		}
	return err_set(e, ERR_BUILD_FIELD, "unknown format \"%s\"", word);
}

/* Tag enum=<type>: names for an integer that holds values of an enum. */
static int named_enum(struct describing *d, const char *name, struct manifest_field *f, struct err *e)
{
	int32_t id = btf__find_by_name_kind(d->o->btf, name, BTF_KIND_ENUM);

	if (id <= 0)
		id = btf__find_by_name_kind(d->o->btf, name, BTF_KIND_ENUM64);
	if (id <= 0)
		return err_set(e, ERR_BUILD_FIELD, "enum %s is not in the object: use it somewhere", name);
	return describe_enum(d, (uint32_t)id, name, &f->enum_index, e);
}

static int linear_field(const struct btf *btf, uint32_t owner, int component, struct manifest_field *f, struct err *e)
{
	const char *base, *step;
	struct number from, by;

	if (!object_tag(btf, owner, component, "base", &base) || !object_tag(btf, owner, component, "step", &step) ||
	    !describe_number(btf, base, &from) || !describe_number(btf, step, &by) ||
	    !describe_signed(&from, &f->base) || !describe_signed(&by, &f->step) || f->step < 1)
		return err_set(e, ERR_BUILD_FIELD, "format linear needs base= and a step= of at least 1");
	return 0;
}

/* Everything but where the field lies. owner and component name the tags. */
static int describe_type(struct describing *d, uint32_t type, uint32_t owner, int component, struct manifest_field *f,
			 struct err *e)
{
	const struct btf *btf = d->o->btf;
	const char *word = "plain", *value;
	struct shape s;

	f->enum_index = -1;
	f->length_field = -1;
	f->omit_zero = object_tag(btf, owner, component, "omit_zero", &value);
	if (shape_of(btf, type, &s, e))
		return -1;
	bool text = s.array && is_byte(s.t) && strcmp(describe_text(btf, s.t->name_off), "char") == 0;
	if (object_tag(btf, owner, component, "format", &word)) {
		if (strcmp(word, "string") == 0)
			text = s.array && is_byte(s.t);
		else if (read_format(word, &f->format, e))
			return -1;
	}
	if (object_tag(btf, owner, component, "enum", &value) && named_enum(d, value, f, e))
		return -1;
	if (f->format == FORMAT_LINEAR && linear_field(btf, owner, component, f, e))
		return -1;
	bool unit = f->format == FORMAT_IP || f->format == FORMAT_MAC || f->format == FORMAT_DNS ||
		    (f->format == FORMAT_HEX && s.array && is_byte(s.t));
	if (unit)
		return bytes_field(&s, f, word, e);
	if (strcmp(word, "string") == 0 && !text)
		return err_set(e, ERR_BUILD_FIELD, "format string needs an array of bytes");
	if (!text || f->format != FORMAT_PLAIN)
		return number_field(d, &s, f, word, e);
	if (s.flexible)
		return err_set(e, ERR_BUILD_FIELD, "text needs a size: only bytes may go to the end of the record");
	f->kind = FIELD_CHARS;
	f->size = s.inner;
	if (s.outer) {
		f->count = s.outer;
		f->stride = s.inner;
	}
	return 0;
}

static int add_field(const struct field_table *table, const struct manifest_field *f, struct err *e)
{
	if (*table->count >= MANIFEST_MAX_FIELDS)
		return err_set(e, ERR_BUILD_FIELD, "%s has more than %d fields", table->title, MANIFEST_MAX_FIELDS);
	if (!describe_name_valid(f->name, true))
		return err_set(e, ERR_BUILD_FIELD, "\"%s\" is not dotted lower case", f->name);
	const char *problem = fields_name_problem(f->name);
	if (!problem)
		problem = fields_format_problem(f);
	if (problem)
		return err_set(e, ERR_BUILD_FIELD, "\"%s\": %s", f->name, problem);
	struct manifest_field *added = manifest_grow(table->fields, table->count, sizeof(*added), e);
	if (!added)
		return -1;
	*added = *f;
	return 0;
}

/* ---- members ---- */

static void place_bits(struct manifest_field *f, uint32_t bit, uint32_t bits, uint32_t record_size)
{
	f->bit_size = (uint16_t)bits;
	f->offset = bit / 8;
	f->bit_offset = (uint16_t)(bit % 8);
	f->size = 1;
	while (f->size * 8 < f->bit_offset + bits)
		f->size *= 2;
	while (f->offset + f->size > record_size && f->offset > 0) {
		f->offset--;
		f->bit_offset = (uint16_t)(f->bit_offset + 8);
	}
}

static int join(char *dst, size_t size, const char *prefix, const char *name, struct err *e)
{
	if ((size_t)snprintf(dst, size, "%s%s%s", prefix, prefix[0] && name[0] ? "." : "", name) >= size)
		return err_set(e, ERR_BUILD_FIELD, "name \"%s.%s\" is too long", prefix, name);
	return 0;
}

static bool hidden(const struct btf *btf, uint32_t type, int index, const char *name)
{
	const char *value;

	return name[0] == '_' || strncmp(name, "reserved", 8) == 0 || object_tag(btf, type, index, "hide", &value);
}

struct member {
	uint32_t owner; /* struct type */
	unsigned index;
	const char *name, *tag; /* in C; of its name tag or NULL */
	uint32_t type, bit, bits;
};

/* Adds one member; *out is its index in the table, -1 if it became several fields. */
static int add_member(struct describing *d, struct field_table *table, const struct member *m, const char *prefix,
		      int32_t *out, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t;
	const char *format;
	char name[MANIFEST_IDENT_MAX + 1];
	uint32_t plain = m->type;
	struct manifest_field f = {0};

	t = describe_plain(btf, &plain);
	*out = -1;
	if (t && btf_is_struct(t) && !object_tag(btf, m->owner, (int)m->index, "format", &format)) {
		if (join(name, sizeof(name), prefix, m->tag ? m->tag : "", e))
			return -1;
		return describe_struct(d, table, plain, 0, name, m->bit / 8, e);
	}
	if (join(name, sizeof(name), prefix, m->tag ? m->tag : m->name, e))
		return -1;
	f.name = name;
	if (describe_type(d, m->type, m->owner, (int)m->index, &f, e))
		return -1;
	f.offset = m->bit / 8;
	if (m->bits) {
		place_bits(&f, m->bit, m->bits, table->record_size);
		if (f.size > 8 || f.bit_offset + m->bits > 64)
			return err_set(e, ERR_BUILD_FIELD, "a bit field over more than 8 bytes");
	} else if (m->bit % 8) {
		return err_set(e, ERR_BUILD_FIELD, "not at a whole byte");
	}
	f.name = strdup(name);
	if (!f.name)
		return err_errno(e, ERR_NOMEM, "field");
	if (add_field(table, &f, e)) {
		free(f.name);
		return -1;
	}
	*out = (int32_t)(*table->count - 1);
	return 0;
}

static int member_failed(struct describing *d, uint32_t type, const char *member, struct err *e)
{
	const struct btf_type *t = btf__type_by_id(d->o->btf, type);
	const char *name = describe_text(d->o->btf, t->name_off);
	struct place place;

	if (e->depth > 1) /* a nested struct's member has said where */
		return -1;
	locate(d->definition, d->source, true, name, member, &place);
	return err_wrap(e, "%s: struct %s, member %s", place.text, name, member);
}

/* length=<member>: the field that says how much of this one is in use. */
static int resolve_lengths(struct describing *d, const struct field_table *table, uint32_t type, const int32_t *index,
			   struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t = btf__type_by_id(btf, type);
	const char *length;

	for (unsigned i = 0; i < btf_vlen(t); i++) {
		if (index[i] < 0 || !object_tag(btf, type, (int)i, "length", &length))
			continue;
		int32_t found = -1;
		for (unsigned k = 0; k < btf_vlen(t); k++)
			if (strcmp(describe_text(btf, btf_members(t)[k].name_off), length) == 0)
				found = index[k];
		struct manifest_field *f = &(*table->fields)[index[i]];
		bool measurable = f->kind == FIELD_CHARS || f->kind == FIELD_BYTES || f->count;
		if (found < 0 || (*table->fields)[found].kind != FIELD_UINT || (*table->fields)[found].count ||
		    !measurable) {
			err_set(e, ERR_BUILD_FIELD, "length=%s is no visible unsigned member of the same struct for it",
				length);
			return member_failed(d, type, describe_text(btf, btf_members(t)[i].name_off), e);
		}
		f->length_field = found;
	}
	return 0;
}

int describe_struct(struct describing *d, struct field_table *table, uint32_t type, unsigned first_member,
		    const char *prefix, uint32_t base, struct err *e)
{
	const struct btf *btf = d->o->btf;
	const struct btf_type *t = btf__type_by_id(btf, type);
	unsigned count = btf_vlen(t);

	/* BTF made by hand can let a struct hold itself. */
	table->members += count;
	if (table->members > MEMBERS_MAX)
		return err_set(e, ERR_BUILD_FIELD, "%s has more than %d members", table->title, MEMBERS_MAX);
	OWN_FREE int32_t *index = calloc(count + 1, sizeof(*index));
	if (!index)
		return err_errno(e, ERR_NOMEM, "members");
	for (unsigned i = 0; i < count; i++) {
		struct member m = {.owner = type, .index = i, .type = btf_members(t)[i].type};
		m.name = describe_text(btf, btf_members(t)[i].name_off);
		m.bit = base * 8 + btf_member_bit_offset(t, i);
		m.bits = btf_member_bitfield_size(t, i);
		index[i] = -1;
		if (i < first_member || hidden(btf, type, (int)i, m.name))
			continue;
		if (!object_tag(btf, type, (int)i, "name", &m.tag))
			m.tag = NULL;
		if (add_member(d, table, &m, prefix, &index[i], e))
			return member_failed(d, type, m.name, e);
	}
	return resolve_lengths(d, table, type, index, e);
}

int describe_scalar(struct describing *d, const struct field_table *table, uint32_t type, uint32_t variable,
		    const char *name, struct err *e)
{
	struct manifest_field f = {.name = (char *)(uintptr_t)name};

	if (describe_type(d, type, variable, -1, &f, e))
		return -1;
	f.name = strdup(name);
	if (!f.name)
		return err_errno(e, ERR_NOMEM, "field");
	if (add_field(table, &f, e)) {
		free(f.name);
		return -1;
	}
	return 0;
}
