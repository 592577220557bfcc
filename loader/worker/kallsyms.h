/* Names of kernel addresses, from an open /proc/kallsyms: the worker could not open it itself. */
#ifndef OBS_WORKER_KALLSYMS_H
#define OBS_WORKER_KALLSYMS_H

#include <stdint.h>

#include "bundles/base/err.h"

enum { KALLSYMS_MAX_BYTES = 64 << 20, KALLSYMS_NAME_MAX = 127 };

struct kallsyms;

/* Reads fd from its start (it stays the caller's). Without the right to see addresses the kernel shows zeros, which is
 * ERR_UNSUPPORTED. */
MUST_CHECK int kallsyms_read(int fd, struct kallsyms **out, struct err *e);
void kallsyms_free(struct kallsyms **k);

/* The function that address lies in and how far into it; NULL: below the first. Borrowed. */
const char *kallsyms_find(const struct kallsyms *k, uint64_t address, uint64_t *offset);

#endif
