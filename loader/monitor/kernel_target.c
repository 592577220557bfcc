#include <elf.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>
#include <sys/stat.h>

#include "loader/monitor/kernel_impl.h"

/* Where a file without a folder is looked for. Not LD_LIBRARY_PATH or PATH: root's environment is no part of a bundle. */
static const char *const folders[] = {
    "/lib64",
    "/usr/lib64",
#if defined(__x86_64__)
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
#elif defined(__aarch64__)
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
#endif
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
};

static bool is_regular(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool target_resolve(const char *file, char path[static PATH_MAX])
{
	if (strchr(file, '/')) {
		snprintf(path, PATH_MAX, "%s%s", file[0] == '/' ? "" : "/", file);
		return is_regular(path);
	}
	for (size_t i = 0; file[0] && i < ARRAY_LEN(folders); i++) {
		snprintf(path, PATH_MAX, "%s/%s", folders[i], file);
		if (is_regular(path))
			return true;
	}
	return false;
}

bool target_split(const char *target, char file[static PATH_MAX], char *rest, size_t rest_size)
{
	const char *colon = strchr(target, ':');

	if (!colon || colon == target || !colon[1])
		return false;
	if ((size_t)(colon - target) >= PATH_MAX || strlen(colon + 1) >= rest_size)
		return false;
	snprintf(file, PATH_MAX, "%.*s", (int)(colon - target), target);
	snprintf(rest, rest_size, "%s", colon + 1);
	return true;
}

/* ---- an ELF file, whose owner may be anyone ---- */

/* Threats: a file that is cut short while it is read (so it is not mapped: that would be a SIGBUS), one that is a FIFO by
 * the time it is opened, and headers that make the monitor read, allocate or count for ever. */
enum {
	READ_MAX_BYTES = 256 << 20, /* of all sections that are looked into, those that overlap counted each time */
	LOADS_MAX = 64,             /* segments */
};

struct elf_file {
	int fd;
	Elf *elf;
	size_t left; /* of READ_MAX_BYTES */
};

static void elf_file_free(struct elf_file *f)
{
	if (f->elf)
		elf_end(f->elf);
	if (f->fd >= 0)
		close(f->fd);
}

#define OWN_ELF __attribute__((cleanup(elf_file_free)))

/* libelf allocates for as many sections as the header says. Where that is more than 65,279, which no linked file needs,
 * the header says zero, and the first section how many. */
static bool counts_sections(int fd)
{
	union {
		unsigned char ident[EI_NIDENT];
		Elf32_Ehdr h32;
		Elf64_Ehdr h64;
	} head;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || head.ident[EI_DATA] != ELFDATA2LSB)
		return false;
	return head.ident[EI_CLASS] == ELFCLASS64 ? head.h64.e_shnum : head.h32.e_shnum;
}

static bool elf_file_open(const char *path, struct elf_file *f)
{
	struct stat st;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return false;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0 || fstat(f->fd, &st) || !S_ISREG(st.st_mode) || !counts_sections(f->fd))
		return false;
	f->left = READ_MAX_BYTES;
	f->elf = elf_begin(f->fd, ELF_C_READ, NULL);
	return f->elf && elf_kind(f->elf) == ELF_K_ELF;
}

/* NULL where it cannot be had, or is more than what is left. */
static Elf_Data *elf_file_read(struct elf_file *f, Elf_Scn *section)
{
	GElf_Shdr header;

	if (!section || !gelf_getshdr(section, &header) || header.sh_type == SHT_NOBITS || header.sh_size > f->left)
		return NULL;
	f->left -= header.sh_size;
	Elf_Data *data = elf_getdata(section, NULL);
	return data && data->d_buf ? data : NULL;
}

/* ---- functions ---- */

/* Versioned names ("symbol@@V1") are kept apart from the name in .dynsym; in .symtab they may be part of it. Not
 * elf_strptr: it looks for the end of the string from the end of the section, for each. */
static bool same_symbol(const Elf_Data *names, uint32_t at, const char *wanted, size_t len)
{
	if (at >= names->d_size || names->d_size - at <= len)
		return false;
	const char *has = (const char *)names->d_buf + at;
	return memcmp(has, wanted, len) == 0 && (has[len] == '\0' || has[len] == '@');
}

/* Where in the file the symbol's first byte is: uprobes are placed by file offset. */
static bool file_offset(Elf *elf, const GElf_Sym *sym, uint64_t *out)
{
	GElf_Shdr holds;
	Elf_Scn *section = elf_getscn(elf, sym->st_shndx);

	if (!section || !gelf_getshdr(section, &holds) || sym->st_value < holds.sh_addr ||
	    sym->st_value - holds.sh_addr >= holds.sh_size)
		return false;
	*out = sym->st_value - holds.sh_addr + holds.sh_offset;
	return true;
}

static bool section_find_symbol(struct elf_file *f, Elf_Scn *section, const GElf_Shdr *header, const char *symbol,
				size_t len, uint64_t *offset)
{
	Elf_Data *data = elf_file_read(f, section);
	const Elf_Data *names = data ? elf_file_read(f, elf_getscn(f->elf, header->sh_link)) : NULL;

	for (int i = 0; names; i++) {
		GElf_Sym sym;
		if (!gelf_getsym(data, i, &sym))
			break;
		int type = GELF_ST_TYPE(sym.st_info);
		if (sym.st_shndx == SHN_UNDEF || (type != STT_FUNC && type != STT_GNU_IFUNC))
			continue;
		if (same_symbol(names, sym.st_name, symbol, len) && file_offset(f->elf, &sym, offset))
			return true;
	}
	return false;
}

