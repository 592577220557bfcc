/* Memory that fails: the n-th allocation of the program's (a test links with no_memory_ldflags of tests/build.mk) or of
 * jansson's, which bundles/base/json.c gives it. With a sanitizer, every failure is also free of leaks. */
#ifndef OBS_TESTS_NO_MEMORY_H
#define OBS_TESTS_NO_MEMORY_H

#include "bundles/base/err.h"

/* The n-th allocation from here on fails, and with for_good those behind it too; 0: none does. */
void no_memory_at(unsigned n, bool for_good);

/* Runs step for each of its allocations (past the 200th, for every fifth), with that one failing and with all from it on:
 * it must end with ERR_NOMEM. Then once more, when it must succeed. Returns how many allocations failed first. */
unsigned no_memory_anywhere(int (*step)(void *context, struct err *e), void *context);

#endif
