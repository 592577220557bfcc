#include "keys/flow.h"

#include <stdlib.h>
#include <string.h>

#include "bundles/base/own.h"
#include "keys/flow_insn.h"
#include "keys/flow_value.h"

/* Past these bounds nothing is proven: the answer is "any" and both flags. */
enum {
	MAX_INSNS = 1 << 16,
	MAX_LABELS = 1 << 13, /* jump targets of one function */
	MAX_STEPS = 1 << 22,  /* instructions looked at, over all rounds */
};

/* Functions of .text that a program calls, with all that they may be given. */
struct callees {
	const struct code *code;
	/* A called function put what may be a pointer into its caller's stack. Found out at the end: then all is done again
	 * with `wary` set, and each call makes its caller forget all of its stack. */
	bool planted, wary;
	struct state *states; /* of the labels of the function that is looked at; memory stays for the next one */
	size_t room;
	struct callee {
		struct value argument[6]; /* r1 to r5 */
		bool reached, pending;
	} * function; /* by index in code */
};

struct analysis {
	const struct code_section *section;
	size_t first, count;
	uint16_t *label; /* by instruction: which of the states, from 1; 0 where no jump goes */
	size_t labels;
	uint8_t *pending;
	size_t steps;
	bool lost; /* bounds passed, or something that is not known here */
	struct flow *flow;
	struct callees *callees;
};

static bool lose(struct analysis *a)
{
	a->lost = true;
	return false;
}

/* A CO-RE relocation may change it. */
static unsigned access_size(const struct bpf_insn *insn, uint8_t mark)
{
	static const unsigned sizes[] = {4, 2, 1, 8};

	return mark & CODE_CORE ? 8 : sizes[BPF_SIZE(insn->code) >> 3];
}

static void store(struct analysis *a, struct state *s, const struct bpf_insn *insn, uint8_t mark, const struct value *v)
{
	const struct value *to = &s->reg[insn->dst_reg];
	unsigned size = access_size(insn, mark);

	if (to->kind == CONTEXT)
		a->flow->writes_context = true;
	/* A CO-RE relocation changes the offset. */
	if (to->kind == FRAME && to->count == 1 && !(mark & CODE_CORE))
		frame_store(s, to->value[0] + insn->off, size, v);
	else if (to->kind == FRAME || to->kind == ANY)
		frame_store_anywhere(s, size, v);
	if ((to->kind == OUTER || to->kind == ANY) && size == 8 && !value_no_pointer(v))
		a->callees->planted = true;
	if (to->kind == ANY)
		a->flow->writes_memory = true;
}

static struct value load(const struct state *s, const struct bpf_insn *insn, uint8_t mark)
{
	const struct value *from = &s->reg[insn->src_reg];
	unsigned size = access_size(insn, mark);

	if (from->kind == FRAME && from->count == 1 && !(mark & CODE_CORE) && BPF_MODE(insn->code) == BPF_MEM)
		return frame_load(s, from->value[0] + insn->off, size);
	/* The context gives pointers to the packet, also as 4 bytes. Elsewhere only a stack holds pointers of that kind. */
	if (from->kind <= MEMORY || ((from->kind == FRAME || from->kind == OUTER) && size < 8))
		return value_memory;
	return value_any;
}

/* Helpers that run a function of the object, which may get the address of this stack. */
static bool calls_back(int32_t helper)
{
	return helper == BPF_FUNC_for_each_map_elem || helper == BPF_FUNC_loop || helper == BPF_FUNC_find_vma ||
	       helper == BPF_FUNC_user_ringbuf_drain;
}

/* r: what r1 to r5 hold. */
static void reach(struct analysis *a, uint32_t callee, const struct value *r)
{
	const struct code *code = a->callees->code;
	size_t f = 0;

	while (f < code->function_count &&
	       (!code->functions[f].section->text || code->functions[f].first + 1 != callee))
		f++;
	if (callee == 0 || f == code->function_count) {
		a->lost = true;
		return;
	}
	struct callee *to = &a->callees->function[f];
	for (int i = 1; i <= 5; i++) {
		struct value given = r[i];
		if (given.kind == FRAME)
			given = (struct value){.kind = OUTER};
		struct value joined = value_join(&to->argument[i], &given);
		if (to->reached && value_equal(&joined, &to->argument[i]))
			continue;
		to->argument[i] = joined;
		to->pending = true;
	}
	to->reached = true;
}

