#include "loader/worker/filter.h"

#include <string.h>

#include "loader/worker/dns.h"

enum test_kind {
	TEST_NUMBER, /* one whole number in the range least to most, or (negated) outside */
	TEST_GENERAL,
};

/* An operand that can be compared with the field. */
struct target {
	const struct operand *operand;
	uint64_t number; /* of an enum's name */
};

struct test {
	enum test_kind kind;
	enum request_op op;
	bool negate, of_seq;
	uint64_t least, range; /* NUMBER: unsigned (value - least) <= range */
	const struct value *value;
	const struct target *targets;
	size_t target_count;
};

struct filter {
	struct target *targets;
	size_t count;
	struct test tests[];
};

/* Of the record at hand: parsed once, whatever the conditions. */
struct dns {
	bool parsed, ok;
	struct dns_message message;
};

struct subject {
	const uint8_t *record;
	size_t size;
	struct dns *dns;
};

/* ---- comparing with one operand ---- */

static int compare(const struct value *v, uint64_t number, const struct operand *o)
{
	if (o->kind == OPERAND_INT) {
		if (v->is_signed)
			return ((int64_t)number > o->integer) - ((int64_t)number < o->integer);
		if (o->integer < 0)
			return 1;
		return (number > (uint64_t)o->integer) - (number < (uint64_t)o->integer);
	}
	double real = v->is_signed ? (double)(int64_t)number : (double)number;
	return (real > o->real) - (real < o->real);
}

static bool order_holds(enum request_op op, int order)
{
	switch (op) {
	case OP_LT:
		return order < 0;
	case OP_LE:
		return order <= 0;
	case OP_GT:
		return order > 0;
	case OP_GE:
		return order >= 0;
	default:
		return order == 0;
	}
}

static bool text_holds(enum request_op op, const struct operand *o, const char *text, size_t size)
{
	if (op == OP_GLOB)
		return request_glob(o->text, text, size);
	return o->text_size == size && memcmp(o->text, text, size) == 0;
}

static bool network_holds(const struct operand *o, const uint8_t *address, uint32_t size)
{
	uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
	unsigned whole = o->prefix_len / 8, rest = o->prefix_len % 8;

	if (size == 4) {
		memcpy(mapped + 12, address, 4);
		address = mapped;
	}
	if (memcmp(address, o->address, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ o->address[whole]) >> (8 - rest)) == 0;
}

/* ---- comparing with all of them ---- */

static bool number_in(const struct test *t, uint64_t number)
{
	for (size_t i = 0; i < t->target_count; i++) {
		const struct operand *o = t->targets[i].operand;
		if (o->kind == OPERAND_TEXT ? t->targets[i].number == number
					    : order_holds(t->op, compare(t->value, number, o)))
			return true;
	}
	return false;
}

static bool bool_in(const struct test *t, bool yes)
{
	for (size_t i = 0; i < t->target_count; i++)
		if (t->targets[i].operand->boolean == yes)
			return true;
	return false;
}

static bool text_in(const struct test *t, const char *text, size_t size)
{
	for (size_t i = 0; i < t->target_count; i++)
		if (text_holds(t->op, t->targets[i].operand, text, size))
			return true;
	return false;
}

static bool address_in(const struct test *t, const uint8_t *address)
{
	for (size_t i = 0; i < t->target_count; i++)
		if (network_holds(t->targets[i].operand, address, t->value->size))
			return true;
	return false;
}

/* The element's text as it would be shown, for values that are shown as text but are none in the record. */
static bool shown_in(const struct test *t, const uint8_t *at)
{
	char text[JSON_IP_MAX + JSON_SLACK], *end = text;
	const struct value *v = t->value;

	if (v->op == VALUE_IP)
		end = v->size == 4 ? json_put_ip4(text, at) : json_put_ip6(text, at);
	else if (v->op == VALUE_MAC)
		end = json_put_mac(text, at);
	else if (v->op == VALUE_HEX_NUMBER)
		end = json_put_hex_number(text, value_number(v, at));
	return text_in(t, text, (size_t)(end - text));
}

static bool enum_in(const struct test *t, uint64_t number)
{
	if (t->op != OP_GLOB)
		return number_in(t, number);
	const char *name = enum_names_name(t->value->names, (int64_t)number);
	return name && text_in(t, name, strlen(name));
}

