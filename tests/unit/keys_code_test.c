/* Objects that could be read in two ways. Each is built, then changed in one place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "keys/object.h"
#include "tests/unit/bpf_forge.h"

static const char source[] = "#include <obs/obs.h>\n"
			     "#include <bpf/bpf_core_read.h>\n"
			     "__u64 spare[4] SEC(\"other\") = {1};\n"
			     "struct task { int pid; } __attribute__((preserve_access_index));\n"
			     "extern int kernel_function(__u64) __ksym;\n"
			     "extern const int kernel_variable __ksym;\n"
			     "static int each(__u32 i, void *x) { return i > 3; }\n"
			     "__attribute__((noinline)) int one(int x) { return bpf_get_prandom_u32() + x; }\n"
			     "__attribute__((noinline)) int two(int x) { return bpf_get_prandom_u32() * x; }\n"
			     "SEC(\"tp_btf/sched_process_exec\") int on(__u64 *ctx) {\n"
			     "	struct task *t = (void *)ctx[0]; int x = 0;\n"
			     "	bpf_probe_read_kernel(&x, 4, &kernel_variable);\n"
			     "	bpf_loop(8, each, &x, 0);\n"
			     "	return one(t->pid) + two(x) + kernel_function(0x123456789abcull); }\n"
			     "OBS_LICENSE(\"GPL\");\n";

static struct forged plain;

static int compile(void **state)
{
	(void)state;
	plain = forge(source);
	return 0;
}

static int drop(void **state)
{
	(void)state;
	free(plain.elf);
	return 0;
}

static const char on[] = "tp_btf/sched_process_exec";

static int read_forged(const struct forged *f, struct object **o, struct err *e)
{
	*e = (struct err)ERR_INIT;
	*o = NULL;
	return object_read("t", f->elf, f->size, o, e);
}

static bool has(const struct object *o, const char *word)
{
	for (size_t i = 0; i < o->capabilities.count; i++)
		if (strcmp(o->capabilities.word[i], word) == 0)
			return true;
	return false;
}

/* Makes the change, and looks why it is refused. */
static void refuse_of(const struct forged *from, void (*change)(struct forged *f), const char *why)
{
	struct forged f = forge_copy(from);
	struct object *o;
	struct err e;

	assert_int_equal(read_forged(&f, &o, &e), 0);
	object_free(&o);
	change(&f);
	assert_int_equal(read_forged(&f, &o, &e), -1);
	assert_null(o);
	assert_int_equal(e.code, ERR_OBJECT_MALFORMED);
	if (!strstr(e.frame[0], why))
		fail_msg("\"%s\", not \"%s\"", e.frame[0], why);
	free(f.elf);
}

static void refuse(void (*change)(struct forged *f), const char *why)
{
	refuse_of(&plain, change, why);
}

static void code_read_plain_object_is_accepted(void **state)
{
	struct forged f = forge_copy(&plain);
	struct object *o;
	struct err e;

	(void)state;
	assert_int_equal(read_forged(&f, &o, &e), 0);
	assert_true(has(o, "kfunc:kernel_function"));
	assert_true(has(o, "ksym:kernel_variable"));
	object_free(&o);
	free(f.elf);
}

/* ---- sections ---- */

static void make_executable(struct forged *f, const char *name)
{
	Elf64_Shdr *section = forge_section(f, name);

	forge_grow(f, section, -section->sh_size % 8);
	section->sh_flags |= SHF_EXECINSTR;
}

/* libbpf does not look at the relocations of these. */
static void executable_btf(struct forged *f)
{
	forge_section(f, ".rel.BTF")->sh_info = 0;
	make_executable(f, ".BTF");
}

static void executable_btf_of_no_names(struct forged *f)
{
	executable_btf(f);
	forge_type(f, BTF_KIND_FUNC, "on")->name_off = 1 << 20;
}

static void executable_btf_ext(struct forged *f)
{
	forge_section(f, ".rel.BTF.ext")->sh_info = 0;
	make_executable(f, ".BTF.ext");
}

static void executable_licence(struct forged *f)
{
	make_executable(f, "license");
}

static void executable_version(struct forged *f)
{
	forge_rename(f, forge_section(f, "other"), "version");
	make_executable(f, "version");
}

static void executable_debug(struct forged *f)
{
	forge_rename(f, forge_section(f, "other"), ".debug_info");
	make_executable(f, ".debug_info");
}

