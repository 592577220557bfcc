#include "keys/code.h"

#include <gelf.h>
#include <libelf.h>
#include <linux/btf.h>
#include <stdlib.h>
#include <string.h>

#ifndef EM_BPF
#define EM_BPF 247
#endif

enum { CODE_MAX_SECTIONS = 4096, CODE_MAX_SYMBOLS = 1 << 17, CODE_MAX_EXTERNS = 4096, BTF_EXT_MAGIC = 0xeb9f };

/* Of a section of code, or one that libbpf looks up by name: no other may be called the same. */
struct section_name {
	const char *name;
	bool sole;
};

struct reading {
	struct code *code;
	Elf *elf;
	Elf_Scn *symbols;
	size_t string_section; /* of the symbols */
	size_t names;          /* of the sections */
	struct section_name *name;
	size_t name_count;
	const uint8_t *btf, *btf_ext;
	size_t btf_size, btf_ext_size;
};

static int malformed(struct err *e, const char *what)
{
	return err_set(e, ERR_OBJECT_MALFORMED, "%s", what);
}

static int section_bytes(Elf_Scn *scn, const uint8_t **bytes, size_t *size, struct err *e)
{
	Elf_Data *data = elf_rawdata(scn, NULL);

	if (!data || (data->d_size && !data->d_buf))
		return malformed(e, "a section lies outside of the file");
	*bytes = data->d_buf;
	*size = data->d_size;
	return 0;
}

/* Where 16-byte loads have their second halves. */
static int note_halves(struct code_section *s, struct err *e)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->insn[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (i + 1 >= s->count || s->insn[i + 1].code != 0)
			return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: half an instruction",
				       s->name, i);
		s->mark[++i] = CODE_HALF;
	}
	return 0;
}

static int add_code(struct reading *r, Elf_Scn *scn, const char *name, struct err *e)
{
	struct code_section *s = &r->code->sections[r->code->section_count];
	const uint8_t *bytes = NULL;
	size_t size = 0;

	if (section_bytes(scn, &bytes, &size, e))
		return -1;
	if (size == 0)
		return 0;
	if (size % sizeof(struct bpf_insn) || (uintptr_t)bytes % _Alignof(struct bpf_insn))
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s is no whole number of instructions", name);
	s->mark = calloc(size / sizeof(struct bpf_insn), 1);
	s->callee = calloc(size / sizeof(struct bpf_insn), sizeof(*s->callee));
	if (!s->mark || !s->callee) {
		r->code->section_count++; /* owned, to be freed */
		return err_errno(e, ERR_NOMEM, "section %s", name);
	}
	s->name = name;
	s->text = strcmp(name, ".text") == 0;
	s->index = elf_ndxscn(scn);
	s->insn = (const struct bpf_insn *)bytes;
	s->count = size / sizeof(struct bpf_insn);
	r->code->section_count++;
	return note_halves(s, e);
}

static int add_licence(struct reading *r, Elf_Scn *scn, struct err *e)
{
	const uint8_t *bytes = NULL;
	size_t size = 0;

	if (section_bytes(scn, &bytes, &size, e))
		return -1;
	if (size >= sizeof(r->code->licence_text))
		return malformed(e, "the license section is too long");
	if (size)
		memcpy(r->code->licence_text, bytes, size);
	r->code->licence_text[size] = '\0';
	return 0;
}

/* libbpf reads these by name, or passes them over, before it looks whether they are executable. */
static bool no_code(const char *name)
{
	return (name[0] == '.' && strcmp(name, ".text") != 0) || strcmp(name, "license") == 0 ||
	       strcmp(name, "version") == 0 || strcmp(name, "maps") == 0;
}

static int read_executable(struct reading *r, Elf_Scn *scn, const GElf_Shdr *header, const char *name, struct err *e)
{
	if (header->sh_type != SHT_PROGBITS || no_code(name))
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s is executable, but not read as code", name);
	return add_code(r, scn, name, e);
}

/* A section that libbpf takes by name. */
static int read_named(struct reading *r, Elf_Scn *scn, const char *name, struct err *e)
{
	if (strcmp(name, "license") == 0)
		return add_licence(r, scn, e);
	if (strcmp(name, ".BTF") == 0)
		return section_bytes(scn, &r->btf, &r->btf_size, e);
	if (strcmp(name, ".BTF.ext") == 0)
		return section_bytes(scn, &r->btf_ext, &r->btf_ext_size, e);
	return 0;
}