/* A function whose address is taken is called back by a helper: with numbers, map values, kernel objects, and what the
 * helper was given, which the verifier demands to be on the stack. */
static const struct value callback_arguments[6] = {
    {.kind = OUTER}, {.kind = OUTER}, {.kind = OUTER}, {.kind = OUTER}, {.kind = OUTER}, {.kind = OUTER},
};

static void call(struct analysis *a, struct state *s, size_t at)
{
	const struct bpf_insn *insn = &a->section->insn[a->first + at];
	bool helper = insn->src_reg == 0 && !(a->section->mark[a->first + at] & CODE_RELOCATED);
	uint32_t callee = a->section->callee[a->first + at];

	if (!helper && !(a->section->mark[a->first + at] & CODE_EXTERN))
		reach(a, callee, s->reg);
	for (int r = 0; r <= 5; r++)
		s->reg[r] = value_any;
	/* It may have written numbers through a pointer to the stack; a function of the object also pointers. */
	frame_forget(s, a->callees->wary && (!helper || calls_back(insn->imm)));
	if (!helper)
		return;
	if (insn->imm == BPF_FUNC_tail_call)
		a->flow->any = true;
	s->reg[0] = value_memory; /* no helper returns a pointer to a packet, the context or a stack */
}

/* ---- the order of things ---- */

static struct state *state_at(const struct analysis *a, size_t at)
{
	return a->label[at] ? &a->callees->states[a->label[at] - 1] : NULL;
}

static bool add_label(struct analysis *a, size_t at, const struct state *s)
{
	struct callees *c = a->callees;

	if (a->labels == MAX_LABELS)
		return false;
	if (a->labels == c->room) {
		size_t room = c->room ? 2 * c->room : 32;
		struct state *grown = reallocarray(c->states, room, sizeof(*grown));
		if (!grown)
			return false;
		c->states = grown;
		c->room = room;
	}
	c->states[a->labels] = *s;
	a->label[at] = (uint16_t)++a->labels;
	return true;
}

static void flow_to(struct analysis *a, size_t target, const struct state *s)
{
	struct state *known;

	if (target >= a->count) {
		a->lost = true;
		return;
	}
	known = state_at(a, target);
	if (!known) {
		a->lost |= !add_label(a, target, s);
		a->pending[target] = 1;
		return;
	}
	bool changed = values_join(known->reg, s->reg, REGISTERS);
	if (frame_join(known, s) || changed)
		a->pending[target] = 1;
}

static void end(struct analysis *a, const struct state *s)
{
	const struct value *r0 = &s->reg[0];

	if (r0->kind != NUMBERS) {
		a->flow->any = true;
		return;
	}
	for (uint8_t i = 0; i < r0->count; i++) {
		int32_t n = (int32_t)r0->value[i];
		size_t at = 0;
		while (at < a->flow->count && a->flow->value[at] != n)
			at++;
		if (at < a->flow->count)
			continue;
		if (at == FLOW_VALUES)
			a->flow->any = true;
		else
			a->flow->value[a->flow->count++] = n;
	}
}

/* A condition: both ways are followed. */
static void branch(struct analysis *a, struct state *s, size_t at, const struct bpf_insn *insn)
{
	uint8_t op = BPF_OP(insn->code);
	bool wide = BPF_CLASS(insn->code) == BPF_JMP;
	struct value before = s->reg[insn->dst_reg];
	bool with_number = BPF_SRC(insn->code) == BPF_K && wide && !(a->section->mark[a->first + at] & CODE_CORE);

	if (op == BPF_JEQ && with_number)
		s->reg[insn->dst_reg] = value_number(insn->imm);
	flow_to(a, at + 1 + (size_t)(int64_t)insn->off, s);
	s->reg[insn->dst_reg] = before;
	if (op == BPF_JNE && with_number)
		s->reg[insn->dst_reg] = value_number(insn->imm);
}

/* ---- one instruction: whether the next one follows ---- */

static void step_alu(struct state *s, const struct bpf_insn *insn, uint8_t mark)
{
	struct value operand = BPF_SRC(insn->code) == BPF_X ? s->reg[insn->src_reg] : value_number(insn->imm);

	if ((mark & CODE_CORE) && BPF_SRC(insn->code) == BPF_K)
		operand = value_memory; /* the target kernel's number */
	s->reg[insn->dst_reg] = value_alu(insn, &s->reg[insn->dst_reg], &operand);
}

