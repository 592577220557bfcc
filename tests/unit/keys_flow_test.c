#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
	    cmocka_unit_test(flow_stores_to_stack_and_maps_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
