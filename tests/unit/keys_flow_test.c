#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys/flow.h"
#include "keys/object.h"
#include "tests/unit/bpf_source.h"

static const char prelude[] =
    "#include <obs/obs.h>\n"
    "struct xdp_md_ { __u32 data, data_end, data_meta, ingress, rx; };\n"
    "struct skb_ { __u32 len, pkt_type, mark; };\n"
    "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); }\n"
    "	m SEC(\".maps\");\n"
    "OBS_LICENSE(\"GPL\");\n";

/* The words about verdicts and writes, joined by spaces. */
static void words_of(const char *body, char *out, size_t size)
{
	char source[4096];
	struct object *o = NULL;
	struct err e = ERR_INIT;
	size_t elf_size, used = 0;

	snprintf(source, sizeof(source), "%s%s", prelude, body);
	uint8_t *elf = bpf_compile(source, &elf_size);
	assert_int_equal(object_read("t", elf, elf_size, &o, &e), 0);
	out[0] = '\0';
	for (size_t i = 0; i < o->capabilities.count; i++) {
		const char *word = o->capabilities.word[i];
		if (strncmp(word, "verdict:", 8) == 0 || strncmp(word, "write:", 6) == 0)
			used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " " : "", word);
	}
	object_free(&o);
	free(elf);
}

static void check(const char *body, const char *expected)
{
	char words[1024];

	words_of(body, words, sizeof(words));
	assert_string_equal(words, expected);
}

static void flow_xdp_constant_is_named(void **state)
{
	(void)state;
	check("SEC(\"xdp\") int p(void *c) { return 2; }", "verdict:xdp/pass");
	check("SEC(\"xdp\") int p(void *c) { return 77; }", "verdict:xdp/#77");
	check("SEC(\"xdp\") int p(void *c) { return bpf_get_prandom_u32() & 1 ? 2 : 1; }",
	      "verdict:xdp/drop verdict:xdp/pass");
}

static void flow_unknown_value_is_any(void **state)
{
	(void)state;
	check("SEC(\"xdp\") int p(void *c) { return bpf_get_prandom_u32(); }", "verdict:xdp/any");
	check("SEC(\"tc\") int p(void *c) { __u32 k = 0; __u64 *v = bpf_map_lookup_elem(&m, &k); return v ? *v : 0; }",
	      "verdict:tc/any");
	check("static __noinline int f(int x) { return x * 2; }\n"
	      "SEC(\"cgroup_skb/egress\") int p(void *c) { return f(bpf_get_prandom_u32()); }",
	      "verdict:cgroup_skb/any");
}

static void flow_null_check_keeps_constants(void **state)
{
	(void)state;
	check("SEC(\"tc\") int p(void *c) { __u32 k = 0; __u64 *v = bpf_map_lookup_elem(&m, &k);\n"
	      "	if (!v) return 0; *v += 1; return 0; }",
	      "verdict:tc/ok");
	check("SEC(\"cgroup_skb/ingress\") int p(void *c) { __u32 k = 0; __u64 v = 1;\n"
	      "	bpf_map_update_elem(&m, &k, &v, 0); return 1; }",
	      "verdict:cgroup_skb/allow");
}

static void flow_verdict_through_helper_memory_is_any(void **state)
{
	(void)state;
	/* The helper may overwrite what lies on the stack. */
	check("SEC(\"xdp\") int p(void *c) { volatile int verdict = 2; bpf_probe_read_kernel((void *)&verdict, 4, c);\n"
	      "	return verdict; }",
	      "verdict:xdp/any");
}

static void flow_core_relocated_constant_is_any(void **state)
{
	(void)state;
	/* What the kernel that loads it says is no constant of the program. */
	check("#include <bpf/bpf_core_read.h>\nenum zone { ZONE = 2 };\n"
	      "SEC(\"xdp\") int p(void *c) { return bpf_core_enum_value(enum zone, ZONE); }",
	      "verdict:xdp/any");
}