static bool is_named(const char *name)
{
	return strcmp(name, "license") == 0 || strcmp(name, ".BTF") == 0 || strcmp(name, ".BTF.ext") == 0 ||
	       strcmp(name, ".maps") == 0;
}

static int read_section(struct reading *r, Elf_Scn *scn, struct err *e)
{
	GElf_Shdr header;
	const char *name;

	if (!gelf_getshdr(scn, &header) || !(name = elf_strptr(r->elf, r->names, header.sh_name)))
		return malformed(e, "a section header is broken");
	bool executable = header.sh_flags & SHF_EXECINSTR;
	r->name[r->name_count++] = (struct section_name){name, executable || is_named(name)};
	if (executable)
		return read_executable(r, scn, &header, name, e);
	if (header.sh_type == SHT_SYMTAB) {
		if (r->symbols)
			return malformed(e, "two symbol tables");
		r->symbols = scn;
		r->string_section = header.sh_link;
	}
	if (!is_named(name))
		return 0;
	if (header.sh_type != SHT_PROGBITS)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s has no contents of its own", name);
	return read_named(r, scn, name, e);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct section_name *)a)->name, ((const struct section_name *)b)->name);
}

static int check_names(struct reading *r, struct err *e)
{
	qsort(r->name, r->name_count, sizeof(*r->name), compare_names);
	for (size_t i = 1; i < r->name_count; i++)
		if ((r->name[i].sole || r->name[i - 1].sole) && compare_names(&r->name[i], &r->name[i - 1]) == 0)
			return err_set(e, ERR_OBJECT_MALFORMED, "two sections %s", r->name[i].name);
	return 0;
}

static int read_sections(struct reading *r, struct err *e)
{
	size_t count;

	if (elf_getshdrnum(r->elf, &count) || elf_getshdrstrndx(r->elf, &r->names))
		return malformed(e, "no section headers");
	if (count > CODE_MAX_SECTIONS)
		return malformed(e, "too many sections");
	r->code->sections = calloc(count + 1, sizeof(*r->code->sections));
	r->name = calloc(count + 1, sizeof(*r->name));
	if (!r->code->sections || !r->name)
		return err_errno(e, ERR_NOMEM, "sections");
	for (Elf_Scn *scn = elf_nextscn(r->elf, NULL); scn; scn = elf_nextscn(r->elf, scn))
		if (read_section(r, scn, e))
			return -1;
	return check_names(r, e);
}

static bool is_called(const struct code_section *section, const char *name)
{
	return section->name && strcmp(section->name, name) == 0;
}

static struct code_section *section_at(struct code *code, size_t index)
{
	for (size_t i = 0; i < code->section_count; i++)
		if (code->sections[i].index == index)
			return &code->sections[i];
	return NULL;
}

/* ---- symbols ---- */

static int add_function(struct code *code, const char *name, const GElf_Sym *symbol, struct err *e)
{
	const struct code_section *section = section_at(code, symbol->st_shndx);
	size_t insn = sizeof(struct bpf_insn);

	if (!section)
		return 0;
	if (symbol->st_size == 0 || symbol->st_value % insn || symbol->st_size % insn ||
	    symbol->st_value / insn > section->count ||
	    symbol->st_size / insn > section->count - symbol->st_value / insn)
		return err_set(e, ERR_OBJECT_MALFORMED, "function %s lies outside of its section", name);
	size_t first = symbol->st_value / insn, end = first + symbol->st_size / insn;
	if ((section->mark[first] & CODE_HALF) || (end < section->count && (section->mark[end] & CODE_HALF)))
		return err_set(e, ERR_OBJECT_MALFORMED, "function %s begins or ends within an instruction", name);
	code->functions[code->function_count++] = (struct code_function){name, section, first, end - first};
	return 0;
}

/* libbpf relocates what lies in one program, and looks up programs by a place in them. */
static int compare_functions(const void *a, const void *b)
{
	const struct code_function *x = a, *y = b;

	if (x->section != y->section)
		return x->section < y->section ? -1 : 1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return 0;
}

static int check_functions(struct code *code, struct err *e)
{
	if (code->function_count == 0)
		return 0;
	qsort(code->functions, code->function_count, sizeof(*code->functions), compare_functions);
	for (size_t i = 1; i < code->function_count; i++) {
		const struct code_function *before = &code->functions[i - 1], *f = &code->functions[i];
		if (f->section == before->section && f->first < before->first + before->count)
			return err_set(e, ERR_OBJECT_MALFORMED, "functions %s and %s overlap", before->name, f->name);
	}
	return 0;
}

