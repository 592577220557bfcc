#include "bundles/base/json.h"

#include <jansson.h>
#include <stdint.h>

enum { RESERVE_LEAST_BYTES = 256, ALIGNMENT = 16 };

/* The reserve is there while a text is read. What the first failure and those right behind it ask for is taken from it,
 * so that the lexer never goes without; by then the text has ended for jansson, which gives all of it back. */
static struct {
	unsigned long failures;
	char *reserve;
	size_t used, room;
} memory;

static void *allocate(size_t size)
{
	void *p = malloc(size);

	if (p)
		return p;
	memory.failures++;
	if (size > memory.room - memory.used)
		return NULL;
	p = memory.reserve + memory.used;
	size += (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT;
	memory.used += size < memory.room - memory.used ? size : memory.room - memory.used;
	return p;
}

static void release(void *p)
{
	uintptr_t start = (uintptr_t)memory.reserve;

	if ((uintptr_t)p < start || (uintptr_t)p >= start + memory.room)
		free(p);
}

unsigned long json_failures(void)
{
	json_set_alloc_funcs(allocate, release);
	return memory.failures;
}

struct input {
	const char *text;
	size_t size, at;
	unsigned long failures;
};

/* One byte at a time, so that nothing follows the byte at which memory failed. */
static size_t feed(void *buffer, size_t room, void *data)
{
	struct input *in = data;

	(void)room;
	if (in->at == in->size || memory.failures != in->failures)
		return 0;
	*(char *)buffer = in->text[in->at++];
	return 1;
}

int json_read(const void *text, size_t size, enum err_code syntax, json_t **out, struct err *e)
{
	struct input in = {.text = text, .size = size, .failures = json_failures()};
	/* The lexer's buffer holds one token and is doubled when that is full. */
	size_t room = 2 * size + RESERVE_LEAST_BYTES;
	OWN_FREE char *reserve = malloc(room);
	json_error_t where;

	if (!reserve)
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes of JSON", size);
	memory.reserve = reserve;
	memory.room = room;
	json_t *root = json_load_callback(feed, &in, JSON_REJECT_DUPLICATES, &where);
	bool failed = memory.failures != in.failures;
	if (failed)
		json_decref(root);
	memory.reserve = NULL;
	memory.used = memory.room = 0;
	if (failed)
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes of JSON", size);
	if (!root)
		return err_set(e, syntax, "line %d, column %d: %s", where.line, where.column, where.text);
	*out = root;
	return 0;
}

int json_write(const json_t *json, size_t flags, unsigned long failures, char **out, struct err *e)
{
	OWN_FREE char *text = json ? json_dumps(json, flags) : NULL;

	if (!text || json_failures() != failures)
		return err_set(e, ERR_NOMEM, "no memory for JSON");
	*out = TAKE_PTR(text);
	return 0;
}
