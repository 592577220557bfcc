#include "loader/worker/table.h"

#include <assert.h>
#include <obs/event.h>
#include <string.h>

#include "bundles/fields.h"

enum step_op {
	STEP_LITERAL,
	STEP_VALUE,
	STEP_OPEN,  /* an object that may stay empty: where it starts is remembered */
	STEP_CLOSE, /* and it is taken back if nothing came */
};

enum comma { COMMA_NO, COMMA_YES, COMMA_MAYBE };

struct step {
	uint8_t op;
	bool comma_maybe; /* a comma first, unless an object has just been opened */
	bool optional;    /* VALUE: literal and value may be left out */
	uint32_t literal_at, literal_size;
	struct value value;
};

struct field_name {
	char *name;
	struct value value;
};

struct table {
	char *event, *bundle, *host;
	uint32_t min_size;
	size_t line_max;
	struct step *steps;
	size_t step_count;
	char *literals; /* JSON_SLACK bytes follow the last */
	size_t literals_size, literals_room;
	uint32_t head_size; /* literal 0: from `","event":` to `"seq":` */
	struct field_name *fields;
	size_t field_count;
	const struct value *dns; /* NULL: no field is a DNS message */
	struct enum_names **enums;
	size_t enum_count;
};

/* ---- the tree of names ---- */

struct node {
	const char *key; /* not NUL-terminated */
	size_t key_size;
	int field; /* of the table, -1: an object */
	int first_child, last_child, next;
	bool certain; /* some value below is always there */
};

struct tree {
	struct node *nodes;
	size_t count, room;
};

static int node_new(struct tree *t, const char *key, size_t key_size, struct err *e)
{
	if (t->count == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct node *grown = realloc(t->nodes, room * sizeof(*grown));
		if (!grown)
			return err_errno(e, ERR_NOMEM, "%zu names", room);
		t->nodes = grown;
		t->room = room;
	}
	t->nodes[t->count] = (struct node){
	    .key = key, .key_size = key_size, .field = -1, .first_child = -1, .last_child = -1, .next = -1};
	return (int)t->count++;
}

static int child_find(const struct tree *t, int parent, const char *key, size_t key_size)
{
	for (int i = t->nodes[parent].first_child; i >= 0; i = t->nodes[i].next)
		if (t->nodes[i].key_size == key_size && memcmp(t->nodes[i].key, key, key_size) == 0)
			return i;
	return -1;
}

static int tree_add(struct tree *t, const struct field_name *f, int index, struct err *e)
{
	const char *key = f->name;
	int at = 0;

	for (int depth = 0;; depth++) {
		size_t size = strcspn(key, ".");
		bool leaf = key[size] == '\0';
		int child = child_find(t, at, key, size);
		if (size == 0 || depth >= FIELD_MAX_WORDS)
			return err_set(e, ERR_MANIFEST_VALUE, "field %s: empty or nested too deeply", f->name);
		if (child >= 0 && (leaf || t->nodes[child].field >= 0))
			return err_set(e, ERR_MANIFEST_VALUE,
				       "field %s: the name is taken by another field, or by fields below it", f->name);
		if (child < 0) {
			child = node_new(t, key, size, e);
			if (child < 0)
				return -1;
			if (t->nodes[at].last_child < 0)
				t->nodes[at].first_child = child;
			else
				t->nodes[t->nodes[at].last_child].next = child;
			t->nodes[at].last_child = child;
		}
		if (!value_is_optional(&f->value)) {
			t->nodes[at].certain = true;
			t->nodes[child].certain = true;
		}
		at = child;
		if (leaf)
			break;
		key += size + 1;
	}
	t->nodes[at].field = index;
	return 0;
}

/* ---- steps ---- */

static int literal_add(struct table *t, const char *text, size_t size, struct err *e)
{
	if (!t->literals || t->literals_size + size + JSON_SLACK > t->literals_room) {
		size_t room = 2 * (t->literals_size + size + JSON_SLACK);
		char *grown = realloc(t->literals, room);
		if (!grown)
			return err_errno(e, ERR_NOMEM, "literals of %zu bytes", room);
		memset(grown + t->literals_size, 0, room - t->literals_size);
		t->literals = grown;
		t->literals_room = room;
	}
	memcpy(t->literals + t->literals_size, text, size);
	t->literals_size += size;
	return 0;
}

