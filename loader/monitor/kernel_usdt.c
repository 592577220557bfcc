#include <asm/ptrace.h>
#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* USDT on uprobe links, or on perf events of the supervisor's. libbpf's programs (<bpf/usdt.bpf.h>) take the attach cookie
 * as the number of a specification in the map __bpf_usdt_specs, which says where each argument is. libbpf 1.1 fills it
 * for perf events that it opens itself only; this does the same for ours. */

enum usdt_arg_type { ARG_CONST, ARG_REG, ARG_REG_DEREF };

enum { ARGS_MAX = 12, REG_NAME_BYTES = 16 };

/* ABI with <bpf/usdt.bpf.h>: struct __bpf_usdt_arg_spec and __bpf_usdt_spec. */
struct usdt_arg {
	uint64_t val_off;
	uint32_t type;
	int16_t reg_off; /* in struct pt_regs */
	bool is_signed;
	int8_t bitshift; /* bits of 64 that the argument does not fill */
};

struct usdt_spec {
	struct usdt_arg args[ARGS_MAX];
	uint64_t cookie;
	int16_t arg_count;
};

/* Widths are checked to be 1, 2, 4 or 8; a number out of range gives an address that cannot be read.
 * NOLINTBEGIN(cert-err34-c) */
#if defined(__x86_64__)

#define REG(r, field)                                                                                                  \
	{                                                                                                              \
		r, offsetof(struct pt_regs, field)                                                                     \
	}
static const struct {
	const char *names; /* of all widths, between spaces */
	size_t offset;
} registers[] = {
    REG(" rax eax ax al ", rax),      REG(" rbx ebx bx bl ", rbx),      REG(" rcx ecx cx cl ", rcx),
    REG(" rdx edx dx dl ", rdx),      REG(" rsi esi si sil ", rsi),     REG(" rdi edi di dil ", rdi),
    REG(" rbp ebp bp bpl ", rbp),     REG(" rsp esp sp spl ", rsp),     REG(" rip eip ", rip),
    REG(" r8 r8d r8w r8b ", r8),      REG(" r9 r9d r9w r9b ", r9),      REG(" r10 r10d r10w r10b ", r10),
    REG(" r11 r11d r11w r11b ", r11), REG(" r12 r12d r12w r12b ", r12), REG(" r13 r13d r13w r13b ", r13),
    REG(" r14 r14d r14w r14b ", r14), REG(" r15 r15d r15w r15b ", r15),
};

static int register_offset(const char *name)
{
	char word[REG_NAME_BYTES + 2];

	snprintf(word, sizeof(word), " %s ", name);
	for (size_t i = 0; i < ARRAY_LEN(registers); i++)
		if (name[0] && !strchr(name, ' ') && strstr(registers[i].names, word))
			return (int)registers[i].offset;
	return -1;
}

/* "-4@%edi", "8@-16(%rbp)", "8@(%rax)", "4@$7". */
static int scan_argument(const char *s, int *size, long *number, char reg[static REG_NAME_BYTES],
			 enum usdt_arg_type *type)
{
	int used = 0;

	*number = 0;
	*type = ARG_REG_DEREF;
	if (sscanf(s, " %d@%ld(%%%15[a-z0-9])%n", size, number, reg, &used) == 3 && used)
		return used;
	*number = 0;
	if (sscanf(s, " %d@(%%%15[a-z0-9])%n", size, reg, &used) == 2 && used)
		return used;
	*type = ARG_REG;
	if (sscanf(s, " %d@%%%15[a-z0-9]%n", size, reg, &used) == 2 && used)
		return used;
	*type = ARG_CONST;
	if (sscanf(s, " %d@$%ld%n", size, number, &used) == 2 && used)
		return used;
	return 0;
}

#elif defined(__aarch64__)

static int register_offset(const char *name)
{
	unsigned n;
	int used = 0;

	if (strcmp(name, "sp") == 0)
		return 31 * 8;
	if (sscanf(name, "x%u%n", &n, &used) == 1 && !name[used] && n < 31)
		return (int)n * 8;
	return -1;
}

/* "-4@x0", "8@[sp, 16]", "8@[x3]", "4@7". */
static int scan_argument(const char *s, int *size, long *number, char reg[static REG_NAME_BYTES],
			 enum usdt_arg_type *type)
{
	int used = 0;

	*number = 0;
	*type = ARG_REG_DEREF;
	if (sscanf(s, " %d@[%15[a-z0-9], %ld]%n", size, reg, number, &used) == 3 && used)
		return used;
	*number = 0;
	if (sscanf(s, " %d@[%15[a-z0-9]]%n", size, reg, &used) == 2 && used)
		return used;
	*type = ARG_CONST;
	if (sscanf(s, " %d@%ld%n", size, number, &used) == 2 && used)
		return used;
	*number = 0;
	*type = ARG_REG;
	if (sscanf(s, " %d@%15[a-z0-9]%n", size, reg, &used) == 2 && used)
		return used;
	return 0;
}

#else
#error "USDT arguments: registers of this architecture"
#endif
/* NOLINTEND(cert-err34-c) */

