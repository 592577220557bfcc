/* jansson, held to what it ignores: want of memory.
 *
 * Its lexer goes on without the characters that it got no memory for (2.14, load.c, lex_save): what it then reads is not
 * what was written, it reads past the end of its buffer, or an assertion ends the process. What it writes may lack
 * characters too, and who builds JSON without asking each call gets objects that lack members.
 */
#ifndef OBS_BASE_JSON_H
#define OBS_BASE_JSON_H

#include <stddef.h>

#include "bundles/base/err.h"

struct json_t; /* jansson's */

/* One JSON text with nothing around it and no key twice in an object. The caller gives the reference in *out back.
 * ERR_NOMEM; `syntax` with line and column. */
MUST_CHECK int json_read(const void *text, size_t size, enum err_code syntax, struct json_t **out, struct err *e);

/* How many of jansson's allocations have failed since the first call, which begins to watch them. Who builds JSON asks
 * before it begins, and need not look at what each call answers. jansson's functions are global: one thread. */
MUST_CHECK unsigned long json_failures(void);

/* Text of what was built since `failures` was asked for, whole or not at all: ERR_NOMEM, also where json is NULL. flags are
 * jansson's. The caller frees *out. */
MUST_CHECK int json_write(const struct json_t *json, size_t flags, unsigned long failures, char **out, struct err *e);

#endif