static bool element_holds(const struct test *t, const struct subject *s, const uint8_t *at)
{
	const struct value *v = t->value;

	switch (v->op) {
	case VALUE_UINT:
	case VALUE_INT:
		return number_in(t, value_number(v, at));
	case VALUE_BOOL:
		return bool_in(t, value_number(v, at) != 0);
	case VALUE_ENUM:
		return enum_in(t, value_number(v, at));
	case VALUE_CHARS:
		return text_in(t, (const char *)at, value_bytes(v, s->record, s->size, at));
	case VALUE_IP:
		return t->op == OP_GLOB ? shown_in(t, at) : address_in(t, at);
	default:
		return shown_in(t, at);
	}
}

/* ---- DNS ---- */

static bool dns_answers_hold(const struct test *t, const struct dns_message *m)
{
	char text[DNS_ANSWER_TEXT];
	size_t at = m->answers_at;
	unsigned left = m->answers;

	for (unsigned shown = 0; shown < DNS_MAX_ANSWERS && dns_next_answer(m, &at, &left, text); shown++)
		if (text_in(t, text, strlen(text)))
			return true;
	return false;
}

static bool dns_holds(const struct test *t, const struct subject *s)
{
	char text[DNS_TYPE_TEXT > DNS_CODE_TEXT ? DNS_TYPE_TEXT : DNS_CODE_TEXT];
	const struct dns_message *m = &s->dns->message;
	const struct value *v = t->value;

	if (!s->dns->parsed) {
		const uint8_t *at = s->record + v->offset;
		s->dns->ok = dns_parse(at, value_bytes(v, s->record, s->size, at), &s->dns->message);
		s->dns->parsed = true;
	}
	if (!s->dns->ok)
		return false;
	if (v->op == VALUE_DNS_NAME)
		return text_in(t, m->name, strlen(m->name));
	if (v->op == VALUE_DNS_TYPE) {
		dns_type_text(m->type, text);
		return text_in(t, text, strlen(text));
	}
	if (!m->is_response)
		return false;
	if (v->op == VALUE_DNS_ANSWERS)
		return dns_answers_hold(t, m);
	dns_code_text(m->code, text);
	return text_in(t, text, strlen(text));
}

/* ---- compiling ---- */

/* An enum's name becomes its number, except in a pattern. */
static bool comparable_enum(const struct value *v, enum request_op op, const struct operand *o, uint64_t *number)
{
	int64_t named;

	if (o->kind != OPERAND_TEXT)
		return o->kind == OPERAND_INT || o->kind == OPERAND_REAL;
	if (!v->names)
		return false;
	if (op == OP_GLOB)
		return true;
	if (!enum_names_number(v->names, o->text, &named))
		return false;
	*number = (uint64_t)named;
	return true;
}

static bool comparable(const struct value *v, enum request_op op, const struct operand *o, uint64_t *number)
{
	switch (v->op) {
	case VALUE_UINT:
	case VALUE_INT:
		return o->kind == OPERAND_INT || o->kind == OPERAND_REAL;
	case VALUE_BOOL:
		return o->kind == OPERAND_BOOL;
	case VALUE_ENUM:
		return comparable_enum(v, op, o, number);
	case VALUE_IP:
		return o->kind == OPERAND_TEXT && (o->is_network || op == OP_GLOB);
	case VALUE_HEX: /* of any length, shown as text: not worth a search */
	case VALUE_TIME:
	case VALUE_KSTACK:
	case VALUE_LOG2:
	case VALUE_LINEAR:
		return false;
	default:
		return o->kind == OPERAND_TEXT;
	}
}

/* Whole numbers compared with whole numbers, by far the most common, become one subtraction and comparison. */
static void make_number(struct test *t)
{
	const struct operand *o = t->targets[0].operand;
	const struct value *v = t->value;
	enum request_op op = t->op;
	uint64_t lowest = v->is_signed ? (uint64_t)INT64_MIN : 0, highest = v->is_signed ? INT64_MAX : UINT64_MAX;
	uint64_t number = (uint64_t)o->integer;

	if ((v->op != VALUE_UINT && v->op != VALUE_INT) || v->count || v->omit_zero || o->kind != OPERAND_INT ||
	    t->target_count != 1 || op == OP_IN || (!v->is_signed && o->integer < 0))
		return;
	t->kind = TEST_NUMBER;
	t->negate = op == OP_NE || op == OP_LT || op == OP_GT;
	if (op == OP_EQ || op == OP_NE) {
		t->least = number;
		t->range = 0;
	} else if (op == OP_LE || op == OP_GT) {
		t->least = lowest;
		t->range = number - lowest;
	} else {
		t->least = number;
		t->range = highest - number;
	}
}

