/* What the objects are, and what their code can do. */
#include <elf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keys/object.h"
#include "tests/reject/reject.h"

#define ON     "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0;\n"
#define LOOKUP "bpf_map_lookup_elem(&counts, &k)"

/* ---- code ---- */

static struct elf signals, in_subprogram, in_unused_function, in_nameless_section, in_unknown_section, kfunc,
    writes_user, overrides, drops, stores, lsm, modifies, replaces, calls, reroutes, connects, rewrites, socket_map,
    other_name, other_map, configured, pinned, by_number, first_symbol, half, native, programs_257, maps_129;

static const struct {
	struct elf *to;
	const char *source;
} sources[] = {
    {&signals, ON "bpf_send_signal(9); return " LOOKUP " != 0; }\n"},
    {&in_subprogram, "static __attribute__((noinline)) long hidden(int x) { return bpf_send_signal(x); }\n" ON
		     "return " LOOKUP " ? hidden(9) : 0; }\n"},
    /* A global function that nobody calls: libbpf leaves it out, a later one may not. */
    {&in_unused_function,
     "__attribute__((noinline)) int hidden(int x) { return bpf_send_signal(x); }\n" ON "return " LOOKUP " != 0; }\n"},
    {&in_nameless_section,
     ON "return " LOOKUP " != 0; }\n"
	"asm(\".section hidden,\\\"ax\\\",@progbits\\n\\tr1 = 9\\n\\tcall 109\\n\\texit\\n\\t.text\\n\");\n"},
    {&in_unknown_section,
     ON "return " LOOKUP " != 0; }\nSEC(\"hidden\") int other(void *ctx) { return bpf_send_signal(9); }\n"},
    {&kfunc, "extern void bpf_cgroup_release_dtor(void *) __ksym;\n"
	     "extern int crash_kexec_of_ours(void) __ksym __weak;\n" ON
	     "if (crash_kexec_of_ours) crash_kexec_of_ours(); return " LOOKUP " != 0; }\n"},
    {&writes_user, ON "__u64 v = 1; void *p = " LOOKUP "; return p ? bpf_probe_write_user(p, &v, 8) : 0; }\n"},
    {&overrides, "SEC(\"kprobe/do_nanosleep\") int on(void *ctx) { __u32 k = 0; bpf_override_return(ctx, -1);\n"
		 "return " LOOKUP " != 0; }\n"},
    {&drops, "SEC(\"xdp\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? 1 : 2; }\n"},
    {&stores, "struct sk { __u32 len, type, mark; };\n"
	      "SEC(\"tc\") int on(struct sk *s) { __u32 k = 0; s->mark = 7; return " LOOKUP " ? 0 : -1; }\n"},
    {&lsm, "SEC(\"lsm/file_open\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? -1 : 0; }\n"},
    {&modifies,
     "SEC(\"fmod_ret/security_file_open\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? -1 : 0; }\n"},
    {&replaces, "SEC(\"freplace/other\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? -1 : 0; }\n"},
    {&calls, "SEC(\"syscall\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? -1 : 0; }\n"},
    {&reroutes, "SEC(\"sk_msg\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? 1 : 0; }\n"},
    {&connects, "SEC(\"cgroup/connect4\") int on(void *ctx) { __u32 k = 0; return " LOOKUP " ? 1 : 0; }\n"},
    {&rewrites, "struct md { __u32 data, data_end; };\n"
		"SEC(\"xdp\") int on(struct md *m) { __u8 *p = (void *)(long)m->data;\n"
		"if (p + 1 > (__u8 *)(long)m->data_end) return 2; *p = 1; return 2; }\n"},
    {&socket_map, "struct { __uint(type, BPF_MAP_TYPE_SOCKHASH); __uint(max_entries, 1); __type(key, __u32);\n"
		  "__type(value, __u64); } sockets SEC(\".maps\");\n" ON
		  "return bpf_map_lookup_elem(&sockets, &k) || " LOOKUP "; }\n"},
    {&other_name, "SEC(\"raw_tp/sched_switch\") int off(void *ctx) { __u32 k = 0; return " LOOKUP " != 0; }\n"},
    {&other_map,
     "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 9); __type(key, __u32);\n"
     "__type(value, __u64); } more SEC(\".maps\");\n" ON "return bpf_map_lookup_elem(&more, &k) || " LOOKUP "; }\n"},
    {&configured, "extern int CONFIG_HZ __kconfig;\n" ON "k = CONFIG_HZ; return " LOOKUP " != 0; }\n"},
    {&pinned, "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);\n"
	      "__type(value, __u32); __uint(pinning, 1); } shared SEC(\".maps\");\n" ON
	      "return bpf_map_lookup_elem(&shared, &k) || " LOOKUP "; }\n"},
};