bool target_symbol(const char *path, const char *symbol, uint64_t *offset)
{
	OWN_ELF struct elf_file f = {.fd = -1};
	size_t len = strcspn(symbol, "+");
	Elf_Scn *section = NULL;

	if (!elf_file_open(path, &f))
		return false;
	while ((section = elf_nextscn(f.elf, section))) {
		GElf_Shdr header;
		if (!gelf_getshdr(section, &header) || (header.sh_type != SHT_SYMTAB && header.sh_type != SHT_DYNSYM))
			continue;
		if (section_find_symbol(&f, section, &header, symbol, len, offset))
			return true;
	}
	return false;
}

/* ---- USDT ---- */

/* What places a probe, looked up once for all. */
struct layout {
	uint64_t base; /* address of .stapsdt.base, 0: there is none */
	GElf_Phdr load[LOADS_MAX];
	size_t load_count;
};

/* Where the linker put .stapsdt.base: prelink and the like move a file after its notes were written. */
static uint64_t base_address(struct elf_file *f)
{
	static const char wanted[] = ".stapsdt.base";
	const Elf_Data *names;
	Elf_Scn *section = NULL;
	size_t index;

	if (elf_getshdrstrndx(f->elf, &index) || !(names = elf_file_read(f, elf_getscn(f->elf, index))))
		return 0;
	while ((section = elf_nextscn(f->elf, section))) {
		GElf_Shdr header;
		if (gelf_getshdr(section, &header) && header.sh_name < names->d_size &&
		    names->d_size - header.sh_name >= sizeof(wanted) &&
		    memcmp((const char *)names->d_buf + header.sh_name, wanted, sizeof(wanted)) == 0)
			return header.sh_addr;
	}
	return 0;
}

static void read_layout(struct elf_file *f, struct layout *out)
{
	size_t count = 0;

	*out = (struct layout){.base = base_address(f)};
	/* One with more than 65,534 keeps their number elsewhere, as with sections. */
	if (elf_getphdrnum(f->elf, &count) || count >= PN_XNUM)
		return;
	for (size_t i = 0; i < count && out->load_count < LOADS_MAX; i++) {
		GElf_Phdr *p = &out->load[out->load_count];
		if (gelf_getphdr(f->elf, (int)i, p) && p->p_type == PT_LOAD)
			out->load_count++;
	}
}

/* The place in the file of an address of the loaded file. */
static bool segment_offset(const struct layout *layout, uint64_t address, uint64_t *out)
{
	for (size_t i = 0; i < layout->load_count; i++) {
		const GElf_Phdr *p = &layout->load[i];
		if (address < p->p_vaddr || address - p->p_vaddr >= p->p_filesz)
			continue;
		*out = address - p->p_vaddr + p->p_offset;
		return true;
	}
	return false;
}

/* A note of SystemTap's format: three addresses, then provider, name and arguments, each ended by NUL. */
static bool read_probe(const struct layout *layout, const char *desc, size_t size, const char *provider,
		       const char *name, struct usdt_site *out)
{
	uint64_t address[3]; /* probe, base, semaphore */
	const char *at = desc + sizeof(address), *end = desc + size, *text[3];

	if (size <= sizeof(address) || end[-1] != '\0')
		return false;
	for (size_t i = 0; i < ARRAY_LEN(text); i++) {
		if (at >= end)
			return false;
		text[i] = at;
		at += strlen(at) + 1;
	}
	if (strcmp(text[0], provider) != 0 || strcmp(text[1], name) != 0)
		return false;
	memcpy(address, desc, sizeof(address));
	uint64_t moved = layout->base ? layout->base - address[1] : 0;
	out->semaphore = 0;
	out->arguments = text[2];
	if (address[2] && !segment_offset(layout, address[2] + moved, &out->semaphore))
		return false;
	return segment_offset(layout, address[0] + moved, &out->offset);
}

static bool each_probe(Elf_Data *data, const struct layout *layout, const char *provider, const char *name,
		       usdt_site_fn each, void *ctx)
{
	size_t at = 0, name_off, desc_off;
	GElf_Nhdr note;

	while (data && at < data->d_size && (at = gelf_getnote(data, at, &note, &name_off, &desc_off)) > 0) {
		const char *bytes = data->d_buf;
		struct usdt_site site;
		if (note.n_type == 3 && note.n_namesz == sizeof("stapsdt") &&
		    memcmp(bytes + name_off, "stapsdt", sizeof("stapsdt")) == 0 &&
		    read_probe(layout, bytes + desc_off, note.n_descsz, provider, name, &site) && !each(ctx, &site))
			return false;
	}
	return true;
}

void target_each_usdt(const char *path, const char *provider, const char *name, usdt_site_fn each, void *ctx)
{
	OWN_ELF struct elf_file f = {.fd = -1};
	struct layout layout;
	Elf_Scn *section = NULL;

	if (!elf_file_open(path, &f) || gelf_getclass(f.elf) != ELFCLASS64)
		return;
	read_layout(&f, &layout);
	while ((section = elf_nextscn(f.elf, section))) {
		GElf_Shdr header;
		if (gelf_getshdr(section, &header) && header.sh_type == SHT_NOTE &&
		    !each_probe(elf_file_read(&f, section), &layout, provider, name, each, ctx))
			return;
	}
}

static bool note_any(void *ctx, const struct usdt_site *site)
{
	(void)site;
	*(bool *)ctx = true;
	return false;
}

bool target_has_usdt(const char *path, const char *provider, const char *name)
{
	bool any = false;

	target_each_usdt(path, provider, name, note_any, &any);
	return any;
}
