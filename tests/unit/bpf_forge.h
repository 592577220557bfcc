/* Changes to a BPF ELF that no compiler makes. Each fails the test if what it is to change is not there. */
#ifndef OBS_TESTS_BPF_FORGE_H
#define OBS_TESTS_BPF_FORGE_H

#include <elf.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <stddef.h>
#include <stdint.h>

struct forged {
	uint8_t *elf; /* with room behind, so that nothing moves */
	size_t size, room;
};

/* Compiles the text. The caller frees elf. */
struct forged forge(const char *text);
struct forged forge_copy(const struct forged *from);

Elf64_Shdr *forge_section(const struct forged *f, const char *name);
Elf64_Sym *forge_symbol(const struct forged *f, const char *name);
uint32_t forge_symbol_index(const struct forged *f, const char *name);
/* The first relocation of a section of code that refers to the symbol. */
Elf64_Rel *forge_relocation(const struct forged *f, const char *section, const char *symbol);
/* The first instruction of a section with this code. */
struct bpf_insn *forge_insn(const struct forged *f, const char *section, uint8_t code);
/* The type of that kind and name in .BTF. */
struct btf_type *forge_type(const struct forged *f, unsigned kind, const char *name);

void forge_rename(struct forged *f, Elf64_Shdr *section, const char *name);
/* Moves its bytes to the file's end, with more zeros behind; where these are. */
uint8_t *forge_grow(struct forged *f, Elf64_Shdr *section, size_t more);

#endif
