/* The code of a BPF ELF: instructions of every executable section, which of them the loader rewrites, functions and
 * undefined symbols. The only user of libelf. Everything is checked against the file's bounds; strings and instructions
 * are borrowed from the ELF.
 *
 * libbpf reads the same bytes again and loads what it found, so there must be one way to read them. What ELF leaves open,
 * or libbpf takes by another rule than its header says, is refused:
 *   - executable is only SHT_PROGBITS of a name that libbpf keeps for nothing else; a name of code, of the licence, the maps
 *     or BTF belongs to one section
 *   - one symbol table, whose first symbol is empty; undefined symbols are externs
 *   - functions do not overlap, and neither begin nor end within an instruction
 *   - relocations of code lie in ".rel" and its section's name, each on a call or a 16-byte load, one for each, never together
 *     with one of CO-RE; what they refer to must be there */
#ifndef OBS_KEYS_CODE_H
#define OBS_KEYS_CODE_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

enum code_mark {
	CODE_RELOCATED = 1, /* an ELF relocation: a map, a variable, a function */
	CODE_CORE = 2,      /* a CO-RE relocation: immediate, offset and size are what the target kernel says */
	CODE_EXTERN = 4,    /* relocated, to an undefined symbol: something of the kernel */
	CODE_HALF = 8,      /* the second half of a 16-byte load */
};

struct code_section {
	const char *name;
	size_t index; /* in the ELF */
	bool text;    /* it is .text: where functions are that others call */
	const struct bpf_insn *insn;
	size_t count;
	uint8_t *mark;    /* enum code_mark, one for each instruction */
	uint32_t *callee; /* of calls and addresses of functions: the first instruction in .text plus 1; else 0 */
};

struct code_extern {
	const char *name;
	size_t symbol; /* ascending */
	bool called;
};

struct code_function {
	const char *name;
	const struct code_section *section;
	size_t first, count; /* instructions */
};

struct code {
	const char *licence; /* "" if there is no license section */
	struct code_section *sections;
	size_t section_count;
	struct code_function *functions; /* by section and place */
	size_t function_count;
	struct code_extern *externs; /* undefined symbols */
	size_t extern_count;
	const uint8_t *btf; /* bytes of .BTF, NULL if there is none */
	size_t btf_size;
	void *elf;
	char licence_text[64]; /* libbpf's limit */
};

/* ERR_OBJECT_MALFORMED. elf is borrowed and must outlive the result. */
MUST_CHECK int code_read(const uint8_t *elf, size_t size, struct code **out, struct err *e);
void code_free(struct code **code);

#endif
