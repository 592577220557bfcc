#include "keys/capabilities.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "keys/flow.h"

enum { WORD_BYTES = 512 };

/* The kernel's own list, closed since Linux 6.2: new functions are kfuncs. */
#define HELPER_NAME(name) #name
static const char *const helper_names[] = {__BPF_FUNC_MAPPER(HELPER_NAME)};

static const char *helper_name(uint32_t id)
{
	if (id < ARRAY_LEN(helper_names))
		return helper_names[id];
	/* Not in the headers of Debian 12; both sides of the gate must say the same. */
	if (id == 210)
		return "cgrp_storage_get";
	return id == 211 ? "cgrp_storage_delete" : NULL;
}

/* ---- the set ---- */

static size_t lower_bound(const struct capabilities *caps, const char *word)
{
	size_t low = 0, high = caps->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(caps->word[middle], word) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int capabilities_add(struct capabilities *caps, const char *word, struct err *e)
{
	size_t at = lower_bound(caps, word);
	OWN_FREE char *copy = NULL;

	if (at < caps->count && strcmp(caps->word[at], word) == 0)
		return 0;
	if (caps->count >= MANIFEST_MAX_CAPABILITIES)
		return err_set(e, ERR_LIMIT, "more than %d capabilities", MANIFEST_MAX_CAPABILITIES);
	copy = strdup(word);
	if (!copy)
		return err_errno(e, ERR_NOMEM, "capability");
	char **grown = realloc(caps->word, (caps->count + 1) * sizeof(*grown));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "capability");
	caps->word = grown;
	memmove(grown + at + 1, grown + at, (caps->count - at) * sizeof(*grown));
	grown[at] = TAKE_PTR(copy);
	caps->count++;
	return 0;
}

void capabilities_clear(struct capabilities *caps)
{
	for (size_t i = 0; i < caps->count; i++)
		free(caps->word[i]);
	free(caps->word);
	*caps = (struct capabilities){0};
}

const char *capabilities_difference(const struct capabilities *a, const struct capabilities *b)
{
	size_t i = 0;

	while (i < a->count && i < b->count && strcmp(a->word[i], b->word[i]) == 0)
		i++;
	if (i == a->count)
		return i < b->count ? b->word[i] : NULL;
	if (i == b->count)
		return a->word[i];
	/* Sorted sets: the smaller of the two is in one only. */
	return strcmp(a->word[i], b->word[i]) < 0 ? a->word[i] : b->word[i];
}

static int PRINTF_LIKE(3, 4) add(struct capabilities *caps, struct err *e, const char *fmt, ...)
{
	char word[WORD_BYTES];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(word, sizeof(word), fmt, ap);
	va_end(ap);
	if (n < 0 || n >= (int)sizeof(word))
		return err_set(e, ERR_OBJECT_MALFORMED, "a name of more than %d characters", WORD_BYTES - 32);
	return capabilities_add(caps, word, e);
}

/* ---- instructions ---- */

static int add_call(const struct code_section *s, size_t i, struct capabilities *caps, struct err *e)
{
	const struct bpf_insn *insn = &s->insn[i];
	const char *name;

	/* libbpf passes over calls with fields set that mean nothing; and of another code the kernel may come to know some. */
	if (insn->code != (BPF_JMP | BPF_CALL) || insn->dst_reg || insn->off)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: no known form of a call", s->name,
			       i);
	if (insn->src_reg == BPF_PSEUDO_CALL)
		return 0; /* a function of this object, or an extern, which is counted as a symbol */
	if (insn->src_reg != 0)
		return err_set(e, ERR_OBJECT_MALFORMED,
			       "section %s, instruction %zu: calls a kernel function by number", s->name, i);
	name = helper_name((uint32_t)insn->imm);
	if (name)
		return add(caps, e, "helper:%s", name);
	return add(caps, e, "helper:#%u", (uint32_t)insn->imm);
}

static bool is_call(const struct bpf_insn *insn)
{
	return (BPF_CLASS(insn->code) == BPF_JMP || BPF_CLASS(insn->code) == BPF_JMP32) &&
	       BPF_OP(insn->code) == BPF_CALL;
}