static void flow_tail_call_is_any(void **state)
{
	(void)state;
	check("struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32);\n"
	      "	__type(value, __u32); } next SEC(\".maps\");\n"
	      "SEC(\"xdp\") int p(void *c) { bpf_tail_call(c, &next, 0); return 2; }",
	      "verdict:xdp/any");
}

static void flow_packet_store_is_a_write(void **state)
{
	(void)state;
	check("SEC(\"xdp\") int p(struct xdp_md_ *c) { char *d = (void *)(long)c->data, *end = (void "
	      "*)(long)c->data_end;\n"
	      "	if (d + 1 > end) return 2; *d = 1; return 2; }",
	      "verdict:xdp/pass write:packet");
	/* By a function that is given the pointer. */
	check(
	    "static __noinline int put(char *d, char *end) { if (d + 1 > end) return 0; *d = 1; return 1; }\n"
	    "SEC(\"tc\") int p(struct xdp_md_ *c) { put((void *)(long)c->data, (void *)(long)c->data_end); return 0; }",
	    "verdict:tc/ok write:packet");
}

static void flow_packet_pointer_planted_by_a_function_is_seen(void **state)
{
	(void)state;
	/* The caller's slot held a map value before; the called function puts a packet pointer there. */
	check(
	    "static __noinline int plant(char *volatile *slot, struct xdp_md_ *c) { *slot = (void *)(long)c->data;\n"
	    "	return 0; }\n"
	    "SEC(\"xdp\") int p(struct xdp_md_ *c) { __u32 k = 0; char *volatile slot = bpf_map_lookup_elem(&m, &k);\n"
	    "	plant(&slot, c); char *d = slot; if (!d) return 2; *d = 1; return 2; }",
	    "verdict:xdp/pass write:packet");
}

static void flow_context_store_is_a_write(void **state)
{
	(void)state;
	check("SEC(\"tc\") int p(struct skb_ *c) { c->mark = 1; return 0; }", "verdict:tc/ok write:context");
	check("static __noinline int f(struct skb_ *c) { c->mark = 1; return 0; }\n"
	      "SEC(\"cgroup_skb/egress\") int p(struct skb_ *c) { f(c); return 1; }",
	      "verdict:cgroup_skb/allow write:context");
	check("SEC(\"sockops\") int p(struct skb_ *c) { c->pkt_type = 5; return 1; }", "write:context");
}

static void flow_store_to_a_process_s_registers_is_a_write(void **state)
{
	(void)state;
	check("SEC(\"uprobe//bin/x:main\") int p(struct skb_ *c) { c->mark = 1; return 0; }", "write:context");
	check("static __noinline int f(struct skb_ *c) { c->mark = 1; return 0; }\n"
	      "SEC(\"uretprobe\") int p(struct skb_ *c) { return f(c); }",
	      "write:context");
	check("SEC(\"usdt\") int p(struct skb_ *c) { c->mark = 1; return 0; }", "write:context");
	check("SEC(\"uprobe\") int p(struct skb_ *c) { __u32 k = c->mark; __u64 *v = bpf_map_lookup_elem(&m, &k);\n"
	      "	if (v) *v += c->len; return bpf_get_prandom_u32(); }",
	      "");
}

static void flow_stores_to_stack_and_maps_are_none(void **state)
{
	(void)state;
	check("struct key { __u64 a, b, c; };\n"
	      "static __noinline int fill(struct key *k) { k->a = bpf_ktime_get_ns(); k->b = 2; return 0; }\n"
	      "SEC(\"tc\") int p(struct skb_ *c) { struct key k = {}; fill(&k); __u32 n = k.b;\n"
	      "	__u64 *v = bpf_map_lookup_elem(&m, &n); if (v) __sync_fetch_and_add(v, k.a); return 0; }",
	      "verdict:tc/ok");
	check("static int each(__u32 i, __u64 *sum) { *sum += i; return 0; }\n"
	      "SEC(\"xdp\") int p(void *c) { __u64 sum = 0; bpf_loop(8, each, &sum, 0); __u32 n = 0;\n"
	      "	__u64 *v = bpf_map_lookup_elem(&m, &n); if (v) *v = sum; return 2; }",
	      "verdict:xdp/pass");
}