static int literal_add_string(struct table *t, const char *text, size_t size, struct err *e)
{
	OWN_FREE char *quoted = malloc(size * JSON_TEXT_GROWTH + 2 + JSON_SLACK);

	if (!quoted)
		return err_errno(e, ERR_NOMEM, "a name");
	return literal_add(t, quoted, (size_t)(json_put_string(quoted, (const uint8_t *)text, size) - quoted), e);
}

struct compiler {
	struct table *table;
	struct tree tree;
	size_t pending; /* where the literal text that no step has yet starts */
};

static struct step *step_add(struct compiler *c, enum step_op op, struct err *e)
{
	struct table *t = c->table;
	struct step *grown = realloc(t->steps, (t->step_count + 1) * sizeof(*grown));

	if (!grown) {
		err_errno(e, ERR_NOMEM, "%zu steps", t->step_count + 1);
		return NULL;
	}
	t->steps = grown;
	struct step *s = &t->steps[t->step_count++];
	*s = (struct step){.op = (uint8_t)op};
	s->literal_at = (uint32_t)c->pending;
	s->literal_size = (uint32_t)(t->literals_size - c->pending);
	c->pending = t->literals_size;
	return s;
}

static int flush_pending(struct compiler *c, struct err *e)
{
	if (c->pending == c->table->literals_size)
		return 0;
	return step_add(c, STEP_LITERAL, e) ? 0 : -1;
}

static int add_key(struct compiler *c, const struct node *n, enum comma comma, const char *after, struct err *e)
{
	if (comma == COMMA_YES && literal_add(c->table, ",", 1, e))
		return -1;
	if (literal_add_string(c->table, n->key, n->key_size, e))
		return -1;
	return literal_add(c->table, after, strlen(after), e);
}

static int compile_children(struct compiler *c, int parent, enum comma comma, struct err *e);

static int compile_leaf(struct compiler *c, const struct node *n, enum comma comma, struct err *e)
{
	const struct value *v = &c->table->fields[n->field].value;
	bool optional = value_is_optional(v);

	/* What must be written in any case may not share a step with what may be left out. */
	if ((optional || comma == COMMA_MAYBE) && flush_pending(c, e))
		return -1;
	if (add_key(c, n, comma, ":", e))
		return -1;
	struct step *s = step_add(c, STEP_VALUE, e);
	if (!s)
		return -1;
	s->comma_maybe = comma == COMMA_MAYBE;
	s->optional = optional;
	s->value = *v;
	return 0;
}

static int compile_object(struct compiler *c, int node, enum comma comma, struct err *e)
{
	const struct node n = c->tree.nodes[node];

	if (n.certain && comma != COMMA_MAYBE) {
		if (add_key(c, &n, comma, ":{", e) || compile_children(c, node, COMMA_NO, e))
			return -1;
		return literal_add(c->table, "}", 1, e);
	}
	if (flush_pending(c, e) || add_key(c, &n, comma, ":{", e))
		return -1;
	struct step *s = step_add(c, STEP_OPEN, e);
	if (!s)
		return -1;
	s->comma_maybe = comma == COMMA_MAYBE;
	if (compile_children(c, node, COMMA_NO, e) || flush_pending(c, e))
		return -1;
	return step_add(c, STEP_CLOSE, e) ? 0 : -1;
}

static int compile_children(struct compiler *c, int parent, enum comma comma, struct err *e)
{
	for (int i = c->tree.nodes[parent].first_child; i >= 0; i = c->tree.nodes[i].next) {
		const struct node *n = &c->tree.nodes[i];
		bool certain = n->certain;
		if (n->field >= 0 ? compile_leaf(c, n, comma, e) : compile_object(c, i, comma, e))
			return -1;
		if (certain)
			comma = COMMA_YES;
		else if (comma == COMMA_NO)
			comma = COMMA_MAYBE;
	}
	return 0;
}

/* ---- fields ---- */

static const char *const envelope[] = {"time", "event", "host", "seq", "bundle"};

static int check_envelope(const struct table *t, const char *name, struct err *e)
{
	size_t size = strcspn(name, "."), count = ARRAY_LEN(envelope) - (t->bundle ? 0 : 1);

	for (size_t i = 0; i < count; i++)
		if (strlen(envelope[i]) == size && memcmp(envelope[i], name, size) == 0)
			return err_set(e, ERR_MANIFEST_VALUE, "field %s: every event has a \"%s\" of its own", name,
				       envelope[i]);
	return 0;
}

