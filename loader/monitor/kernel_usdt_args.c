/* Where a USDT probe's arguments are, which its note says in the words of an assembler. */
#include <asm/ptrace.h>
#include <string.h>

#include "loader/monitor/kernel_impl.h"

enum { REG_NAME_BYTES = 16 };

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
	*type = USDT_REG_DEREF;
	if (sscanf(s, " %d@%ld(%%%15[a-z0-9])%n", size, number, reg, &used) == 3 && used)
		return used;
	*number = 0;
	if (sscanf(s, " %d@(%%%15[a-z0-9])%n", size, reg, &used) == 2 && used)
		return used;
	*type = USDT_REG;
	if (sscanf(s, " %d@%%%15[a-z0-9]%n", size, reg, &used) == 2 && used)
		return used;
	*type = USDT_CONST;
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
	*type = USDT_REG_DEREF;
	if (sscanf(s, " %d@[%15[a-z0-9], %ld]%n", size, reg, number, &used) == 3 && used)
		return used;
	*number = 0;
	if (sscanf(s, " %d@[%15[a-z0-9]]%n", size, reg, &used) == 2 && used)
		return used;
	*type = USDT_CONST;
	if (sscanf(s, " %d@%ld%n", size, number, &used) == 2 && used)
		return used;
	*number = 0;
	*type = USDT_REG;
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
	unsigned width = size < 0 ? 0U - (unsigned)size : (unsigned)size;

	if (used == 0 || ((*at)[used] && (*at)[used] != ' '))
		return false;
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return false;
	if (type != USDT_CONST && (offset = register_offset(reg)) < 0)
		return false;
	*out = (struct usdt_arg){
	    .val_off = (uint64_t)number,
	    .type = type,
	    .reg_off = (int16_t)offset,
	    .is_signed = size < 0,
	    .bitshift = (int8_t)(64 - 8 * (int)width),
	};
	*at += used;
	return true;
}

bool usdt_parse(const char *text, struct usdt_spec *out)
{
	memset(out, 0, sizeof(*out));
	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		if (out->arg_count == USDT_ARGS_MAX || !parse_argument(&text, &out->args[out->arg_count]))
			return false;
		out->arg_count++;
	}
	return true;
}