static void flow_thrown_value_is_any(void **state)
{
	(void)state;
	check("extern void bpf_throw(__u64) __ksym;\n"
	      "SEC(\"xdp\") int p(void *c) { if (bpf_get_prandom_u32() & 1) bpf_throw(1); return 2; }",
	      "verdict:xdp/any");
}

/* ---- instructions as they are, also those that no compiler here makes ---- */

enum { MEMSX = 0x80, JCOND = 0xe0, LOAD_ACQ = 0x100, STORE_REL = 0x110, INSNS = 16 };

/* code, dst, src, off, imm */
#define I(...)                                                                                                         \
	{                                                                                                              \
		__VA_ARGS__                                                                                            \
	}
#define PASS I(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 2)
#define EXIT I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* Of an xdp program: insn up to its end. marks: of its instructions, NULL: none. */
static struct flow flow_of(const struct bpf_insn *insn, const uint8_t *marks)
{
	uint8_t mark[INSNS] = {0};
	uint32_t callee[INSNS] = {0};
	struct code_section section = {.name = "xdp", .index = 1, .insn = insn, .mark = mark, .callee = callee};
	struct flow flow;
	struct err e = ERR_INIT;

	do {
		mark[section.count] = marks ? marks[section.count] : 0;
		assert_true(section.count < INSNS);
	} while (insn[section.count++].code != (BPF_JMP | BPF_EXIT));
	struct code_function function = {"p", &section, 0, section.count};
	const struct code code = {
	    .sections = &section, .section_count = 1, .functions = &function, .function_count = 1};
	assert_int_equal(flow_of_program(&code, "p", &flow, &e), 0);
	return flow;
}

static bool is_lost(const struct flow *flow)
{
	return flow->any && flow->writes_context && flow->writes_memory;
}

static bool is_only(const struct flow *flow, int32_t value)
{
	return !flow->any && !flow->writes_context && !flow->writes_memory && flow->count == 1 &&
	       flow->value[0] == value;
}

