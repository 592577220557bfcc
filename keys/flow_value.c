#include "keys/flow_value.h"

#include <string.h>

const struct value value_any = {.kind = ANY};
const struct value value_memory = {.kind = MEMORY};

/* ---- values ---- */

struct value value_number(int64_t n)
{
	return (struct value){.kind = NUMBERS, .count = 1, .value = {n}};
}

static bool add_number(struct value *v, int64_t n)
{
	uint8_t at = 0;

	while (at < v->count && v->value[at] < n)
		at++;
	if (at < v->count && v->value[at] == n)
		return true;
	if (v->count == VALUES)
		return false;
	memmove(v->value + at + 1, v->value + at, (v->count - at) * sizeof(n));
	v->value[at] = n;
	v->count++;
	return true;
}

struct value value_join(const struct value *a, const struct value *b)
{
	struct value out = *a;

	if (a->kind == NOTHING)
		return *b;
	if (b->kind == NOTHING || value_equal(a, b))
		return *a;
	if (a->wide != b->wide)
		return value_any;
	if (a->kind <= OUTER && b->kind <= OUTER && (a->kind > NUMBERS || b->kind > NUMBERS))
		return (struct value){.kind = a->kind > b->kind ? a->kind : b->kind, .wide = a->wide};
	if (a->kind != b->kind || (a->kind != NUMBERS && a->kind != FRAME))
		return value_any;
	bool known = a->count && b->count;
	for (uint8_t i = 0; known && i < b->count; i++)
		known = add_number(&out, b->value[i]);
	if (known)
		return out;
	return (struct value){.kind = a->kind == FRAME ? FRAME : MEMORY, .wide = a->wide};
}

bool values_join(struct value *to, const struct value *from, size_t count)
{
	bool changed = false;

	if (memcmp(to, from, count * sizeof(*to)) == 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (value_equal(&from[i], &to[i]))
			continue;
		struct value joined = value_join(&to[i], &from[i]);
		if (value_equal(&joined, &to[i]))
			continue;
		to[i] = joined;
		changed = true;
	}
	return changed;
}

bool value_no_pointer(const struct value *v)
{
	return v->kind == NUMBERS || v->kind == MEMORY;
}

/* ---- the stack ---- */

void frame_clear(struct state *s)
{
	for (int i = 0; i < STACK_WORDS; i++)
		s->stack[i] = value_memory;
	s->first = STACK_WORDS;
}

bool frame_join(struct state *to, const struct state *from)
{
	int first = from->first < to->first ? from->first : to->first;

	to->first = first;
	return values_join(to->stack + first, from->stack + first, (size_t)(STACK_WORDS - first));
}

void frame_forget(struct state *s, bool pointers)
{
	if (pointers)
		s->first = 0;
	for (int i = s->first; i < STACK_WORDS; i++)
		if (pointers)
			s->stack[i] = value_any;
		else if (s->stack[i].kind == NUMBERS)
			s->stack[i] = (struct value){.kind = MEMORY, .wide = s->stack[i].wide};
}

/* Index of the 4-byte word at offset from the frame's top, -1 if unknown. */
static int stack_word(int64_t offset)
{
	if (offset < -(int64_t)STACK_WORDS * 4 || offset >= 0)
		return -1;
	return (int)((offset + (int64_t)STACK_WORDS * 4) / 4);
}

/* What is overwritten in part is no pointer any more. */
static void stack_clear_word(struct state *s, int word)
{
	if (s->stack[word].kind == UPPER && word > 0)
		s->stack[word - 1] = value_memory;
	if (s->stack[word].wide && word + 1 < STACK_WORDS)
		s->stack[word + 1] = value_memory;
	s->stack[word] = value_memory;
}

/* Numbers as 4 bytes of memory keep them; loads of 4 bytes extend them by zeros. */
static struct value lower_half(const struct value *v)
{
	struct value out = {.kind = NUMBERS};

	for (uint8_t i = 0; i < v->count; i++)
		add_number(&out, (int64_t)(uint32_t)v->value[i]);
	return out;
}

void frame_store(struct state *s, int64_t offset, unsigned size, const struct value *v)
{
	int word = stack_word(offset);

	if (word < 0 || offset % (int)size) {
		frame_forget(s, true);
		return;
	}
	if (word < s->first)
		s->first = word;
	stack_clear_word(s, word);
	if (size == 8) {
		stack_clear_word(s, word + 1);
		s->stack[word] = *v;
		s->stack[word].wide = true;
		s->stack[word + 1] = (struct value){.kind = UPPER};
	} else if (size == 4 && v->kind == NUMBERS) {
		s->stack[word] = lower_half(v);
	}
}