static void executable_without_bytes(struct forged *f)
{
	forge_section(f, "other")->sh_type = SHT_NOBITS;
	make_executable(f, "other");
}

static void code_read_executable_section_of_another_use_is_refused(void **state)
{
	(void)state;
	refuse(executable_btf, "section .BTF is executable");
	refuse(executable_btf_of_no_names, "section .BTF is executable");
	refuse(executable_btf_ext, "section .BTF.ext is executable");
	refuse(executable_licence, "section license is executable");
	refuse(executable_version, "section version is executable");
	refuse(executable_debug, "section .debug_info is executable");
	refuse(executable_without_bytes, "section other is executable");
}

static void second_text(struct forged *f)
{
	Elf64_Shdr *spare = forge_section(f, "other");

	spare->sh_flags |= SHF_EXECINSTR;
	memset(f->elf + spare->sh_offset, 0, spare->sh_size);
	forge_rename(f, spare, ".text");
}

static void second_name_of_code(struct forged *f)
{
	forge_rename(f, forge_section(f, "other"), on);
}

static void second_licence(struct forged *f)
{
	forge_rename(f, forge_section(f, "other"), "license");
}

static void second_btf_ext(struct forged *f)
{
	forge_rename(f, forge_section(f, "other"), ".BTF.ext");
}

static void btf_of_strings(struct forged *f)
{
	forge_section(f, ".BTF")->sh_type = SHT_STRTAB;
}

static void long_licence(struct forged *f)
{
	memset(forge_grow(f, forge_section(f, "license"), 64), 'x', 64);
}

static void second_symbols(struct forged *f)
{
	forge_section(f, "other")->sh_type = SHT_SYMTAB;
}

static void code_read_sections_of_one_name_are_refused(void **state)
{
	(void)state;
	refuse(second_text, "two sections .text");
	refuse(second_name_of_code, "two sections tp_btf");
	refuse(second_licence, "two sections license");
	refuse(second_btf_ext, "two sections .BTF.ext");
	refuse(second_symbols, "two symbol tables");
	refuse(btf_of_strings, "section .BTF has no contents");
	refuse(long_licence, "license section is too long");
}

/* ---- symbols ---- */

/* The kernel function is symbol 0, where libbpf finds it too. */
static void extern_in_symbol_0(struct forged *f)
{
	Elf64_Rel *rel = forge_relocation(f, on, "kernel_function");

	*forge_symbol(f, "") = *forge_symbol(f, "kernel_function");
	forge_symbol(f, "kernel_function")->st_name = 0;
	rel->r_info = ELF64_R_INFO(0, ELF64_R_TYPE(rel->r_info));
}

static void undefined_function(struct forged *f)
{
	forge_symbol(f, "kernel_function")->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
}

static void undefined_local(struct forged *f)
{
	forge_symbol(f, "kernel_function")->st_info = ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE);
}

static void two_of_a_name(struct forged *f)
{
	*forge_symbol(f, "two") = *forge_symbol(f, "kernel_function");
}

static void overlap(struct forged *f)
{
	Elf64_Sym *one = forge_symbol(f, "one"), *two = forge_symbol(f, "two");

	two->st_value = one->st_value + 8;
}

static void same_place(struct forged *f)
{
	Elf64_Sym *one = forge_symbol(f, "one"), *two = forge_symbol(f, "two");

	two->st_value = one->st_value;
	two->st_size = one->st_size;
}

static void no_size(struct forged *f)
{
	forge_symbol(f, "two")->st_size = 0;
}

/* libbpf would write the second half behind the program's memory. */
static void ends_in_a_load(struct forged *f)
{
	Elf64_Shdr *section = forge_section(f, on);
	struct bpf_insn *load = forge_insn(f, on, BPF_LD | BPF_IMM | BPF_DW);

	forge_symbol(f, "on")->st_size = (uint64_t)((uint8_t *)(load + 1) - (f->elf + section->sh_offset));
}

static void begins_in_a_load(struct forged *f)
{
	Elf64_Shdr *section = forge_section(f, on);
	struct bpf_insn *load = forge_insn(f, on, BPF_LD | BPF_IMM | BPF_DW);
	Elf64_Sym *symbol = forge_symbol(f, "on");
	uint64_t start = (uint64_t)((uint8_t *)(load + 1) - (f->elf + section->sh_offset));

	symbol->st_size -= start - symbol->st_value;
	symbol->st_value = start;
}