static int add_extern(struct code *code, const char *name, size_t index, const GElf_Sym *symbol, struct err *e)
{
	unsigned bind = GELF_ST_BIND(symbol->st_info);

	if ((bind != STB_GLOBAL && bind != STB_WEAK) || GELF_ST_TYPE(symbol->st_info) != STT_NOTYPE)
		return err_set(e, ERR_OBJECT_MALFORMED, "symbol %s is undefined, but no extern", name);
	if (code->extern_count == CODE_MAX_EXTERNS)
		return malformed(e, "too many undefined symbols");
	code->externs[code->extern_count++] = (struct code_extern){name, index, false};
	return 0;
}

static int read_symbol(struct reading *r, Elf_Data *data, size_t index, struct err *e)
{
	static const GElf_Sym empty;
	GElf_Sym symbol;
	const char *name;

	if (!gelf_getsym(data, (int)index, &symbol) || !(name = elf_strptr(r->elf, r->string_section, symbol.st_name)))
		return malformed(e, "a symbol is broken");
	if (index == 0)
		return memcmp(&symbol, &empty, sizeof(symbol)) ? malformed(e, "the first symbol is not empty") : 0;
	if (symbol.st_shndx == SHN_UNDEF)
		return name[0] ? add_extern(r->code, name, index, &symbol, e) : 0;
	return GELF_ST_TYPE(symbol.st_info) == STT_FUNC ? add_function(r->code, name, &symbol, e) : 0;
}

static int read_symbols(struct reading *r, struct err *e)
{
	struct code *code = r->code;
	Elf_Data *data = r->symbols ? elf_getdata(r->symbols, NULL) : NULL;
	size_t count = data ? data->d_size / sizeof(Elf64_Sym) : 0;

	if (count == 0)
		return malformed(e, "no symbols");
	if (count > CODE_MAX_SYMBOLS)
		return malformed(e, "too many symbols");
	code->functions = calloc(count, sizeof(*code->functions));
	code->externs = calloc(count < CODE_MAX_EXTERNS ? count : CODE_MAX_EXTERNS, sizeof(*code->externs));
	if (!code->functions || !code->externs)
		return err_errno(e, ERR_NOMEM, "symbols");
	for (size_t i = 0; i < count; i++)
		if (read_symbol(r, data, i, e))
			return -1;
	return check_functions(code, e);
}

/* ---- relocations ---- */

static int compare_externs(const void *key, const void *with)
{
	size_t index = *(const size_t *)key, other = ((const struct code_extern *)with)->symbol;

	return index < other ? -1 : index > other;
}

static int note_extern(struct code *code, struct code_section *section, size_t at, size_t index, struct err *e)
{
	struct code_extern *x =
	    bsearch(&index, code->externs, code->extern_count, sizeof(*code->externs), compare_externs);

	if (!x)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: refers to nothing", section->name,
			       at);
	x->called |= section->insn[at].code == (BPF_JMP | BPF_CALL);
	section->mark[at] |= CODE_EXTERN;
	return 0;
}

/* What a relocated call, or the address of a function, refers to (libbpf: functions lie in .text; a section's symbol is
 * followed by an addend in the instruction). libbpf keeps the symbol's value in 32 bits, so it must not be more. */
static int note_callee(struct code_section *section, size_t at, const struct code_section *text, const GElf_Sym *symbol,
		       struct err *e)
{
	const struct bpf_insn *insn = &section->insn[at];
	bool call = insn->code == (BPF_JMP | BPF_CALL);
	int64_t size = sizeof(*insn), first = -1;

	if (symbol->st_value % sizeof(*insn) == 0 && symbol->st_value / sizeof(*insn) < text->count &&
	    (call || insn->imm % size == 0))
		first = (int64_t)symbol->st_value / size + (call ? (int64_t)insn->imm + 1 : insn->imm / size);
	if (first < 0 || (uint64_t)first >= text->count)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: refers to no function",
			       section->name, at);
	section->callee[at] = (uint32_t)first + 1;
	return 0;
}