static void flow_unknown_instruction_is_lost(void **state)
{
	static const struct bpf_insn unknown[] = {
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 0, 10, -8, LOAD_ACQ),
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 1, -8, STORE_REL),
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 1, -8, 0x02),
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 1, -8, BPF_ADD | 0x200),
	    I(BPF_STX | BPF_ATOMIC | BPF_B, 10, 1, -8, BPF_ADD),
	    I(BPF_STX | 0xa0 | BPF_DW, 10, 1, -8, 0),
	    I(BPF_ST | BPF_ATOMIC | BPF_DW, 10, 0, -8, 0),
	    I(BPF_LDX | 0xa0 | BPF_DW, 0, 10, -8, 0),
	    I(BPF_LDX | MEMSX | BPF_DW, 0, 10, -8, 0),
	    I(BPF_LDX | BPF_ATOMIC | BPF_DW, 0, 10, -8, 0),
	    I(BPF_LD | BPF_IMM | BPF_W, 0, 0, 0, 0),
	    I(BPF_LD | BPF_ABS | BPF_DW, 0, 0, 0, 0),
	    I(BPF_LD | BPF_MEM | BPF_W, 0, 0, 0, 0),
	    I(BPF_ALU64 | 0xe0, 1, 0, 0, 0),
	    I(BPF_ALU | 0xf0, 1, 0, 0, 0),
	    I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 1, 0),
	    I(BPF_ALU64 | BPF_MOV | BPF_K, 1, 0, 8, 0),
	    I(BPF_ALU64 | BPF_MOV | BPF_X, 1, 1, -1, 0),
	    I(BPF_ALU | BPF_MOV | BPF_X, 1, 1, 32, 0),
	    I(BPF_ALU64 | BPF_DIV | BPF_X, 1, 1, 2, 0),
	    I(BPF_JMP | BPF_JA | BPF_X, 1, 0, 0, 0),
	    I(BPF_JMP32 | BPF_EXIT, 0, 0, 0, 0),
	    I(BPF_JMP32 | BPF_CALL, 0, 0, 0, 0),
	    I(BPF_JMP | BPF_CALL | BPF_X, 0, 1, 0, 0),
	    I(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, 0),
	    I(BPF_JMP | JCOND, 0, 1, 0, 0),
	    I(BPF_JMP32 | JCOND, 0, 0, 0, 0),
	    I(BPF_JMP | 0xf0, 0, 0, 0, 0),
	    /* fields that mean nothing yet */
	    I(BPF_LDX | BPF_MEM | BPF_DW, 0, 10, -8, 1),
	    I(BPF_STX | BPF_MEM | BPF_DW, 10, 1, -8, 1),
	    I(BPF_ST | BPF_MEM | BPF_DW, 10, 1, -8, 0),
	    I(BPF_ALU64 | BPF_ADD | BPF_K, 1, 2, 0, 0),
	    I(BPF_ALU64 | BPF_ADD | BPF_X, 1, 2, 0, 1),
	    I(BPF_ALU64 | BPF_MOV | BPF_X, 1, 2, 0, 1),
	    I(BPF_ALU64 | BPF_NEG, 1, 0, 0, 1),
	    I(BPF_ALU64 | BPF_END | BPF_X, 1, 0, 0, 64),
	    I(BPF_ALU | BPF_END, 1, 0, 0, 8),
	    I(BPF_LD | BPF_IMM | BPF_DW, 1, 0, 0, 0),
	    I(BPF_LD | BPF_ABS | BPF_W, 0, 1, 0, 0),
	    I(BPF_JMP | BPF_JA, 1, 0, 0, 0),
	    I(BPF_JMP | BPF_JA, 0, 0, 0, 1),
	    I(BPF_JMP32 | BPF_JA, 0, 0, 1, 0),
	    I(BPF_JMP | BPF_EXIT, 0, 0, 0, 1),
	    I(BPF_JMP | BPF_CALL, 0, 0, 1, BPF_FUNC_ktime_get_ns),
	    I(BPF_JMP | BPF_JEQ | BPF_K, 1, 2, 0, 0),
	    I(BPF_JMP | BPF_JEQ | BPF_X, 1, 2, 0, 1),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
		const struct bpf_insn insn[] = {unknown[i], PASS, EXIT};
		const struct flow flow = flow_of(insn, NULL);
		if (!is_lost(&flow))
			fail_msg("%zu: 0x%x", i, unknown[i].code);
	}
}

static void flow_known_instruction_is_followed(void **state)
{
	static const struct bpf_insn known[] = {
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 2, -8, BPF_ADD),
	    I(BPF_STX | BPF_ATOMIC | BPF_W, 10, 2, -8, BPF_XOR | BPF_FETCH),
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 2, -8, BPF_XCHG),
	    I(BPF_STX | BPF_ATOMIC | BPF_DW, 10, 2, -8, BPF_CMPXCHG),
	    I(BPF_LDX | MEMSX | BPF_B, 2, 10, -8, 0),
	    I(BPF_LD | BPF_IMM | BPF_DW, 2, 0, 0, 7),
	    I(BPF_ALU64 | BPF_MOV | BPF_X, 2, 1, 32, 0),
	    I(BPF_ALU | BPF_MOV | BPF_X, 2, 1, 16, 0),
	    I(BPF_ALU64 | BPF_MOD | BPF_X, 2, 1, 1, 0),
	    I(BPF_ALU64 | BPF_END, 2, 0, 0, 64),
	    I(BPF_JMP32 | BPF_JA, 0, 0, 0, 1),
	    I(BPF_JMP | JCOND, 0, 0, 1, 0),
	    I(BPF_JMP32 | BPF_JSLE | BPF_X, 1, 2, 1, 0),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		/* The second is half of the load, where it is one. */
		const struct bpf_insn insn[] = {known[i], I(0), PASS, EXIT};
		const struct bpf_insn other[] = {known[i], I(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0), PASS, EXIT};
		bool wide = known[i].code == (BPF_LD | BPF_IMM | BPF_DW);
		const struct flow flow = flow_of(wide ? insn : other, NULL);
		if (!is_only(&flow, 2))
			fail_msg("%zu: 0x%x", i, known[i].code);
	}
}