static int add_section(const struct code_section *s, struct capabilities *caps, struct err *e)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct bpf_insn *insn = &s->insn[i];

		if (is_call(insn) && add_call(s, i, caps, e))
			return -1;
		if (insn->code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		/* Without a relocation only a number may be meant: anything else is an fd or id of the loading process. */
		if (insn->src_reg != 0 && !((s->mark[i] & CODE_RELOCATED) && insn->src_reg == BPF_PSEUDO_FUNC))
			return err_set(e, ERR_OBJECT_MALFORMED,
				       "section %s, instruction %zu: names a kernel object by number", s->name, i);
	}
	return 0;
}

/* ---- undefined symbols: kernel functions and variables ---- */

/* What BTF says of an extern. libbpf takes the first function or variable of that name, and the first section that lists
 * it: there must be one of each, so that ours are the same. */
struct extern_type {
	const struct code_extern *symbol;
	uint32_t type; /* BTF id, 0: none */
	unsigned kind;
	/* NULL: none. Functions are listed in none any more: libbpf put a variable of its own there. */
	const char *section;
};

static int compare_types(const void *a, const void *b)
{
	return strcmp(((const struct extern_type *)a)->symbol->name, ((const struct extern_type *)b)->symbol->name);
}

static struct extern_type *find_type(struct extern_type *types, size_t count, const struct btf *btf, uint32_t id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);
	const char *name = t && (btf_is_var(t) || btf_is_func(t)) ? btf__str_by_offset(btf, t->name_off) : NULL;
	const struct code_extern symbol = {.name = name};
	const struct extern_type key = {.symbol = &symbol};

	return name ? bsearch(&key, types, count, sizeof(*types), compare_types) : NULL;
}

static int twice(const struct extern_type *x, struct err *e)
{
	return err_set(e, ERR_OBJECT_MALFORMED, ".BTF declares extern %s twice", x->symbol->name);
}

static int note_sections(struct extern_type *types, size_t count, const struct btf *btf, const struct btf_type *datasec,
			 struct err *e)
{
	for (unsigned i = 0; i < btf_vlen(datasec); i++) {
		uint32_t id = btf_var_secinfos(datasec)[i].type;
		struct extern_type *x = find_type(types, count, btf, id);
		if (!x)
			continue;
		if (x->section)
			return twice(x, e);
		x->section = btf__str_by_offset(btf, datasec->name_off);
	}
	return 0;
}

static int read_extern_types(struct extern_type *types, size_t count, const struct btf *btf, struct err *e)
{
	uint32_t end = btf ? btf__type_cnt(btf) : 0;

	for (size_t i = 1; i < count; i++)
		if (compare_types(&types[i - 1], &types[i]) == 0)
			return err_set(e, ERR_OBJECT_MALFORMED, "two undefined symbols %s", types[i].symbol->name);
	for (uint32_t id = 1; id < end; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		if (btf_is_datasec(t) && note_sections(types, count, btf, t, e))
			return -1;
		struct extern_type *x = find_type(types, count, btf, id);
		if (!x)
			continue;
		if (x->type)
			return twice(x, e);
		x->type = id;
		x->kind = btf_kind(t);
	}
	return 0;
}

static int add_extern(const struct extern_type *x, struct capabilities *caps, struct err *e)
{
	bool variable = x->kind == BTF_KIND_VAR && x->section && !x->symbol->called;

	if (variable && strcmp(x->section, ".kconfig") == 0)
		return 0;
	/* What is not known to be a variable counts as what is worse, a function. */
	variable = variable && strcmp(x->section, ".ksyms") == 0;
	return add(caps, e, "%s:%s", variable ? "ksym" : "kfunc", x->symbol->name);
}

static int add_externs(const struct object *o, const struct code *code, struct capabilities *caps, struct err *e)
{
	size_t count = code->extern_count;
	OWN_FREE struct extern_type *types = calloc(count + 1, sizeof(*types));

	if (!types)
		return err_errno(e, ERR_NOMEM, "externs");
	for (size_t i = 0; i < count; i++)
		types[i].symbol = &code->externs[i];
	qsort(types, count, sizeof(*types), compare_types);
	if (read_extern_types(types, count, o->btf, e))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (add_extern(&types[i], caps, e))
			return -1;
	return 0;
}

/* ---- programs that can change what they look at, or decide about it ---- */