/* Somewhere in the stack. Only 8 bytes that may be a pointer can put one there; what was a pointer and is overwritten by
 * anything else is a number to the verifier, which lets nobody store through it. */
void frame_store_anywhere(struct state *s, unsigned size, const struct value *v)
{
	frame_forget(s, size == 8 && !value_no_pointer(v));
}

struct value frame_load(const struct state *s, int64_t offset, unsigned size)
{
	int word = stack_word(offset);
	struct value v;

	if (word < 0 || offset % (int)size)
		return value_any;
	v = s->stack[word];
	if ((size == 8 && v.wide) || (size == 4 && !v.wide && v.kind == NUMBERS)) {
		v.wide = false;
		return v;
	}
	/* Less than a whole pointer is a number. */
	if (size < 8 || (v.kind <= OUTER && s->stack[word + 1].kind <= OUTER))
		return value_memory;
	return value_any;
}

/* ---- instructions ---- */

static int64_t compute(uint8_t op, int64_t a, int64_t b, bool narrow, bool *known)
{
	uint64_t x = narrow ? (uint32_t)a : (uint64_t)a, y = narrow ? (uint32_t)b : (uint64_t)b, r = 0;
	unsigned bits = narrow ? 31 : 63;

	switch (op) {
	case BPF_MOV:
		r = y;
		break;
	case BPF_ADD:
		r = x + y;
		break;
	case BPF_SUB:
		r = x - y;
		break;
	case BPF_MUL:
		r = x * y;
		break;
	case BPF_OR:
		r = x | y;
		break;
	case BPF_AND:
		r = x & y;
		break;
	case BPF_XOR:
		r = x ^ y;
		break;
	case BPF_LSH:
		r = x << (y & bits);
		break;
	case BPF_RSH:
		r = x >> (y & bits);
		break;
	case BPF_ARSH:
		r = narrow ? (uint64_t)((int32_t)x >> (y & bits)) : (uint64_t)((int64_t)x >> (y & bits));
		break;
	case BPF_NEG:
		r = 0 - x;
		break;
	default:
		*known = false;
	}
	return narrow ? (int64_t)(uint32_t)r : (int64_t)r;
}

static struct value numbers(uint8_t op, const struct value *a, const struct value *b, bool narrow)
{
	struct value out = {.kind = NUMBERS};
	bool known = true;

	for (uint8_t i = 0; i < a->count; i++)
		for (uint8_t k = 0; k < b->count; k++)
			if (!add_number(&out, compute(op, a->value[i], b->value[k], narrow, &known)))
				known = false;
	return known ? out : value_memory;
}

struct value value_alu(const struct bpf_insn *insn, const struct value *dst, const struct value *src)
{
	uint8_t op = BPF_OP(insn->code);
	bool narrow = BPF_CLASS(insn->code) == BPF_ALU;

	/* Moves that extend signs or change the address space, divisions with signs. */
	if (insn->off)
		return value_any;
	if (op == BPF_MOV && src->kind == NUMBERS) {
		struct value zero = value_number(0);
		return numbers(op, &zero, src, narrow);
	}
	if (op == BPF_MOV)
		return narrow ? value_memory : *src;
	if (op != BPF_END && dst->kind == NUMBERS && src->kind == NUMBERS)
		return numbers(op, dst, src, narrow);
	/* The verifier makes a number of every pointer that is not added to or subtracted from. */
	if (narrow || (op != BPF_ADD && op != BPF_SUB))
		return value_memory;
	if (dst->kind == FRAME && src->kind <= OUTER) {
		struct value out = {.kind = ANY};
		if (src->kind == NUMBERS && dst->count)
			out = numbers(op, dst, src, false);
		return out.kind == NUMBERS ? (out.kind = FRAME, out) : (struct value){.kind = FRAME};
	}
	/* A pointer and a number are a pointer of that kind, which the verifier keeps in bounds. */
	if (dst->kind <= OUTER && src->kind <= OUTER)
		return (struct value){.kind = dst->kind == OUTER || src->kind == OUTER ? OUTER : MEMORY};
	if (dst->kind == CONTEXT && src->kind <= MEMORY)
		return *dst;
	if (op == BPF_ADD && src->kind == CONTEXT && dst->kind <= MEMORY)
		return *src;
	return value_any;
}