static void step_store(struct analysis *a, struct state *s, const struct bpf_insn *insn, uint8_t mark)
{
	struct value v = value_memory;

	if (BPF_CLASS(insn->code) == BPF_ST && !(mark & CODE_CORE))
		v = value_number(insn->imm);
	else if (BPF_CLASS(insn->code) == BPF_STX && BPF_MODE(insn->code) == BPF_MEM)
		v = s->reg[insn->src_reg];
	store(a, s, insn, mark, &v);
	if (BPF_MODE(insn->code) != BPF_ATOMIC)
		return;
	/* They may give the old value to a register. */
	if (insn->imm == BPF_CMPXCHG)
		s->reg[0] = value_any;
	else if (insn->imm & BPF_FETCH)
		s->reg[insn->src_reg] = value_any;
}

static bool step_wide_load(struct analysis *a, struct state *s, size_t *at)
{
	const struct bpf_insn *insn = &a->section->insn[a->first + *at];
	uint8_t mark = a->section->mark[a->first + *at];

	if (insn->src_reg && !(mark & CODE_RELOCATED))
		return lose(a);
	/* With a relocation: a map, a variable, a function. None can be a packet. */
	if (a->section->callee[a->first + *at])
		reach(a, a->section->callee[a->first + *at], callback_arguments);
	else if (insn->src_reg == BPF_PSEUDO_FUNC)
		return lose(a);
	if (mark & CODE_RELOCATED)
		s->reg[insn->dst_reg] = value_memory;
	else if (mark & CODE_CORE)
		s->reg[insn->dst_reg] = value_any;
	else
		s->reg[insn->dst_reg] =
		    value_number((int64_t)((uint64_t)(uint32_t)insn[1].imm << 32 | (uint32_t)insn->imm));
	++*at;
	return true;
}

/* The old packet loads; they may also end the program with 0. */
static void step_packet_load(struct analysis *a, struct state *s)
{
	for (int r = 0; r <= 5; r++)
		s->reg[r] = value_any;
	end(a, &(struct state){.reg[0] = value_number(0)});
}

static bool step_jump(struct analysis *a, struct state *s, size_t at, const struct bpf_insn *insn)
{
	switch (insn->code) {
	case BPF_JMP | BPF_EXIT:
		end(a, s);
		return false;
	case BPF_JMP | BPF_CALL:
		call(a, s, at);
		return true;
	case BPF_JMP | BPF_JA:
	case BPF_JMP32 | BPF_JA:
		flow_to(a, at + 1 + (size_t)(int64_t)(BPF_CLASS(insn->code) == BPF_JMP ? insn->off : insn->imm), s);
		return false;
	case BPF_JMP | FLOW_JCOND:
		flow_to(a, at + 1 + (size_t)(int64_t)insn->off, s);
		return true;
	default:
		branch(a, s, at, insn);
		return true;
	}
}

/* *at moves on. */
static bool step(struct analysis *a, struct state *s, size_t *at)
{
	const struct bpf_insn *insn = &a->section->insn[a->first + *at];
	uint8_t mark = a->section->mark[a->first + *at];
	bool more = true;

	if (insn->dst_reg >= REGISTERS || insn->src_reg >= REGISTERS || !flow_insn_known(insn, *at + 1 < a->count))
		return lose(a);
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		step_alu(s, insn, mark);
		break;
	case BPF_LDX:
		s->reg[insn->dst_reg] = load(s, insn, mark);
		break;
	case BPF_ST:
	case BPF_STX:
		step_store(a, s, insn, mark);
		break;
	case BPF_LD:
		if (BPF_MODE(insn->code) == BPF_IMM)
			more = step_wide_load(a, s, at);
		else
			step_packet_load(a, s);
		break;
	default: /* BPF_JMP, BPF_JMP32 */
		more = step_jump(a, s, *at, insn);
	}
	++*at;
	return more;
}

static void run_from(struct analysis *a, size_t at)
{
	struct state s = *state_at(a, at);
	bool more = true;

	for (bool first = true; more && !a->lost; first = false) {
		if (at >= a->count || ++a->steps > MAX_STEPS) {
			a->lost = true;
			return;
		}
		if (!first && a->label[at]) {
			flow_to(a, at, &s);
			return;
		}
		more = step(a, &s, &at);
	}
}

