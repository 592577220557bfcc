/* What a packet program may return, and where it may write: a forward dataflow over constants and kinds of pointers.
 * Errs on one side only: `any` and the two flags are set wherever it cannot prove otherwise, as with every instruction
 * that it does not know: kernels learn new ones. What the kernel's verifier guarantees for every program (no stores through
 * numbers, bounds of stack and map values, aligned access to the stack) is taken as given. */
#ifndef OBS_KEYS_FLOW_H
#define OBS_KEYS_FLOW_H

#include "keys/code.h"

enum { FLOW_VALUES = 16 };

struct flow {
	bool any; /* may return a value that is not listed */
	int32_t value[FLOW_VALUES];
	size_t count;
	bool writes_context; /* stores into the context: fields of the packet's metadata, a sockops reply */
	bool writes_memory;  /* stores that are provably neither to the stack, a map, a ring nor to the context */
};

/* The program with this function name, with every function of the object that it may call: those can return nothing
 * for it, but write. ERR_OBJECT_MALFORMED if there is no such function; ERR_NOMEM. */
MUST_CHECK int flow_of_program(const struct code *code, const char *name, struct flow *out, struct err *e);

#endif