static int field_add(struct table *t, const char *name, const struct value *v, struct err *e)
{
	struct field_name *f = &t->fields[t->field_count];

	if (check_envelope(t, name, e))
		return -1;
	f->name = strdup(name);
	if (!f->name)
		return err_errno(e, ERR_NOMEM, "a name");
	f->value = *v;
	t->field_count++;
	return 0;
}

static int dns_add(struct table *t, struct value v, struct err *e)
{
	static const enum value_op ops[FIELDS_DNS_COUNT] = {VALUE_DNS_NAME, VALUE_DNS_TYPE, VALUE_DNS_ANSWERS,
							    VALUE_DNS_CODE};

	for (size_t i = 0; i < FIELDS_DNS_COUNT; i++) {
		v.op = ops[i];
		if (field_add(t, fields_dns_names[i], &v, e))
			return -1;
	}
	t->dns = &t->fields[t->field_count - 1].value;
	return 0;
}

static int part_field_add(struct table *t, const struct table_part *part, const struct manifest_field *f, struct err *e)
{
	const struct manifest_field *length = NULL;
	struct value v;

	if (f->length_field >= 0) {
		if ((size_t)f->length_field >= part->count)
			return err_set(e, ERR_MANIFEST_VALUE, "field %s: no field %d tells its length", f->name,
				       f->length_field);
		length = &part->fields[f->length_field];
	}
	if (value_init(&v, f, length, part->offset, part->size, e))
		return err_wrap(e, "field %s", f->name);
	if (v.op == VALUE_ENUM && f->enum_index >= 0) {
		if ((size_t)f->enum_index >= t->enum_count)
			return err_set(e, ERR_MANIFEST_VALUE, "field %s: there is no enum %d", f->name, f->enum_index);
		v.names = t->enums[f->enum_index];
		v.is_signed = enum_names_signed(v.names);
	}
	return v.op == VALUE_DNS_NAME ? dns_add(t, v, e) : field_add(t, f->name, &v, e);
}

/* ---- the table ---- */

static int copy_source(struct table *t, const struct table_source *s, struct err *e)
{
	size_t fields = 0;

	for (size_t i = 0; i < s->part_count; i++)
		fields += s->parts[i].count;
	t->event = strdup(s->event);
	t->bundle = s->bundle ? strdup(s->bundle) : NULL;
	t->host = strdup(s->host);
	t->fields = calloc(4 * fields + 1, sizeof(*t->fields)); /* a DNS message is four */
	t->enums = calloc(s->enum_count + 1, sizeof(struct enum_names *));
	if (!t->event || !t->host || (s->bundle && !t->bundle) || !t->fields || !t->enums)
		return err_errno(e, ERR_NOMEM, "table of %zu fields", fields);
	for (size_t i = 0; i < s->enum_count; i++, t->enum_count++)
		if (enum_names_new(&s->enums[i], &t->enums[i], e))
			return -1;
	t->min_size = sizeof(struct obs_header);
	for (size_t i = 0; i < s->part_count; i++) {
		const struct table_part *part = &s->parts[i];
		if (part->offset + part->size > t->min_size)
			t->min_size = part->offset + part->size;
		for (size_t k = 0; k < part->count; k++)
			if (part_field_add(t, part, &part->fields[k], e))
				return -1;
	}
	return 0;
}

static int add_head(struct compiler *c, struct err *e)
{
	struct table *t = c->table;

	if (literal_add(t, "\",\"event\":", 10, e) || literal_add_string(t, t->event, strlen(t->event), e))
		return -1;
	if (t->bundle &&
	    (literal_add(t, ",\"bundle\":", 10, e) || literal_add_string(t, t->bundle, strlen(t->bundle), e)))
		return -1;
	if (literal_add(t, ",\"host\":", 8, e) || literal_add_string(t, t->host, strlen(t->host), e) ||
	    literal_add(t, ",\"seq\":", 7, e))
		return -1;
	t->head_size = (uint32_t)t->literals_size;
	c->pending = t->literals_size;
	return 0;
}

static int compile_steps(struct table *t, struct err *e)
{
	struct compiler c = {.table = t};
	int result = -1;

	if (node_new(&c.tree, "", 0, e) < 0 || add_head(&c, e))
		goto out;
	for (size_t i = 0; i < t->field_count; i++)
		if (tree_add(&c.tree, &t->fields[i], (int)i, e))
			goto out;
	if (compile_children(&c, 0, COMMA_YES, e) || literal_add(t, "}\n", 2, e) || flush_pending(&c, e))
		goto out;
	result = 0;
out:
	free(c.tree.nodes);
	return result;
}

