/* What a register or a word of the stack may hold, as far as keys/flow.c can tell: values, how two of them are joined where
 * paths meet, what arithmetic makes of them, and the stack of one function. Nothing here fails: what cannot be told becomes
 * "any". */
#ifndef OBS_KEYS_FLOW_VALUE_H
#define OBS_KEYS_FLOW_VALUE_H

#include <string.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	REGISTERS = 11,
	STACK_WORDS = 128, /* 512 bytes in units of 4 */
	VALUES = 4,        /* constants that one register may hold */
};

enum value_kind {
	NOTHING, /* not reached */
	NUMBERS, /* one of value[0..count) */
	MEMORY,  /* any number, or a pointer that is none of those below: map value, ring record, kernel object */
	OUTER,   /* the same, or a pointer into a calling function's stack */
	FRAME,   /* own stack, at one of value[0..count) from its top; count 0: anywhere in it */
	CONTEXT,
	ANY,
	UPPER, /* stack only: the upper half of an 8-byte value */
};

struct value {
	uint8_t kind, count;
	bool wide; /* stack only: 8 bytes */
	int64_t value[VALUES];
};

struct state {
	struct value reg[REGISTERS];
	struct value stack[STACK_WORDS];
};

extern const struct value value_any, value_memory;

struct value value_number(int64_t n);
static inline bool value_equal(const struct value *a, const struct value *b)
{
	return a->kind == b->kind && a->count == b->count && a->wide == b->wide &&
	       memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

/* What covers both. Past VALUES constants it is any number, or anywhere in the frame. */
struct value value_join(const struct value *a, const struct value *b);

/* Whether it cannot be a pointer into a stack, to the context or to a packet. */
bool value_no_pointer(const struct value *v);

/* The result of an arithmetic instruction. */
struct value value_alu(const struct bpf_insn *insn, const struct value *dst, const struct value *src);

/* offset is from the frame's top, size that of the instruction in bytes. */
void frame_store(struct state *s, int64_t offset, unsigned size, const struct value *v);
struct value frame_load(const struct state *s, int64_t offset, unsigned size);
/* At an offset that is not known. */
void frame_store_anywhere(struct state *s, unsigned size, const struct value *v);
/* Forgets what is known of the stack; with pointers, also where pointers may lie in it. */
void frame_forget(struct state *s, bool pointers);

#endif