static void code_read_symbols_of_two_meanings_are_refused(void **state)
{
	(void)state;
	refuse(extern_in_symbol_0, "first symbol is not empty");
	refuse(undefined_function, "symbol kernel_function is undefined, but no extern");
	refuse(undefined_local, "symbol kernel_function is undefined, but no extern");
	refuse(two_of_a_name, "two undefined symbols kernel_function");
	refuse(overlap, "overlap");
	refuse(same_place, "overlap");
	refuse(no_size, "function two lies outside");
	refuse(ends_in_a_load, "function on begins or ends within an instruction");
	refuse(begins_in_a_load, "function on begins or ends within an instruction");
}

/* ---- relocations ---- */

static void relocations_called_btf(struct forged *f)
{
	forge_rename(f, forge_section(f, ".reltp_btf/sched_process_exec"), ".rel.BTF");
}

static void relocations_called_debug(struct forged *f)
{
	forge_rename(f, forge_section(f, ".reltp_btf/sched_process_exec"), ".debug_line");
}

static void relocations_called_licence(struct forged *f)
{
	forge_rename(f, forge_section(f, "license"), "no license");
	forge_rename(f, forge_section(f, ".reltp_btf/sched_process_exec"), "license");
}

static void relocations_of_another_size(struct forged *f)
{
	forge_section(f, ".reltp_btf/sched_process_exec")->sh_entsize = 8;
}

static void relocated_twice(struct forged *f)
{
	Elf64_Rel rel = *forge_relocation(f, on, "one");

	rel.r_info = ELF64_R_INFO(forge_symbol_index(f, "two"), ELF64_R_TYPE(rel.r_info));
	memcpy(forge_grow(f, forge_section(f, ".reltp_btf/sched_process_exec"), sizeof(rel)), &rel, sizeof(rel));
}

static void relocated_exit(struct forged *f)
{
	Elf64_Shdr *section = forge_section(f, on);
	struct bpf_insn *end = forge_insn(f, on, BPF_JMP | BPF_EXIT);

	forge_relocation(f, on, "one")->r_offset = (uint64_t)((uint8_t *)end - (f->elf + section->sh_offset));
}

static void relocated_by_core_too(struct forged *f)
{
	Elf64_Shdr *section = forge_section(f, on);
	struct bpf_insn *load = forge_insn(f, on, BPF_LDX | BPF_MEM | BPF_W);
	Elf64_Rel *rel = forge_relocation(f, on, "one");

	/* The load of a field becomes the call. */
	*load = (struct bpf_insn){.code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL, .imm = -1};
	rel->r_offset = (uint64_t)((uint8_t *)load - (f->elf + section->sh_offset));
}

/* libbpf cuts it to 32 bits: function one. */
static void callee_beyond_4_gib(struct forged *f)
{
	Elf64_Sym *two = forge_symbol(f, "two");

	two->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE);
	two->st_value = UINT64_C(1) << 32;
}

static void callee_without_a_section(struct forged *f)
{
	forge_symbol(f, "two")->st_shndx = SHN_ABS;
}

static void callee_outside_of_text(struct forged *f)
{
	struct bpf_insn *insn =
	    (struct bpf_insn *)(f->elf + forge_section(f, on)->sh_offset + forge_relocation(f, on, "two")->r_offset);

	insn->imm += 1 << 20;
}

static void callee_unnamed(struct forged *f)
{
	Elf64_Rel *rel = forge_relocation(f, on, "two");

	rel->r_info = ELF64_R_INFO(0, ELF64_R_TYPE(rel->r_info));
}

static void callee_not_there(struct forged *f)
{
	Elf64_Rel *rel = forge_relocation(f, on, "two");

	rel->r_info = ELF64_R_INFO(4711, ELF64_R_TYPE(rel->r_info));
}

static void callback_beyond_4_gib(struct forged *f)
{
	Elf64_Sym *one = forge_symbol(f, "one");
	Elf64_Rel *rel = forge_relocation(f, on, "kernel_variable");

	/* The load of the variable's address becomes that of a function. */
	rel->r_info = ELF64_R_INFO(forge_symbol_index(f, "one"), ELF64_R_TYPE(rel->r_info));
	one->st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION);
	one->st_value = UINT64_C(1) << 32;
}

