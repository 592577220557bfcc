#include "loader/worker/filter.h"

#include <string.h>

#include "loader/worker/dns.h"

enum test_kind {
	TEST_NUMBER, /* one whole number in the range least to most, or (negated) outside */
	TEST_GENERAL,
};

struct test {
	enum test_kind kind;
	bool negate;
	uint64_t least, range; /* NUMBER: unsigned (value - least) <= range */
	const struct value *value;
	const struct condition *condition;
};

struct filter {
	size_t count;
	struct test tests[];
};

/* ---- comparing one element with one operand ---- */

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
	return strlen(o->text) == size && memcmp(o->text, text, size) == 0;
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

/* The element's text as it would be shown, for values that are shown as text but are none in the record. */
static bool shown_holds(enum request_op op, const struct operand *o, const struct value *v, const uint8_t *at)
{
	char text[JSON_IP_MAX + JSON_SLACK], *end = text;

	if (v->op == VALUE_IP)
		end = v->size == 4 ? json_put_ip4(text, at) : json_put_ip6(text, at);
	else if (v->op == VALUE_MAC)
		end = json_put_mac(text, at);
	else if (v->op == VALUE_HEX_NUMBER)
		end = json_put_hex_number(text, value_number(v, at));
	return text_holds(op, o, text, (size_t)(end - text));
}

static bool enum_holds(enum request_op op, const struct operand *o, const struct value *v, uint64_t number)
{
	const char *name = v->names ? enum_names_name(v->names, (int64_t)number) : NULL;

	if (o->kind != OPERAND_TEXT)
		return order_holds(op, compare(v, number, o));
	return name && text_holds(op, o, name, strlen(name));
}

static bool element_holds(enum request_op op, const struct operand *o, const struct value *v, const uint8_t *record,
			  size_t size, const uint8_t *at)
{
	switch (v->op) {
	case VALUE_UINT:
	case VALUE_INT:
		return order_holds(op, compare(v, value_number(v, at), o));
	case VALUE_BOOL:
		return (value_number(v, at) != 0) == o->boolean;
	case VALUE_ENUM:
		return enum_holds(op, o, v, value_number(v, at));
	case VALUE_CHARS:
		return text_holds(op, o, (const char *)at, value_bytes(v, record, size, at));
	case VALUE_IP:
		if (op != OP_GLOB)
			return network_holds(o, at, v->size);
		return shown_holds(op, o, v, at);
	default:
		return shown_holds(op, o, v, at);
	}
}

/* ---- DNS ---- */

static bool dns_answers_hold(enum request_op op, const struct operand *o, const struct dns_message *m)
{
	char text[DNS_ANSWER_TEXT];
	size_t at = m->answers_at;
	unsigned left = m->answers;

	for (unsigned shown = 0; shown < DNS_MAX_ANSWERS && dns_next_answer(m, &at, &left, text); shown++)
		if (text_holds(op, o, text, strlen(text)))
			return true;
	return false;
}

static bool dns_holds(enum request_op op, const struct operand *o, const struct value *v, const uint8_t *record,
		      size_t size)
{
	char text[DNS_TYPE_TEXT > DNS_CODE_TEXT ? DNS_TYPE_TEXT : DNS_CODE_TEXT];
	const uint8_t *at = record + v->offset;
	struct dns_message m;

	if (!dns_parse(at, value_bytes(v, record, size, at), &m))
		return false;
	if (v->op == VALUE_DNS_NAME)
		return text_holds(op, o, m.name, strlen(m.name));
	if (v->op == VALUE_DNS_TYPE) {
		dns_type_text(m.type, text);
		return text_holds(op, o, text, strlen(text));
	}
	if (!m.is_response)
		return false;
	if (v->op == VALUE_DNS_ANSWERS)
		return dns_answers_hold(op, o, &m);
	dns_code_text(m.code, text);
	return text_holds(op, o, text, strlen(text));
}

/* ---- compiling ---- */

static bool comparable(const struct value *v, enum request_op op, const struct operand *o)
{
	bool number = o->kind == OPERAND_INT || o->kind == OPERAND_REAL;

	switch (v->op) {
	case VALUE_UINT:
	case VALUE_INT:
		return number;
	case VALUE_BOOL:
		return o->kind == OPERAND_BOOL;
	case VALUE_ENUM:
		return number || o->kind == OPERAND_TEXT;
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
	const struct operand *o = &t->condition->values[0];
	const struct value *v = t->value;
	enum request_op op = t->condition->op;
	uint64_t lowest = v->is_signed ? (uint64_t)INT64_MIN : 0, highest = v->is_signed ? INT64_MAX : UINT64_MAX;
	uint64_t number = (uint64_t)o->integer;

	if ((v->op != VALUE_UINT && v->op != VALUE_INT) || v->count || v->omit_zero || o->kind != OPERAND_INT ||
	    t->condition->value_count != 1 || op == OP_IN || (!v->is_signed && o->integer < 0))
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

int filter_compile(const struct request *r, const struct table *t, struct filter **out, bool *never, struct err *e)
{
	OWN(filter) struct filter *f = calloc(1, sizeof(*f) + r->condition_count * sizeof(f->tests[0]));

	if (!f)
		return err_errno(e, ERR_NOMEM, "filter");
	*never = false;
	for (size_t i = 0; i < r->condition_count; i++) {
		const struct condition *c = &r->conditions[i];
		const struct value *v = table_find(t, c->field);
		const char *text;
		bool any = false;

		if (!v && envelope_text(t, c->field, &text)) {
			if (!envelope_holds(c, text))
				*never = true;
			continue;
		}
		for (size_t k = 0; v && k < c->value_count; k++)
			any |= comparable(v, c->op, &c->values[k]);
		if (!any) {
			if (c->op != OP_NE)
				*never = true;
			continue;
		}
		struct test *test = &f->tests[f->count++];
		*test = (struct test){.kind = TEST_GENERAL, .value = v, .condition = c, .negate = c->op == OP_NE};
		make_number(test);
	}
	*out = *never || f->count == 0 ? NULL : TAKE_PTR(f);
	return 0;
}

void filter_free(struct filter **f)
{
	free(*f);
	*f = NULL;
}

/* ---- evaluating ---- */

static bool operand_holds(const struct test *t, const struct operand *o, const uint8_t *record, size_t size)
{
	const struct value *v = t->value;
	enum request_op op = t->condition->op;
	const uint8_t *at = record + v->offset;

	if (!comparable(v, op, o))
		return false;
	if (v->op >= VALUE_DNS_NAME)
		return dns_holds(op, o, v, record, size);
	size_t elements = value_elements(v, record);
	for (size_t i = 0; i < elements; i++, at += v->stride)
		if (element_holds(op, o, v, record, size, at))
			return true;
	return false;
}

static bool general_holds(const struct test *t, const uint8_t *record, size_t size)
{
	const struct condition *c = t->condition;
	bool any = false;

	/* Left out of the event, so not there. */
	if (t->value->omit_zero && value_is_zero(t->value, record, size))
		return t->negate;
	for (size_t i = 0; i < c->value_count && !any; i++)
		any = operand_holds(t, &c->values[i], record, size);
	return any != t->negate;
}

bool filter_matches(const struct filter *f, const uint8_t *record, size_t size)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct test *t = &f->tests[i];
		if (t->kind == TEST_NUMBER) {
			uint64_t number = value_number(t->value, record + t->value->offset);
			if ((number - t->least <= t->range) == t->negate)
				return false;
		} else if (!general_holds(t, record, size)) {
			return false;
		}
	}
	return true;
}