struct verdict_name {
	int32_t value;
	const char *name;
};

static const struct verdict_name xdp_verdicts[] = {
    {0, "aborted"}, {1, "drop"}, {2, "pass"}, {3, "tx"}, {4, "redirect"},
};
static const struct verdict_name tc_verdicts[] = {
    {-1, "unspec"}, {0, "ok"},     {1, "reclassify"}, {2, "shot"},     {3, "pipe"},
    {4, "stolen"},  {5, "queued"}, {6, "repeat"},     {7, "redirect"}, {8, "trap"},
};
/* Egress has two bits: 2 and 3 also signal congestion (bpf_prog_run_array_cg_flags). */
static const struct verdict_name cgroup_skb_verdicts[] = {
    {0, "deny"},
    {1, "allow"},
    {2, "deny_congestion"},
    {3, "allow_congestion"},
};

/* Program types whose return value or stores matter, by attach word. verdicts NULL: only stores do. */
static const struct {
	const char *attach;
	const struct verdict_name *verdicts;
	size_t count;
	bool packet; /* the kernel lets it write packets; of the others an unproven store can only be to the context */
} deciding[] = {
    {"xdp", xdp_verdicts, ARRAY_LEN(xdp_verdicts), true},
    {"tc", tc_verdicts, ARRAY_LEN(tc_verdicts), true},
    {"cgroup_skb", cgroup_skb_verdicts, ARRAY_LEN(cgroup_skb_verdicts), false},
    {"sockops", NULL, 0, false},
    /* After Linux 6.18, such a program may change the registers of the process that it looks at. */
    {"uprobe", NULL, 0, false},
    {"uretprobe", NULL, 0, false},
    {"usdt", NULL, 0, false},
};

static int add_verdicts(const struct flow *flow, size_t kind, struct capabilities *caps, struct err *e)
{
	const char *attach = deciding[kind].attach;

	if (flow->any)
		return add(caps, e, "verdict:%s/any", attach);
	for (size_t i = 0; i < flow->count; i++) {
		const char *name = NULL;
		for (size_t v = 0; v < deciding[kind].count; v++)
			if (deciding[kind].verdicts[v].value == flow->value[i])
				name = deciding[kind].verdicts[v].name;
		if (name ? add(caps, e, "verdict:%s/%s", attach, name)
			 : add(caps, e, "verdict:%s/#%d", attach, (int)flow->value[i]))
			return -1;
	}
	return 0;
}

static int add_flow(const struct code *code, const struct manifest_program *program, size_t kind,
		    struct capabilities *caps, struct err *e)
{
	struct flow flow = {0};

	if (flow_of_program(code, program->name, &flow, e))
		return -1;
	if (deciding[kind].verdicts && add_verdicts(&flow, kind, caps, e))
		return -1;
	if (flow.writes_memory && deciding[kind].packet && add(caps, e, "write:packet"))
		return -1;
	bool context = flow.writes_context || (flow.writes_memory && !deciding[kind].packet);
	return context ? add(caps, e, "write:context") : 0;
}

static int add_programs(const struct object *o, const struct code *code, struct capabilities *caps, struct err *e)
{
	for (size_t i = 0; i < o->program_count; i++) {
		const struct manifest_program *p = &o->programs[i];

		if (add(caps, e, "program:%s", p->type))
			return -1;
		if (p->target[0] ? add(caps, e, "attach:%s/%s", p->attach, p->target)
				 : add(caps, e, "attach:%s", p->attach))
			return -1;
		for (size_t kind = 0; kind < ARRAY_LEN(deciding); kind++)
			if (strcmp(p->attach, deciding[kind].attach) == 0 && add_flow(code, p, kind, caps, e))
				return -1;
	}
	return 0;
}

int capabilities_derive(const struct object *object, const struct code *code, struct capabilities *caps, struct err *e)
{
	for (size_t i = 0; i < code->section_count; i++)
		if (add_section(&code->sections[i], caps, e))
			return -1;
	for (size_t i = 0; i < object->map_count; i++)
		if (add(caps, e, "map:%s", object->maps[i].map.type))
			return -1;
	if (add_externs(object, code, caps, e))
		return -1;
	return add_programs(object, code, caps, e);
}
