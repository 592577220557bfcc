#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <elf.h>
#include <linux/bpf.h>

#include "keys/attach.h"
#include "keys/object.h"
#include "tests/unit/bpf_source.h"

static const char observing[] =
    "#include <obs/obs.h>\n"
    "struct seen { struct obs_header header; __u32 pid; } OBS_EVENT(seen, 1, \"t.seen\");\n"
    "OBS_RING(events, 65536);\n"
    "OBS_PARAM(__u32, every, 1, 1, 100, \"one in so many\");\n"
    "static __noinline int helper_of_mine(int x) { return bpf_get_smp_processor_id() + x; }\n"
    "OBS_OPTIONAL OBS_ALTERNATIVE(\"exec\", 2) OBS_SINCE(\"6.3\") OBS_ATTACH(\"a=b\")\n"
    "SEC(\"tp_btf/sched_process_exec\") int first(void *ctx) {\n"
    "	struct seen *s = obs_reserve(&events, struct seen, 1);\n"
    "	if (!s) return 0;\n"
    "	s->pid = helper_of_mine(every);\n"
    "	obs_submit(&events, s);\n"
    "	return 0; }\n"
    "SEC(\"tracepoint/sched/sched_switch\") int second(void *ctx) { return bpf_get_prandom_u32(); }\n"
    "OBS_LICENSE(\"GPL\");\n";

struct loaded {
	uint8_t *elf;
	size_t size;
	struct object *o;
	struct err e;
};

static int load(struct loaded *l, const char *source)
{
	memset(l, 0, sizeof(*l));
	l->elf = bpf_compile(source, &l->size);
	return object_read("t", l->elf, l->size, &l->o, &l->e);
}

static void unload(struct loaded *l)
{
	object_free(&l->o);
	free(l->elf);
}

static bool has(const struct object *o, const char *word)
{
	for (size_t i = 0; i < o->capabilities.count; i++)
		if (strcmp(o->capabilities.word[i], word) == 0)
			return true;
	return false;
}

static void object_read_programs_have_sections_and_tags(void **state)
{
	struct loaded l;

	(void)state;
	assert_int_equal(load(&l, observing), 0);
	assert_int_equal(l.o->program_count, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct manifest_program *p = &l.o->programs[i];
		bool first = strcmp(p->name, "first") == 0;
		assert_string_equal(p->section, first ? "tp_btf/sched_process_exec" : "tracepoint/sched/sched_switch");
		assert_string_equal(p->attach, first ? "tp_btf" : "tp");
		assert_string_equal(p->target, first ? "sched_process_exec" : "sched/sched_switch");
		assert_string_equal(p->type, first ? "tracing" : "tracepoint");
		assert_string_equal(p->group, first ? "exec" : "");
		assert_string_equal(p->since, first ? "6.3" : "");
		assert_string_equal(p->options, first ? "a=b" : "");
		assert_int_equal(p->order, first ? 2 : 0);
		assert_int_equal(p->required, !first);
	}
	assert_string_equal(l.o->licence, "GPL");
	assert_false(l.o->kconfig);
	unload(&l);
}

static void object_read_capabilities_cover_subprograms(void **state)
{
	struct loaded l;

	(void)state;
	assert_int_equal(load(&l, observing), 0);
	assert_true(has(l.o, "helper:get_smp_processor_id")); /* only in .text */
	assert_true(has(l.o, "helper:ringbuf_reserve"));
	assert_true(has(l.o, "helper:get_prandom_u32"));
	assert_true(has(l.o, "attach:tp_btf/sched_process_exec"));
	assert_true(has(l.o, "attach:tp/sched/sched_switch"));
	assert_true(has(l.o, "program:tracepoint"));
	assert_true(has(l.o, "map:ringbuf"));
	assert_false(has(l.o, "write:packet"));
	for (size_t i = 1; i < l.o->capabilities.count; i++)
		assert_true(strcmp(l.o->capabilities.word[i - 1], l.o->capabilities.word[i]) < 0);
	unload(&l);
}

static void object_read_section_that_no_program_names_counts(void **state)
{
	struct loaded l;

	(void)state;
	/* libbpf takes it for a program of no known kind, which is refused. */
	assert_int_equal(load(&l, "#include <obs/obs.h>\n"
				  "SEC(\"tp_btf/sched_process_exec\") int a(void *ctx) { return 0; }\n"
				  "SEC(\"hidden\") int b(void *ctx) { return bpf_send_signal(9); }\n"
				  "OBS_LICENSE(\"GPL\");\n"),
			 -1);
	assert_int_equal(l.e.code, ERR_BUILD_PROGRAM);
	assert_non_null(strstr(l.e.frame[0], "hidden"));
	unload(&l);
}

