#include "tests/unit/no_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned fail_at, allocations;
static bool fail_for_good;

static bool fails(void)
{
	return fail_at && (++allocations == fail_at || (fail_for_good && allocations > fail_at));
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fails() ? NULL : __real_calloc(count, size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

void *__real_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
	return fails() ? NULL : __real_reallocarray(p, count, size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

void no_memory_at(unsigned n, bool for_good)
{
	fail_at = n;
	fail_for_good = for_good;
	allocations = 0;
}

/* Whether step came to its n-th allocation. */
static bool refused(int (*step)(void *context, struct err *e), void *context, unsigned n, bool for_good)
{
	struct err e = ERR_INIT;

	no_memory_at(n, for_good);
	int status = step(context, &e);
	bool reached = allocations >= n;
	no_memory_at(0, false);
	if (reached && (status != -1 || e.code != ERR_NOMEM))
		fail_msg("allocation %u: status %d, %s: %s", n, status, err_name(e.code), e.frame[0]);
	if (!reached)
		assert_int_equal(status, 0);
	return reached;
}

unsigned no_memory_anywhere(int (*step)(void *context, struct err *e), void *context)
{
	unsigned count = 0;

	for (unsigned n = 1; refused(step, context, n, false); n += n < 200 ? 1 : 5) {
		assert_true(refused(step, context, n, true));
		count++;
	}
	return count;
}