static bool parse_argument(const char **at, struct usdt_arg *out)
{
	char reg[REG_NAME_BYTES] = "";
	enum usdt_arg_type type;
	int size = 0, offset = 0;
	long number;
	int used = scan_argument(*at, &size, &number, reg, &type);
	int width = size < 0 ? -size : size;

	if (used == 0 || ((*at)[used] && (*at)[used] != ' '))
		return false;
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return false;
	if (type != ARG_CONST && (offset = register_offset(reg)) < 0)
		return false;
	*out = (struct usdt_arg){
	    .val_off = (uint64_t)number,
	    .type = type,
	    .reg_off = (int16_t)offset,
	    .is_signed = size < 0,
	    .bitshift = (int8_t)(64 - 8 * width),
	};
	*at += used;
	return true;
}

static bool parse_arguments(const char *text, struct usdt_spec *out)
{
	memset(out, 0, sizeof(*out));
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		if (out->arg_count == ARGS_MAX || !parse_argument(&text, &out->args[out->arg_count]))
			return false;
		out->arg_count++;
	}
	return true;
}

/* ---- the sites of one probe ---- */

struct sites {
	uint64_t *offsets, *semaphores, *cookies;
	uint32_t count, room;
	uint32_t first_spec;
	int specs;
	bool any_semaphore;
	struct err *e;
	bool failed;
};

static void sites_clear(struct sites *s)
{
	free(s->offsets);
	free(s->semaphores);
	free(s->cookies);
}

static bool add_site(void *ctx, const struct usdt_site *site)
{
	struct sites *s = ctx;
	struct usdt_spec spec;
	uint32_t number = s->first_spec + s->count;

	s->failed = true;
	if (s->count == s->room) {
		err_set(s->e, ERR_KERNEL_ATTACH, "more than %u places: define BPF_USDT_MAX_SPEC_CNT", s->room);
		return false;
	}
	if (!parse_arguments(site->arguments, &spec)) {
		err_set(s->e, ERR_KERNEL_ATTACH, "arguments \"%.100s\" are not understood", site->arguments);
		return false;
	}
	if (bpf_map_update_elem(s->specs, &number, &spec, BPF_ANY)) {
		err_errno(s->e, ERR_KERNEL_ATTACH, "map __bpf_usdt_specs");
		return false;
	}
	s->offsets[s->count] = site->offset;
	s->semaphores[s->count] = site->semaphore;
	s->cookies[s->count++] = number;
	s->any_semaphore |= site->semaphore != 0;
	s->failed = false;
	return true;
}

/* Each USDT program of an object has its own share of the specifications, so that numbers are the same in whatever order
 * and process they are attached. */
static int take_share(const struct kernel_bundle *kb, const struct kernel_prog *p, struct sites *s, struct err *e)
{
	const struct kernel_object *o = &kb->objects[p->object];
	struct bpf_map_info info;
	uint32_t programs = 0, rank = 0;

	s->specs = kernel_map_fd(kb, o->object->name, "__bpf_usdt_specs");
	if (s->specs < 0)
		return err_set(e, ERR_KERNEL_ATTACH, "object %s does not include <obs/usdt.h>", o->object->name);
	if (view_map(s->specs, &info, e))
		return -1;
	if (info.value_size != sizeof(struct usdt_spec) || info.key_size != sizeof(uint32_t))
		return err_set(e, ERR_KERNEL_ATTACH, "map __bpf_usdt_specs has values of %u bytes", info.value_size);
	for (size_t i = 0; i < kb->prog_count; i++) {
		if (kb->progs[i].object != p->object || strcmp(kb->progs[i].program->attach, "usdt") != 0)
			continue;
		if (&kb->progs[i] == p)
			rank = programs;
		programs++;
	}
	s->room = programs ? info.max_entries / programs : 0;
	s->first_spec = rank * s->room;
	s->offsets = calloc(s->room + 1, sizeof(*s->offsets));
	s->semaphores = calloc(s->room + 1, sizeof(*s->semaphores));
	s->cookies = calloc(s->room + 1, sizeof(*s->cookies));
	if (!s->offsets || !s->semaphores || !s->cookies)
		return err_errno(e, ERR_NOMEM, "USDT places");
	return 0;
}

static int attach_multi(struct kernel_prog *p, const char *path, const struct sites *s, struct err *e)
{
	struct uprobe_multi at = {
	    .path = path,
	    .offsets = s->offsets,
	    .semaphores = s->any_semaphore ? s->semaphores : NULL,
	    .cookies = s->cookies,
	    .count = s->count,
	};
	OWN_FD int fd = uprobe_multi_link(p->fd, &at);

	if (fd < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	return attachment_add_fd(p, &fd, 0, e);
}

int usdt_attach_places(struct kernel_bundle *kb, struct kernel_prog *p, const char *path, const char *provider,
		       const char *name, struct err *e)
{
	struct sites s __attribute__((cleanup(sites_clear))) = {.specs = -1, .e = e};

	if (take_share(kb, p, &s, e))
		return -1;
	target_each_usdt(path, provider, name, add_site, &s);
	if (s.failed)
		return -1;
	if (s.count == 0)
		return err_set(e, ERR_KERNEL_ATTACH, "there is no probe %s:%s in %s", provider, name, path);
	if (kb->uprobe_multi)
		return attach_multi(p, path, &s, e);
	for (uint32_t i = 0; i < s.count; i++) {
		const struct perf_uprobe at = {
		    .offset = s.offsets[i], .semaphore = s.semaphores[i], .cookie = s.cookies[i]};
		if (perf_attach_uprobe(kb, p, path, &at, e))
			return -1;
	}
	return 0;
}
