/* What must hold in a fuzz target, or have worked. */
#ifndef OBS_TESTS_FUZZ_NEED_H
#define OBS_TESTS_FUZZ_NEED_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the run if true, and says what failed: not every finding comes again from its input alone. */
#define need(failed) ((failed) ? need_failed(#failed, __FILE__, __LINE__) : (void)0)

_Noreturn static inline void need_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: %s, errno: %s\n", file, line, what, strerror(errno));
	abort();
}

#endif
