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
	bool wide;         /* stack only: 8 bytes */
	uint8_t unused[5]; /* zero: no padding, so that many are compared at once */
	int64_t value[VALUES];
};
_Static_assert(sizeof(struct value) == 8 + VALUES * sizeof(int64_t), "padding");

struct state {
	struct value reg[REGISTERS];
	struct value stack[STACK_WORDS];
	int first; /* stack word that something may have been put into; those before it are value_memory */
};

extern const struct value value_any, value_memory;

struct value value_number(int64_t n);
static inline bool value_equal(const struct value *a, const struct value *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* What covers both. Past VALUES constants it is any number, or anywhere in the frame. */
struct value value_join(const struct value *a, const struct value *b);

/* The same of many, into *to: whether any of these changed. */
bool values_join(struct value *to, const struct value *from, size_t count);

/* Whether it cannot be a pointer into a stack, to the context or to a packet. */
bool value_no_pointer(const struct value *v);

/* The result of an arithmetic instruction. */
struct value value_alu(const struct bpf_insn *insn, const struct value *dst, const struct value *src);

/* Nothing was put there yet. */
void frame_clear(struct state *s);
/* As values_join. */
bool frame_join(struct state *to, const struct state *from);
/* offset is from the frame's top, size that of the instruction in bytes. */
void frame_store(struct state *s, int64_t offset, unsigned size, const struct value *v);
struct value frame_load(const struct state *s, int64_t offset, unsigned size);
/* At an offset that is not known. */
void frame_store_anywhere(struct state *s, unsigned size, const struct value *v);
/* Forgets what is known of the stack; with pointers, also where pointers may lie in it. */
void frame_forget(struct state *s, bool pointers);

#endif