static void object_read_kconfig_is_told(void **state)
{
	struct loaded l;

	(void)state;
	assert_int_equal(load(&l,
			      "#include <obs/obs.h>\nextern int LINUX_KERNEL_VERSION __kconfig;\n"
			      "SEC(\"tp_btf/sched_process_exec\") int a(void *ctx) { return LINUX_KERNEL_VERSION; }\n"),
			 0);
	assert_true(l.o->kconfig);
	assert_string_equal(l.o->licence, "");
	unload(&l);
}

static void object_read_externs_are_capabilities(void **state)
{
	struct loaded l;

	(void)state;
	assert_int_equal(
	    load(&l, "#include <obs/obs.h>\n"
		     "extern void *bpf_obj_new_impl(__u64, void *) __ksym;\nextern const int runqueues __ksym;\n"
		     "SEC(\"tp_btf/sched_process_exec\") int a(void *ctx) {\n"
		     "	int x = 0; bpf_probe_read_kernel(&x, 4, &runqueues);\n"
		     "	return bpf_obj_new_impl(1, 0) && x; }\nOBS_LICENSE(\"GPL\");\n"),
	    0);
	assert_true(has(l.o, "kfunc:bpf_obj_new_impl"));
	assert_true(has(l.o, "ksym:runqueues"));
	unload(&l);
}

static void object_read_pinned_map_is_refused(void **state)
{
	struct loaded l;

	(void)state;
	assert_int_equal(load(&l,
			      "#include <obs/obs.h>\n"
			      "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);\n"
			      "	__type(value, __u32); __uint(pinning, 1); } shared SEC(\".maps\");\n"
			      "SEC(\"tp_btf/sched_process_exec\") int a(void *ctx) { __u32 k = 0;\n"
			      "	return bpf_map_lookup_elem(&shared, &k) != 0; }\nOBS_LICENSE(\"GPL\");\n"),
			 -1);
	assert_int_equal(l.e.code, ERR_OBJECT_MALFORMED);
	unload(&l);
}

/* The first instruction of a section with this code, in the ELF's bytes. */
static struct bpf_insn *find_insn(uint8_t *elf, const char *section, uint8_t code)
{
	Elf64_Ehdr *header = (Elf64_Ehdr *)elf;
	Elf64_Shdr *sections = (Elf64_Shdr *)(elf + header->e_shoff);
	const char *names = (const char *)elf + sections[header->e_shstrndx].sh_offset;

	for (unsigned i = 0; i < header->e_shnum; i++) {
		if (strcmp(names + sections[i].sh_name, section) != 0)
			continue;
		struct bpf_insn *insn = (struct bpf_insn *)(elf + sections[i].sh_offset);
		for (size_t k = 0; k < sections[i].sh_size / sizeof(*insn); k++)
			if (insn[k].code == code)
				return &insn[k];
	}
	fail();
	return NULL;
}

static void object_read_kernel_object_by_number_is_refused(void **state)
{
	size_t size;
	uint8_t *elf = bpf_compile(observing, &size);
	struct bpf_insn *call = find_insn(elf, "tracepoint/sched/sched_switch", BPF_JMP | BPF_CALL);
	struct object *o = NULL;
	struct err e = ERR_INIT;

	(void)state;
	call->src_reg = BPF_PSEUDO_KFUNC_CALL;
	assert_int_equal(object_read("t", elf, size, &o, &e), -1);
	assert_int_equal(e.code, ERR_OBJECT_MALFORMED);
	call->src_reg = 0;
	struct bpf_insn *load_insn = find_insn(elf, "tp_btf/sched_process_exec", BPF_LD | BPF_IMM | BPF_DW);
	load_insn->src_reg = BPF_PSEUDO_MAP_FD;
	assert_int_equal(object_read("t", elf, size, &o, &e), -1);
	assert_int_equal(e.code, ERR_OBJECT_MALFORMED);
	assert_null(o);
	free(elf);
}

static void object_read_unknown_helper_has_its_number(void **state)
{
	size_t size;
	uint8_t *elf = bpf_compile(observing, &size);
	struct object *o = NULL;
	struct err e = ERR_INIT;

	(void)state;
	find_insn(elf, "tracepoint/sched/sched_switch", BPF_JMP | BPF_CALL)->imm = 4711;
	assert_int_equal(object_read("t", elf, size, &o, &e), 0);
	assert_true(has(o, "helper:#4711"));
	object_free(&o);
	free(elf);
}

/* Prefixes, and flipped bytes everywhere: refused or read, never a crash. */
static void object_read_damaged_file_is_survived(void **state)
{
	size_t size;
	uint8_t *elf = bpf_compile(observing, &size);

	(void)state;
	for (size_t cut = 0; cut < size; cut += 97) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct object *o = NULL;
		struct err e = ERR_INIT;
		memcpy(copy, elf, cut);
		assert_int_equal(object_read("t", copy, cut, &o, &e), -1);
		assert_int_not_equal(e.code, ERR_NONE);
		free(copy);
	}
	for (size_t at = 0; at < size; at += 41) {
		struct object *o = NULL;
		struct err e = ERR_INIT;
		elf[at] ^= 0xff;
		if (object_read("t", elf, size, &o, &e) == 0)
			object_free(&o);
		elf[at] ^= 0xff;
	}
	free(elf);
}