/* Conditions on the envelope's texts are decided here, once. */
static bool envelope_text(const struct table *t, const char *field, const char **text)
{
	if (strcmp(field, "event") == 0)
		*text = table_event(t);
	else if (strcmp(field, "host") == 0)
		*text = table_host(t);
	else if (strcmp(field, "bundle") == 0 && table_bundle(t))
		*text = table_bundle(t);
	else
		return false;
	return true;
}

static bool envelope_holds(const struct condition *c, const char *text)
{
	for (size_t i = 0; i < c->value_count; i++)
		if (c->values[i].kind == OPERAND_TEXT && text_holds(c->op, &c->values[i], text, strlen(text)))
			return c->op != OP_NE;
	return c->op == OP_NE;
}

/* False: no record of the event can hold. */
static bool compile_condition(struct filter *f, const struct condition *c, const struct table *t,
			      struct target *targets)
{
	/* Read from the number itself, which is no part of the record. */
	static const struct value seq = {.op = VALUE_UINT, .size = sizeof(uint64_t)};
	bool of_seq = strcmp(c->field, "seq") == 0;
	const struct value *v = of_seq ? &seq : table_find(t, c->field);
	struct test test = {.op = c->op, .negate = c->op == OP_NE, .of_seq = of_seq, .value = v, .targets = targets};
	const char *text;

	if (!v && envelope_text(t, c->field, &text))
		return envelope_holds(c, text);
	for (size_t i = 0; v && i < c->value_count; i++) {
		struct target *target = &targets[test.target_count];
		*target = (struct target){.operand = &c->values[i]};
		test.target_count += comparable(v, c->op, target->operand, &target->number);
	}
	if (test.target_count == 0)
		return test.negate;
	test.kind = TEST_GENERAL;
	make_number(&test);
	f->tests[f->count++] = test;
	return true;
}

int filter_compile(const struct request *r, const struct table *t, struct filter **out, bool *never, struct err *e)
{
	OWN(filter) struct filter *f = calloc(1, sizeof(*f) + r->condition_count * sizeof(f->tests[0]));
	size_t operands = 0;

	for (size_t i = 0; i < r->condition_count; i++)
		operands += r->conditions[i].value_count;
	if (f)
		f->targets = calloc(operands + 1, sizeof(*f->targets));
	if (!f || !f->targets)
		return err_errno(e, ERR_NOMEM, "filter of %zu values", operands);
	struct target *free_targets = f->targets;
	*never = false;
	for (size_t i = 0; i < r->condition_count; i++) {
		*never |= !compile_condition(f, &r->conditions[i], t, free_targets);
		free_targets += r->conditions[i].value_count;
	}
	*out = *never || f->count == 0 ? NULL : TAKE_PTR(f);
	return 0;
}

void filter_free(struct filter **f)
{
	if (*f)
		free((*f)->targets);
	free(*f);
	*f = NULL;
}

/* ---- evaluating ---- */

static bool general_holds(const struct test *t, const struct subject *s)
{
	const struct value *v = t->value;

	/* Left out of the event, so not there. */
	if (v->omit_zero && value_is_zero(v, s->record, s->size))
		return t->negate;
	if (v->op >= VALUE_DNS_NAME)
		return dns_holds(t, s) != t->negate;
	const uint8_t *at = s->record + v->offset;
	size_t elements = value_elements(v, s->record);
	for (size_t i = 0; i < elements; i++, at += v->stride)
		if (element_holds(t, s, at))
			return !t->negate;
	return t->negate;
}

bool filter_matches(const struct filter *f, uint64_t seq, const uint8_t *record, size_t size)
{
	struct dns dns;
	const struct subject fields = {.record = record, .size = size, .dns = &dns};
	const struct subject number_of = {.record = (const uint8_t *)&seq, .size = sizeof(seq), .dns = &dns};

	dns.parsed = false;
	for (size_t i = 0; i < f->count; i++) {
		const struct test *t = &f->tests[i];
		const struct subject *s = t->of_seq ? &number_of : &fields;
		if (t->kind == TEST_NUMBER) {
			uint64_t number = value_number(t->value, s->record + t->value->offset);
			if ((number - t->least <= t->range) == t->negate)
				return false;
		} else if (!general_holds(t, s)) {
			return false;
		}
	}
	return true;
}