static void code_read_relocations_of_two_meanings_are_refused(void **state)
{
	(void)state;
	refuse(relocations_called_btf, "relocations of section tp_btf");
	refuse(relocations_called_debug, "relocations of section tp_btf");
	refuse(relocations_called_licence, "section license has no contents");
	refuse(relocations_of_another_size, "relocations of section tp_btf");
	refuse(relocated_twice, "two relocations");
	refuse(relocated_exit, "nothing to relocate");
	refuse(relocated_by_core_too, "two relocations");
}

static void code_read_callee_that_is_none_is_refused(void **state)
{
	(void)state;
	refuse(callee_beyond_4_gib, "refers to no function");
	refuse(callee_without_a_section, "refers to no function");
	refuse(callee_outside_of_text, "refers to no function");
	refuse(callee_unnamed, "refers to nothing");
	refuse(callee_not_there, "a relocation of section tp_btf");
	refuse(callback_beyond_4_gib, "refers to no function");
}

/* ---- externs ---- */

/* libbpf takes the function, and lists a variable in its place. */
static void function_and_variable_of_a_name(struct forged *f)
{
	Elf64_Rel *rel = forge_relocation(f, on, "kernel_variable");

	forge_type(f, BTF_KIND_VAR, "kernel_variable")->name_off =
	    forge_type(f, BTF_KIND_FUNC, "kernel_function")->name_off;
	rel->r_info = ELF64_R_INFO(forge_symbol_index(f, "kernel_function"), ELF64_R_TYPE(rel->r_info));
	forge_symbol(f, "kernel_variable")->st_name = 0;
}

static void code_read_extern_that_btf_has_twice_is_refused(void **state)
{
	/* Variables of the kernel's configuration have no word. */
	struct forged configured = forge("#include <obs/obs.h>\n"
					 "extern int kernel_function(__u64) __ksym;\n"
					 "extern int kernel_variable __kconfig;\n"
					 "SEC(\"tp_btf/sched_process_exec\") int on(__u64 *ctx) {\n"
					 "	return kernel_function(1) + kernel_variable; }\n");

	(void)state;
	refuse(function_and_variable_of_a_name, ".BTF declares extern kernel_function twice");
	refuse_of(&configured, function_and_variable_of_a_name, ".BTF declares extern kernel_function twice");
	free(configured.elf);
}

static void code_read_called_variable_is_a_function(void **state)
{
	struct forged f = forge_copy(&plain);
	Elf64_Rel *call = forge_relocation(&f, on, "kernel_function");
	struct object *o;
	struct err e;

	(void)state;
	call->r_info = ELF64_R_INFO(forge_symbol_index(&f, "kernel_variable"), ELF64_R_TYPE(call->r_info));
	assert_int_equal(read_forged(&f, &o, &e), 0);
	assert_true(has(o, "kfunc:kernel_variable"));
	assert_false(has(o, "ksym:kernel_variable"));
	object_free(&o);
	free(f.elf);
}

/* ---- instructions ---- */

static void call_with_an_offset(struct forged *f)
{
	forge_insn(f, ".text", BPF_JMP | BPF_CALL)->off = 1;
}

static void call_with_a_register(struct forged *f)
{
	forge_insn(f, ".text", BPF_JMP | BPF_CALL)->dst_reg = 1;
}

static void call_of_a_register(struct forged *f)
{
	forge_insn(f, ".text", BPF_JMP | BPF_CALL)->code |= BPF_X;
}

static void call_of_32_bits(struct forged *f)
{
	forge_insn(f, ".text", BPF_JMP | BPF_CALL)->code = BPF_JMP32 | BPF_CALL;
}

static void code_read_unknown_call_is_refused(void **state)
{
	(void)state;
	refuse(call_with_an_offset, "no known form of a call");
	refuse(call_with_a_register, "no known form of a call");
	refuse(call_of_a_register, "no known form of a call");
	refuse(call_of_32_bits, "no known form of a call");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(code_read_plain_object_is_accepted),
	    cmocka_unit_test(code_read_executable_section_of_another_use_is_refused),
	    cmocka_unit_test(code_read_sections_of_one_name_are_refused),
	    cmocka_unit_test(code_read_symbols_of_two_meanings_are_refused),
	    cmocka_unit_test(code_read_relocations_of_two_meanings_are_refused),
	    cmocka_unit_test(code_read_callee_that_is_none_is_refused),
	    cmocka_unit_test(code_read_extern_that_btf_has_twice_is_refused),
	    cmocka_unit_test(code_read_called_variable_is_a_function),
	    cmocka_unit_test(code_read_unknown_call_is_refused),
	};

	return cmocka_run_group_tests(tests, compile, drop);
}