static void object_compare_differences_are_named(void **state)
{
	struct loaded l;
	struct manifest_map maps[16];
	struct manifest_object stated = {.name = "t", .arch = "x86_64"};

	(void)state;
	assert_int_equal(load(&l, observing), 0);
	assert_true(l.o->map_count <= 16);
	for (size_t i = 0; i < l.o->map_count; i++)
		maps[i] = l.o->maps[i].map;
	stated.programs = l.o->programs;
	stated.program_count = l.o->program_count;
	stated.maps = maps;
	stated.map_count = l.o->map_count;
	stated.capabilities = l.o->capabilities;
	assert_int_equal(object_compare(l.o, &stated, &l.e), 0);
	stated.capabilities.count--;
	assert_int_equal(object_compare(l.o, &stated, &l.e), -1);
	assert_int_equal(l.e.code, ERR_CAPABILITY_MISMATCH);
	assert_non_null(strstr(l.e.frame[0], l.o->capabilities.word[l.o->capabilities.count - 1]));
	stated.capabilities.count++;
	maps[0].max_entries++;
	assert_int_equal(object_compare(l.o, &stated, &l.e), -1);
	assert_int_equal(l.e.code, ERR_OBJECT_MISMATCH);
	stated.map_count--;
	assert_int_equal(object_compare(l.o, &stated, &l.e), -1);
	assert_int_equal(l.e.code, ERR_OBJECT_MISMATCH);
	unload(&l);
}

static void attach_split_aliases_and_refusals(void **state)
{
	static const struct {
		const char *section, *kind, *target;
	} good[] = {
	    {"tp/a/b", "tp", "a/b"},
	    {"raw_tracepoint/x", "raw_tp", "x"},
	    {"raw_tp.w/x", "raw_tp.w", "x"},
	    {"uprobe.s//bin/x:main+4", "uprobe", "/bin/x:main+4"},
	    {"cgroup_skb/egress", "cgroup_skb", "egress"},
	    {"classifier", "tc", ""},
	    {"xdp.frags", "xdp", ""},
	    {"xdp/devmap", "xdp_devmap", ""},
	    {"cgroup/connect4", "cgroup", "connect4"},
	    {"lsm.s/file_open", "lsm", "file_open"},
	    {"fmod_ret/x", "fmod_ret", "x"},
	    {"iter/task", "iter", "task"},
	};
	static const char *const bad[] = {"", "tpx/a", "xdp/other", "kprob", "socket/x", "cgroup_skb", "perf_event/x"};
	const char *kind, *target;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_true(attach_split(good[i].section, &kind, &target));
		assert_string_equal(kind, good[i].kind);
		assert_string_equal(target, good[i].target);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(attach_split(bad[i], &kind, &target));
}

static void capabilities_difference_finds_either_side(void **state)
{
	struct capabilities a = {0}, b = {0};
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(capabilities_add(&a, "c", &e), 0);
	assert_int_equal(capabilities_add(&a, "a", &e), 0);
	assert_int_equal(capabilities_add(&a, "c", &e), 0);
	assert_int_equal(a.count, 2);
	assert_string_equal(capabilities_difference(&a, &b), "a");
	assert_int_equal(capabilities_add(&b, "a", &e), 0);
	assert_string_equal(capabilities_difference(&a, &b), "c");
	assert_int_equal(capabilities_add(&b, "b", &e), 0);
	assert_int_equal(capabilities_add(&b, "c", &e), 0);
	assert_string_equal(capabilities_difference(&a, &b), "b");
	assert_string_equal(capabilities_difference(&b, &a), "b");
	assert_int_equal(capabilities_add(&a, "b", &e), 0);
	assert_null(capabilities_difference(&a, &b));
	capabilities_clear(&a);
	capabilities_clear(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(object_read_programs_have_sections_and_tags),
	    cmocka_unit_test(object_read_capabilities_cover_subprograms),
	    cmocka_unit_test(object_read_section_that_no_program_names_counts),
	    cmocka_unit_test(object_read_kconfig_is_told),
	    cmocka_unit_test(object_read_externs_are_capabilities),
	    cmocka_unit_test(object_read_pinned_map_is_refused),
	    cmocka_unit_test(object_read_kernel_object_by_number_is_refused),
	    cmocka_unit_test(object_read_unknown_helper_has_its_number),
	    cmocka_unit_test(object_read_damaged_file_is_survived),
	    cmocka_unit_test(object_compare_differences_are_named),
	    cmocka_unit_test(attach_split_aliases_and_refusals),
	    cmocka_unit_test(capabilities_difference_finds_either_side),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