/* arguments: of r1 to r5 at the start. */
static int analyse(struct analysis *a, const struct value *arguments, struct err *e)
{
	struct state *start = calloc(1, sizeof(*start));
	bool work = true;

	if (!start)
		return err_errno(e, ERR_NOMEM, "flow");
	for (int r = 0; r < REGISTERS; r++)
		start->reg[r] = r >= 1 && r <= 5 ? arguments[r] : value_any;
	frame_clear(start);
	start->reg[10] = (struct value){.kind = FRAME, .count = 1};
	flow_to(a, 0, start);
	free(start);
	while (work && !a->lost) {
		work = false;
		for (size_t at = 0; at < a->count && !a->lost; at++) {
			if (!a->pending[at])
				continue;
			a->pending[at] = 0;
			work = true;
			run_from(a, at);
		}
	}
	return 0;
}

static int flow_of_function(struct callees *callees, const struct code_function *f, const struct value *arguments,
			    struct flow *flow, struct err *e)
{
	struct analysis a = {
	    .section = f->section, .first = f->first, .count = f->count, .flow = flow, .callees = callees};
	int status = 0;

	if (f->count > MAX_INSNS) {
		a.lost = true;
	} else {
		a.label = calloc(f->count + 1, sizeof(*a.label));
		a.pending = calloc(f->count + 1, 1);
		status = a.label && a.pending ? analyse(&a, arguments, e) : err_errno(e, ERR_NOMEM, "flow");
	}
	free(a.label);
	free(a.pending);
	if (a.lost)
		flow->any = flow->writes_context = flow->writes_memory = true;
	return status;
}

/* What a called function returns is nothing to the caller's verdict: there it counts as anything. */
static int flow_of_callees(struct callees *callees, struct flow *flow, struct err *e)
{
	bool work = true;

	while (work && !(flow->writes_memory && flow->writes_context)) {
		work = false;
		for (size_t i = 0; i < callees->code->function_count; i++) {
			struct callee *c = &callees->function[i];
			struct flow called = {0};
			if (!c->pending)
				continue;
			c->pending = false;
			work = true;
			if (flow_of_function(callees, &callees->code->functions[i], c->argument, &called, e))
				return -1;
			flow->writes_memory |= called.writes_memory;
			flow->writes_context |= called.writes_context;
		}
	}
	return 0;
}

/* bpf_throw ends the program with a number of the caller's, from whatever function. */
static bool throws(const struct code *code)
{
	for (size_t i = 0; i < code->extern_count; i++)
		if (strcmp(code->externs[i].name, "bpf_throw") == 0)
			return true;
	return false;
}

static int flow_once(struct callees *callees, const char *name, struct flow *flow, struct err *e)
{
	const struct value arguments[6] = {value_any, {.kind = CONTEXT}, value_any, value_any, value_any, value_any};
	const struct code *code = callees->code;
	bool found = false;

	*flow = (struct flow){.any = throws(code)};
	/* A forged ELF may have several of that name: what any of them does, counts. */
	for (size_t i = 0; i < code->function_count; i++) {
		const struct code_function *f = &code->functions[i];
		if (strcmp(f->name, name) != 0 || f->section->text)
			continue;
		found = true;
		if (flow_of_function(callees, f, arguments, flow, e))
			return -1;
	}
	if (!found)
		return err_set(e, ERR_OBJECT_MALFORMED, "no function %s", name);
	return flow_of_callees(callees, flow, e);
}

static int flow_twice(struct callees *callees, const char *name, struct flow *flow, struct err *e)
{
	if (flow_once(callees, name, flow, e))
		return -1;
	if (!callees->planted)
		return 0;
	memset(callees->function, 0, callees->code->function_count * sizeof(*callees->function));
	callees->wary = true;
	return flow_once(callees, name, flow, e);
}

int flow_of_program(const struct code *code, const char *name, struct flow *out, struct err *e)
{
	OWN_FREE struct callee *function = calloc(code->function_count + 1, sizeof(*function));
	struct callees callees = {.code = code, .function = function};
	struct flow flow;

	if (!function)
		return err_errno(e, ERR_NOMEM, "flow");
	int status = flow_twice(&callees, name, &flow, e);
	free(callees.states);
	if (status)
		return -1;
	*out = flow;
	return 0;
}