static int read_relocation(struct reading *r, struct code_section *section, Elf_Data *data, int index, struct err *e)
{
	Elf_Data *symbols = elf_getdata(r->symbols, NULL);
	GElf_Rel rel;
	GElf_Sym symbol;

	if (!gelf_getrel(data, index, &rel) || rel.r_offset % sizeof(struct bpf_insn) ||
	    rel.r_offset / sizeof(struct bpf_insn) >= section->count || GELF_R_SYM(rel.r_info) > CODE_MAX_SYMBOLS ||
	    !symbols || !gelf_getsym(symbols, (int)GELF_R_SYM(rel.r_info), &symbol))
		return err_set(e, ERR_OBJECT_MALFORMED, "a relocation of section %s is broken", section->name);
	size_t at = rel.r_offset / sizeof(struct bpf_insn);
	const struct bpf_insn *insn = &section->insn[at];
	bool call = insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL;
	if (section->mark[at] & CODE_RELOCATED)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: two relocations", section->name,
			       at);
	if (!call && insn->code != (BPF_LD | BPF_IMM | BPF_DW))
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: nothing to relocate",
			       section->name, at);
	section->mark[at] |= CODE_RELOCATED;
	if (symbol.st_shndx == SHN_UNDEF)
		return note_extern(r->code, section, at, GELF_R_SYM(rel.r_info), e);
	const struct code_section *to = section_at(r->code, symbol.st_shndx);
	if (to && to->text)
		return note_callee(section, at, to, &symbol, e);
	if (call || to)
		return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: refers to no function",
			       section->name, at);
	return 0;
}

/* libbpf passes some relocations over by their section's name. */
static bool is_relocation_name(const char *name, const struct code_section *of)
{
	return name && strncmp(name, ".rel", 4) == 0 && is_called(of, name + 4);
}

static int read_relocations(struct reading *r, struct err *e)
{
	for (Elf_Scn *scn = elf_nextscn(r->elf, NULL); scn; scn = elf_nextscn(r->elf, scn)) {
		GElf_Shdr header;
		struct code_section *target;
		Elf_Data *data;

		if (!gelf_getshdr(scn, &header) || (header.sh_type != SHT_REL && header.sh_type != SHT_RELA))
			continue;
		target = section_at(r->code, header.sh_info);
		if (!target)
			continue;
		if (header.sh_type == SHT_RELA)
			return malformed(e, "code with RELA relocations");
		data = elf_getdata(scn, NULL);
		if (!data || header.sh_entsize != sizeof(Elf64_Rel) || data->d_size % sizeof(Elf64_Rel) ||
		    !is_relocation_name(elf_strptr(r->elf, r->names, header.sh_name), target))
			return err_set(e, ERR_OBJECT_MALFORMED, "the relocations of section %s are broken",
				       target->name);
		for (size_t i = 0; i < data->d_size / sizeof(Elf64_Rel); i++)
			if (read_relocation(r, target, data, (int)i, e))
				return -1;
	}
	return 0;
}

/* Calls within .text need no relocation. */
static void note_local_calls(struct code *code)
{
	for (size_t s = 0; s < code->section_count; s++) {
		struct code_section *section = &code->sections[s];
		for (size_t i = 0; section->text && i < section->count; i++) {
			const struct bpf_insn *insn = &section->insn[i];
			int64_t first = (int64_t)i + insn->imm + 1;
			if (insn->code == (BPF_JMP | BPF_CALL) && insn->src_reg == BPF_PSEUDO_CALL &&
			    !(section->mark[i] & CODE_RELOCATED) && first >= 0 && (uint64_t)first < section->count)
				section->callee[i] = (uint32_t)first + 1;
		}
	}
}

/* ---- CO-RE relocations: .BTF.ext, Documentation/bpf/btf.rst ---- */

static bool load(const uint8_t *bytes, size_t size, size_t offset, uint32_t *out)
{
	if (offset > size || size - offset < sizeof(*out))
		return false;
	memcpy(out, bytes + offset, sizeof(*out));
	return true;
}

/* Section name from .BTF's strings, NULL if it lies outside. */
static const char *btf_text(const struct reading *r, uint32_t offset)
{
	uint32_t header_size, strings, strings_size;

	if (!r->btf || !load(r->btf, r->btf_size, 4, &header_size) || !load(r->btf, r->btf_size, 16, &strings) ||
	    !load(r->btf, r->btf_size, 20, &strings_size))
		return NULL;
	uint64_t start = (uint64_t)header_size + strings;
	if (start + strings_size > r->btf_size || offset >= strings_size)
		return NULL;
	const char *text = (const char *)r->btf + start + offset;
	return memchr(text, '\0', strings_size - offset) ? text : NULL;
}