static void flow_callee_that_is_not_known_is_lost(void **state)
{
	static const struct bpf_insn call[] = {I(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL, 0, -1), PASS, EXIT};
	static const struct bpf_insn address[] = {I(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_FUNC, 0, 0), I(0), PASS,
						  EXIT};
	static const uint8_t relocated[INSNS] = {CODE_RELOCATED}, external[INSNS] = {CODE_RELOCATED | CODE_EXTERN};

	(void)state;
	struct flow flow = flow_of(call, relocated);
	assert_true(is_lost(&flow));
	flow = flow_of(call, external);
	assert_true(is_only(&flow, 2));
	flow = flow_of(address, relocated);
	assert_true(is_lost(&flow));
	flow = flow_of(address, NULL);
	assert_true(is_lost(&flow));
}

static void flow_stored_number_keeps_4_bytes(void **state)
{
	/* -1 is 0xffffffff when it is loaded again. */
	static const struct bpf_insn insn[] = {
	    I(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, -1), I(BPF_LDX | BPF_MEM | BPF_W, 0, 10, -4, 0),
	    I(BPF_ALU64 | BPF_ADD | BPF_K, 0, 0, 0, 1), I(BPF_ALU64 | BPF_RSH | BPF_K, 0, 0, 0, 32),
	    I(BPF_ALU64 | BPF_XOR | BPF_K, 0, 0, 0, 2), EXIT,
	};

	(void)state;
	const struct flow flow = flow_of(insn, NULL);
	assert_true(is_only(&flow, 3));
}

static void flow_core_relocation_may_widen_an_access(void **state)
{
	/* The context's pointer goes over the stack, by 8 bytes once the sizes are those of the target kernel. */
	static const struct bpf_insn put[] = {
	    I(BPF_STX | BPF_MEM | BPF_W, 10, 1, -8, 0),
	    I(BPF_LDX | BPF_MEM | BPF_DW, 2, 10, -8, 0),
	    I(BPF_ST | BPF_MEM | BPF_W, 2, 0, 0, 0),
	    PASS,
	    EXIT,
	};
	static const struct bpf_insn got[] = {
	    I(BPF_STX | BPF_MEM | BPF_DW, 10, 1, -8, 0),
	    I(BPF_LDX | BPF_MEM | BPF_W, 2, 10, -8, 0),
	    I(BPF_ST | BPF_MEM | BPF_W, 2, 0, 0, 0),
	    PASS,
	    EXIT,
	};
	static const uint8_t first[INSNS] = {CODE_CORE}, second[INSNS] = {0, CODE_CORE};

	(void)state;
	assert_true(flow_of(put, first).writes_memory);
	assert_false(flow_of(put, NULL).writes_memory);
	assert_true(flow_of(got, second).writes_memory);
	assert_false(flow_of(got, NULL).writes_memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(flow_xdp_constant_is_named),
	    cmocka_unit_test(flow_unknown_value_is_any),
	    cmocka_unit_test(flow_null_check_keeps_constants),
	    cmocka_unit_test(flow_verdict_through_helper_memory_is_any),
	    cmocka_unit_test(flow_core_relocated_constant_is_any),
	    cmocka_unit_test(flow_tail_call_is_any),
	    cmocka_unit_test(flow_packet_store_is_a_write),
	    cmocka_unit_test(flow_packet_pointer_planted_by_a_function_is_seen),
	    cmocka_unit_test(flow_context_store_is_a_write),
	    cmocka_unit_test(flow_store_to_a_process_s_registers_is_a_write),
	    cmocka_unit_test(flow_stores_to_stack_and_maps_are_none),
	    cmocka_unit_test(flow_thrown_value_is_any),
	    cmocka_unit_test(flow_unknown_instruction_is_lost),
	    cmocka_unit_test(flow_known_instruction_is_followed),
	    cmocka_unit_test(flow_callee_that_is_not_known_is_lost),
	    cmocka_unit_test(flow_stored_number_keeps_4_bytes),
	    cmocka_unit_test(flow_core_relocation_may_widen_an_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
