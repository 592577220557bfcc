/* What programs write to standard output, and whether a terminal may see it. Fuzz targets only. */
#ifndef OBS_FUZZ_TERMINAL_H
#define OBS_FUZZ_TERMINAL_H

#include <stddef.h>
#include <stdint.h>

/* Aborts unless it is well-formed UTF-8 without control characters other than newlines, and without those that reorder
 * what is shown. */
void terminal_check(const char *text, size_t size);

/* From the first call on, standard output goes into a file in memory. Gives what was written since the last call, with a NUL
 * behind it; valid until the next one. */
const char *terminal_take(size_t *size);

#endif