static int measure(struct table *t, struct err *e)
{
	size_t total = sizeof("{\"time\":\"") + JSON_TIME_MAX + JSON_INT_MAX + t->literals_size + t->step_count;

	for (size_t i = 0; i < t->step_count; i++)
		if (t->steps[i].op == STEP_VALUE)
			total += value_write_max(&t->steps[i].value);
	if (total > EVENT_LINE_MAX_BYTES)
		return err_set(e, ERR_MANIFEST_VALUE, "a line could be of %zu bytes, more than %d", total,
			       EVENT_LINE_MAX_BYTES);
	t->line_max = total;
	return 0;
}

int table_compile(const struct table_source *source, struct table **out, struct err *e)
{
	OWN(table) struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return err_errno(e, ERR_NOMEM, "table");
	if (copy_source(t, source, e) || compile_steps(t, e) || measure(t, e))
		return err_wrap(e, "event %s", source->event);
	*out = TAKE_PTR(t);
	return 0;
}

void table_free(struct table **table)
{
	struct table *t = *table;

	if (!t)
		return;
	for (size_t i = 0; i < t->field_count; i++)
		free(t->fields[i].name);
	for (size_t i = 0; i < t->enum_count; i++)
		enum_names_free(&t->enums[i]);
	free(t->fields);
	free(t->enums);
	free(t->steps);
	free(t->literals);
	free(t->event);
	free(t->bundle);
	free(t->host);
	free(t);
	*table = NULL;
}

const char *table_event(const struct table *t)
{
	return t->event;
}

const char *table_bundle(const struct table *t)
{
	return t->bundle;
}

const char *table_host(const struct table *t)
{
	return t->host;
}

uint32_t table_min_size(const struct table *t)
{
	return t->min_size;
}

size_t table_line_max(const struct table *t)
{
	return t->line_max;
}

bool table_needs_kallsyms(const struct table *t)
{
	for (size_t i = 0; i < t->field_count; i++)
		if (t->fields[i].value.op == VALUE_KSTACK)
			return true;
	return false;
}

const struct value *table_find(const struct table *t, const char *name)
{
	for (size_t i = 0; i < t->field_count; i++)
		if (strcmp(t->fields[i].name, name) == 0)
			return &t->fields[i].value;
	return NULL;
}

bool table_makes_sense(const struct table *t, const uint8_t *record, size_t size)
{
	struct dns_message message;

	if (!t->dns || (t->dns->omit_zero && value_is_zero(t->dns, record, size)))
		return true;
	const uint8_t *at = record + t->dns->offset;
	size_t used = value_bytes(t->dns, record, size, at);
	return used == 0 || dns_parse(at, used, &message);
}

/* ---- formatting ---- */

static char *format_value(const struct table *t, const struct step *s, struct value_env *env, const uint8_t *record,
			  size_t size, char *p)
{
	char *start = p;

	if (s->value.omit_zero && value_is_zero(&s->value, record, size))
		return start;
	/* Only an object that has just been opened ends with a brace: no value does. */
	if (s->comma_maybe && p[-1] != '{')
		*p++ = ',';
	p = json_put_literal(p, t->literals + s->literal_at, s->literal_size);
	p = value_write(&s->value, env, record, size, p);
	return p ? p : start;
}

char *table_format(const struct table *t, struct value_env *env, uint64_t seq, const uint8_t *record, size_t size,
		   char *p)
{
	char *opened[FIELD_MAX_WORDS + 1] = {NULL};
	unsigned depth = 0;
	struct obs_header header;

	memcpy(&header, record, sizeof(header));
	env->dns_parsed = false;
	p = json_put_time(&env->clock, stpcpy(p, "{\"time\":\""), header.time_ns);
	p = json_put_literal(p, t->literals, t->head_size);
	p = json_put_u64(p, seq);
	for (const struct step *s = t->steps, *end = s + t->step_count; s < end; s++) {
		switch (s->op) {
		case STEP_LITERAL:
			p = json_put_literal(p, t->literals + s->literal_at, s->literal_size);
			break;
		case STEP_VALUE:
			p = format_value(t, s, env, record, size, p);
			break;
		case STEP_OPEN:
			opened[depth++] = p;
			if (s->comma_maybe && p[-1] != '{')
				*p++ = ',';
			p = json_put_literal(p, t->literals + s->literal_at, s->literal_size);
			break;
		default:
			depth--;
			assert(opened[depth]);
			if (p[-1] == '{')
				p = opened[depth];
			else
				*p++ = '}';
			break;
		}
	}
	return p;
}