static struct elf copy_of(const struct elf *from)
{
	struct elf elf = {malloc(from->size), from->size};

	memcpy(elf.data, from->data, from->size);
	return elf;
}

static struct bpf_insn *first_code(const struct elf *elf)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf->data;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(elf->data + header->e_shoff);

	for (unsigned i = 0; i < header->e_shnum; i++)
		if (section[i].sh_type == SHT_PROGBITS && (section[i].sh_flags & SHF_EXECINSTR) && section[i].sh_size)
			return (struct bpf_insn *)(elf->data + section[i].sh_offset);
	abort();
}

/* What libbpf would take from there is taken away from where it was. */
static void move_extern(struct elf *elf)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)elf->data;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(elf->data + header->e_shoff);

	while (section->sh_type != SHT_SYMTAB)
		section++;
	Elf64_Sym *symbol = (Elf64_Sym *)(elf->data + section->sh_offset);
	for (size_t i = 1; i < section->sh_size / sizeof(*symbol); i++) {
		if (symbol[i].st_shndx != SHN_UNDEF || !symbol[i].st_name)
			continue;
		symbol[0] = symbol[i];
		symbol[i].st_name = 0;
		return;
	}
	abort();
}

/* One more program, or map, than a manifest may list. */
static struct elf compile_many(const char *before, const char *after, unsigned count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		abort();
	for (unsigned i = 0; i < count; i++)
		fprintf(f, "%s many%u%s\n", before, i, after);
	fprintf(f, "%s", ON "return " LOOKUP " != 0; }\n");
	fclose(f);
	struct elf elf = elf_compile(text);
	free(text);
	return elf;
}

static void compile_all(void)
{
	programs_257 =
	    compile_many("SEC(\"raw_tp/sched_switch\") int", "(void *ctx) { return 0; }", MANIFEST_MAX_PROGRAMS);
	maps_129 =
	    compile_many("struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32);\n"
			 "__type(value, __u64); }",
			 " SEC(\".maps\");", MANIFEST_MAX_MAPS);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		*sources[i].to = elf_compile(sources[i].source);
	/* A map by its number would be whatever the loading process has open there. */
	by_number = copy_of(&observer);
	struct bpf_insn *insn = first_code(&by_number);
	while (insn->code != (BPF_LD | BPF_IMM | BPF_DW))
		insn++;
	insn->src_reg = BPF_PSEUDO_MAP_FD;
	first_symbol = copy_of(&kfunc);
	move_extern(&first_symbol);
	half = copy_of(&observer);
	half.size /= 2;
	native = copy_of(&observer);
	((Elf64_Ehdr *)native.data)->e_machine = EM_X86_64;
}

static void free_all(void)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		free(sources[i].to->data);
	free(by_number.data);
	free(first_symbol.data);
	free(half.data);
	free(native.data);
	free(programs_257.data);
	free(maps_129.data);
}

static void hide(struct reject *r, const char *name, const struct elf *shipped)
{
	refuse(r, ERR_CAPABILITY_MISMATCH, name, (struct parts){.stated = &observer, .shipped = shipped});
}

static void beyond(struct reject *r, const char *name, const struct elf *elf)
{
	refuse(r, ERR_CAPABILITY_REFUSED, name, (struct parts){.stated = elf});
}

/* ---- manifests that say otherwise ---- */

static char *text(const char *from)
{
	char *copy = strdup(from);

	if (!copy)
		abort();
	return copy;
}

static void set(char **to, const char *from)
{
	free(*to);
	*to = text(from);
}

static void other_digest(struct manifest *m)
{
	m->objects[0].digest.byte[31] ^= 1;
}

static void other_size(struct manifest *m)
{
	m->objects[0].size++;
}

static void other_section(struct manifest *m)
{
	set(&m->objects[0].programs[0].section, "raw_tp/sched_wakeup");
}

static void other_type(struct manifest *m)
{
	set(&m->objects[0].programs[0].type, "tracing");
}

static void other_entries(struct manifest *m)
{
	m->objects[0].maps[0].max_entries = 16;
}

static void other_map_type(struct manifest *m)
{
	set(&m->objects[0].maps[0].type, "lru_hash");
}

static void states_more(struct manifest *m)
{
	if (capabilities_add(&m->objects[0].capabilities, "helper:send_signal", NULL))
		abort();
}