static int mark_records(struct code_section *section, const uint8_t *records, uint32_t count, uint32_t record,
			struct err *e)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t offset;

		memcpy(&offset, records + (size_t)i * record, sizeof(offset));
		size_t at = offset / sizeof(struct bpf_insn);
		if (offset % sizeof(struct bpf_insn) || at >= section->count)
			return malformed(e, ".BTF.ext is broken");
		/* libbpf would relocate first for the one, then for the other, by an order that is its own. */
		if (section->mark[at] & (CODE_RELOCATED | CODE_HALF))
			return err_set(e, ERR_OBJECT_MALFORMED, "section %s, instruction %zu: two relocations",
				       section->name, at);
		section->mark[at] |= CODE_CORE;
	}
	return 0;
}

static int mark_core(struct reading *r, const uint8_t *info, size_t size, struct err *e)
{
	uint32_t record, name, count;
	size_t at = sizeof(uint32_t);

	if (!load(info, size, 0, &record) || record < sizeof(struct bpf_core_relo))
		return malformed(e, ".BTF.ext is broken");
	while (at < size) {
		if (!load(info, size, at, &name) || !load(info, size, at + 4, &count) ||
		    count > (size - at - 8) / record)
			return malformed(e, ".BTF.ext is broken");
		at += 8;
		const char *section = btf_text(r, name);
		if (!section)
			return malformed(e, ".BTF.ext is broken");
		for (size_t s = 0; s < r->code->section_count; s++)
			if (is_called(&r->code->sections[s], section) &&
			    mark_records(&r->code->sections[s], info + at, count, record, e))
				return -1;
		at += (size_t)count * record;
	}
	return 0;
}

static int read_core(struct reading *r, struct err *e)
{
	uint32_t magic, header_size, offset, size;
	const uint8_t *ext = r->btf_ext;

	if (!ext || r->btf_ext_size == 0)
		return 0;
	if (!load(ext, r->btf_ext_size, 0, &magic) || (magic & 0xffff) != BTF_EXT_MAGIC ||
	    !load(ext, r->btf_ext_size, 4, &header_size))
		return malformed(e, ".BTF.ext is broken");
	if (header_size < 32) /* older form without CO-RE */
		return 0;
	if (!load(ext, r->btf_ext_size, 24, &offset) || !load(ext, r->btf_ext_size, 28, &size))
		return malformed(e, ".BTF.ext is broken");
	if (size == 0)
		return 0;
	if ((uint64_t)header_size + offset + size > r->btf_ext_size)
		return malformed(e, ".BTF.ext is broken");
	return mark_core(r, ext + header_size + offset, size, e);
}

static int read_elf(struct reading *r, struct err *e)
{
	GElf_Ehdr header;

	if (elf_kind(r->elf) != ELF_K_ELF || !gelf_getehdr(r->elf, &header) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
	    header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_BPF || header.e_type != ET_REL)
		return malformed(e, "not a little-endian BPF object");
	if (read_sections(r, e) || read_symbols(r, e) || read_relocations(r, e))
		return -1;
	note_local_calls(r->code);
	return read_core(r, e);
}

int code_read(const uint8_t *elf, size_t size, struct code **out, struct err *e)
{
	OWN(code) struct code *code = calloc(1, sizeof(*code));
	struct reading r = {.code = code};

	if (!code)
		return err_errno(e, ERR_NOMEM, "code");
	if (elf_version(EV_CURRENT) == EV_NONE)
		return err_set(e, ERR_INTERNAL, "libelf: %s", elf_errmsg(-1));
	/* libelf takes a plain pointer but does not write for ELF_C_READ. */
	r.elf = elf_memory((char *)(uintptr_t)elf, size);
	if (!r.elf)
		return err_set(e, ERR_OBJECT_MALFORMED, "not an ELF file: %s", elf_errmsg(-1));
	code->elf = r.elf;
	code->licence = code->licence_text;
	int status = read_elf(&r, e);
	free(r.name);
	if (status)
		return -1;
	code->btf = r.btf;
	code->btf_size = r.btf_size;
	*out = TAKE_PTR(code);
	return 0;
}

void code_free(struct code **code)
{
	struct code *c = TAKE_PTR(*code);

	if (!c)
		return;
	for (size_t i = 0; i < c->section_count; i++) {
		free(c->sections[i].mark);
		free(c->sections[i].callee);
	}
	free(c->sections);
	free(c->functions);
	free(c->externs);
	if (c->elf)
		elf_end(c->elf);
	free(c);
}
