#include "tests/unit/bpf_forge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "tests/unit/bpf_source.h"

enum { ROOM = 1 << 16 };

struct forged forge(const char *text)
{
	struct forged f = {0};
	uint8_t *elf = bpf_compile(text, &f.size);

	f.room = f.size + ROOM;
	f.elf = realloc(elf, f.room);
	assert_non_null(f.elf);
	memset(f.elf + f.size, 0, ROOM);
	return f;
}

struct forged forge_copy(const struct forged *from)
{
	struct forged f = *from;

	f.elf = malloc(f.room);
	assert_non_null(f.elf);
	memcpy(f.elf, from->elf, f.room);
	return f;
}

static Elf64_Ehdr *header(const struct forged *f)
{
	return (Elf64_Ehdr *)f->elf;
}

static Elf64_Shdr *sections(const struct forged *f)
{
	return (Elf64_Shdr *)(f->elf + header(f)->e_shoff);
}

static Elf64_Shdr *section_of_type(const struct forged *f, uint32_t type, uint32_t info)
{
	for (unsigned i = 0; i < header(f)->e_shnum; i++)
		if (sections(f)[i].sh_type == type && (!info || sections(f)[i].sh_info == info))
			return &sections(f)[i];
	fail();
	return NULL;
}

Elf64_Shdr *forge_section(const struct forged *f, const char *name)
{
	const char *names = (const char *)f->elf + sections(f)[header(f)->e_shstrndx].sh_offset;

	for (unsigned i = 0; i < header(f)->e_shnum; i++)
		if (strcmp(names + sections(f)[i].sh_name, name) == 0)
			return &sections(f)[i];
	fail_msg("no section %s", name);
	return NULL;
}

uint32_t forge_symbol_index(const struct forged *f, const char *name)
{
	const Elf64_Shdr *table = section_of_type(f, SHT_SYMTAB, 0);
	const Elf64_Sym *symbols = (const Elf64_Sym *)(f->elf + table->sh_offset);
	const char *names = (const char *)f->elf + sections(f)[table->sh_link].sh_offset;

	for (uint32_t i = 1; i < table->sh_size / sizeof(*symbols); i++)
		if (strcmp(names + symbols[i].st_name, name) == 0)
			return i;
	fail_msg("no symbol %s", name);
	return 0;
}

Elf64_Sym *forge_symbol(const struct forged *f, const char *name)
{
	uint32_t at = name[0] ? forge_symbol_index(f, name) : 0;

	return (Elf64_Sym *)(f->elf + section_of_type(f, SHT_SYMTAB, 0)->sh_offset) + at;
}

Elf64_Rel *forge_relocation(const struct forged *f, const char *section, const char *symbol)
{
	uint32_t of = (uint32_t)(forge_section(f, section) - sections(f)), to = forge_symbol_index(f, symbol);
	const Elf64_Shdr *table = section_of_type(f, SHT_REL, of);
	Elf64_Rel *rel = (Elf64_Rel *)(f->elf + table->sh_offset);

	for (size_t i = 0; i < table->sh_size / sizeof(*rel); i++)
		if (ELF64_R_SYM(rel[i].r_info) == to)
			return &rel[i];
	fail_msg("no relocation to %s", symbol);
	return NULL;
}

struct bpf_insn *forge_insn(const struct forged *f, const char *section, uint8_t code)
{
	const Elf64_Shdr *of = forge_section(f, section);
	struct bpf_insn *insn = (struct bpf_insn *)(f->elf + of->sh_offset);

	for (size_t i = 0; i < of->sh_size / sizeof(*insn); i++)
		if (insn[i].code == code)
			return &insn[i];
	fail_msg("no instruction 0x%x", code);
	return NULL;
}

struct btf_type *forge_type(const struct forged *f, unsigned kind, const char *name)
{
	const Elf64_Shdr *section = forge_section(f, ".BTF");
	struct btf *btf = btf__new(f->elf + section->sh_offset, (uint32_t)section->sh_size);
	uint32_t size;

	assert_non_null(btf);
	int32_t id = btf__find_by_name_kind(btf, name, kind);
	assert_true(id > 0);
	const uint8_t *start = btf__raw_data(btf, &size), *type = (const uint8_t *)btf__type_by_id(btf, (uint32_t)id);
	assert_non_null(start);
	struct btf_type *t = (struct btf_type *)(f->elf + section->sh_offset + (type - start));
	btf__free(btf);
	return t;
}

uint8_t *forge_grow(struct forged *f, Elf64_Shdr *section, size_t more)
{
	size_t at = (f->size + 7) / 8 * 8, size = section->sh_size;

	assert_true(at + size + more <= f->room);
	memcpy(f->elf + at, f->elf + section->sh_offset, size);
	section->sh_offset = at;
	section->sh_size += more;
	f->size = at + size + more;
	return f->elf + at + size;
}

void forge_rename(struct forged *f, Elf64_Shdr *section, const char *name)
{
	Elf64_Shdr *names = &sections(f)[header(f)->e_shstrndx];
	size_t at = names->sh_size;

	memcpy(forge_grow(f, names, strlen(name) + 1), name, strlen(name) + 1);
	section->sh_name = (uint32_t)at;
}