void reject_objects(struct reject *r)
{
	uint8_t noise[] = "\x7f"
			  "ELF and nothing";
	const struct elf no_elf = {noise, sizeof(noise)};

	compile_all();
	refuse(r, ERR_OBJECT_MISSING, "listed_only", (struct parts){.without_object = true});
	refuse(r, ERR_OBJECT_UNLISTED, "one_more", (struct parts){.extra_object = "obj/x86_64/zzz.bpf.o"});
	refuse(r, ERR_OBJECT_UNLISTED, "one_more_that_is_good",
	       (struct parts){.extra_object = "obj/aarch64/probe.bpf.o", .extra = &observer});
	refuse(r, ERR_OBJECT_DIGEST, "other_bytes", (struct parts){.change = other_digest});
	refuse(r, ERR_OBJECT_DIGEST, "other_size", (struct parts){.change = other_size});
	refuse(r, ERR_OBJECT_MALFORMED, "no_elf", (struct parts){.stated = &observer, .shipped = &no_elf});
	refuse(r, ERR_OBJECT_MALFORMED, "half", (struct parts){.stated = &observer, .shipped = &half});
	refuse(r, ERR_OBJECT_MALFORMED, "for_another_machine", (struct parts){.stated = &observer, .shipped = &native});
	refuse(r, ERR_OBJECT_MALFORMED, "map_by_number", (struct parts){.stated = &observer, .shipped = &by_number});
	refuse(r, ERR_OBJECT_MALFORMED, "kernel_function_as_first_symbol",
	       (struct parts){.stated = &observer, .shipped = &first_symbol});
	refuse(r, ERR_OBJECT_MALFORMED, "map_shared_by_name", (struct parts){.stated = &observer, .shipped = &pinned});
	refuse(r, ERR_OBJECT_MISMATCH, "kernel_configuration",
	       (struct parts){.stated = &observer, .shipped = &configured});
	refuse(r, ERR_OBJECT_MISMATCH, "program_in_an_unknown_section",
	       (struct parts){.stated = &observer, .shipped = &in_unknown_section});
	refuse(r, ERR_OBJECT_MISMATCH, "other_program", (struct parts){.stated = &observer, .shipped = &other_name});
	refuse(r, ERR_OBJECT_MISMATCH, "one_more_map", (struct parts){.stated = &observer, .shipped = &other_map});
	refuse(r, ERR_OBJECT_MISMATCH, "programs_257", (struct parts){.stated = &observer, .shipped = &programs_257});
	refuse(r, ERR_OBJECT_MISMATCH, "maps_129", (struct parts){.stated = &observer, .shipped = &maps_129});
	refuse(r, ERR_OBJECT_MISMATCH, "other_section", (struct parts){.change = other_section});
	refuse(r, ERR_OBJECT_MISMATCH, "other_program_type", (struct parts){.change = other_type});
	refuse(r, ERR_OBJECT_MISMATCH, "other_map_size", (struct parts){.change = other_entries});
	refuse(r, ERR_OBJECT_MISMATCH, "other_map_type", (struct parts){.change = other_map_type});

	hide(r, "in_the_program", &signals);
	hide(r, "in_a_subprogram", &in_subprogram);
	hide(r, "in_an_unused_function", &in_unused_function);
	hide(r, "in_a_section_that_no_program_names", &in_nameless_section);
	hide(r, "in_a_kfunc", &kfunc);
	refuse(r, ERR_CAPABILITY_MISMATCH, "states_more", (struct parts){.change = states_more});

	beyond(r, "sends_signals", &signals);
	beyond(r, "in_a_subprogram", &in_subprogram);
	beyond(r, "in_an_unused_function", &in_unused_function);
	beyond(r, "in_a_section_that_no_program_names", &in_nameless_section);
	beyond(r, "in_a_kfunc", &kfunc);
	beyond(r, "writes_user_memory", &writes_user);
	beyond(r, "overrides_returns", &overrides);
	beyond(r, "drops_packets", &drops);
	beyond(r, "changes_packets", &stores);
	beyond(r, "rewrites_packets", &rewrites);
	beyond(r, "security_module", &lsm);
	beyond(r, "changes_returns_of_the_kernel", &modifies);
	beyond(r, "replaces_another_program", &replaces);
	beyond(r, "makes_system_calls", &calls);
	beyond(r, "reroutes_messages", &reroutes);
	beyond(r, "decides_over_connections", &connects);
	beyond(r, "map_of_sockets", &socket_map);
	free_all();
}
