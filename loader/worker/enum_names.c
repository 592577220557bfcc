#include <string.h>

#include "loader/worker/value.h"

struct enum_name {
	int64_t number;
	const char *name;
	uint32_t text, text_size; /* in text: with quotes */
};

struct enum_names {
	size_t count, longest;
	struct enum_name *sorted;
	char *text;  /* every name as JSON, and JSON_SLACK more bytes */
	char *names; /* every name, NUL-terminated */
};

static int by_number(const void *a, const void *b)
{
	int64_t left = ((const struct enum_name *)a)->number, right = ((const struct enum_name *)b)->number;

	return (left > right) - (left < right);
}

int enum_names_new(const struct manifest_enum *source, struct enum_names **out, struct err *e)
{
	OWN(enum_names) struct enum_names *n = calloc(1, sizeof(*n));
	size_t bytes = 0;

	for (size_t i = 0; i < source->value_count; i++)
		bytes += strlen(source->values[i].name) + 1;
	if (n) {
		n->sorted = calloc(source->value_count + 1, sizeof(*n->sorted));
		n->text = calloc(1, bytes * JSON_TEXT_GROWTH + 2 * source->value_count + JSON_SLACK);
		n->names = calloc(1, bytes + 1);
	}
	if (!n || !n->sorted || !n->text || !n->names)
		return err_errno(e, ERR_NOMEM, "names of enum %s", source->name);
	char *text = n->text, *name = n->names;
	for (size_t i = 0; i < source->value_count; i++) {
		struct enum_name *s = &n->sorted[i];
		s->number = source->values[i].value;
		s->name = name;
		name = stpcpy(name, source->values[i].name) + 1;
		s->text = (uint32_t)(text - n->text);
		text = json_put_string(text, (const uint8_t *)s->name, strlen(s->name));
		s->text_size = (uint32_t)(text - n->text) - s->text;
		if (s->text_size > n->longest)
			n->longest = s->text_size;
	}
	n->count = source->value_count;
	qsort(n->sorted, n->count, sizeof(*n->sorted), by_number);
	*out = TAKE_PTR(n);
	return 0;
}

void enum_names_free(struct enum_names **names)
{
	struct enum_names *n = *names;

	if (!n)
		return;
	free(n->sorted);
	free(n->text);
	free(n->names);
	free(n);
	*names = NULL;
}

bool enum_names_number(const struct enum_names *n, const char *name, int64_t *out)
{
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(n->sorted[i].name, name) == 0) {
			*out = n->sorted[i].number;
			return true;
		}
	}
	return false;
}

size_t enum_names_longest(const struct enum_names *n)
{
	return n->longest;
}

bool enum_names_signed(const struct enum_names *n)
{
	return n->count && n->sorted[0].number < 0;
}

static const struct enum_name *enum_find(const struct enum_names *n, int64_t number)
{
	struct enum_name key = {.number = number};

	/* Most enums count up from zero: look there first. */
	if ((uint64_t)number < n->count && n->sorted[number].number == number)
		return &n->sorted[number];
	return bsearch(&key, n->sorted, n->count, sizeof(key), by_number);
}

const char *enum_names_name(const struct enum_names *n, int64_t number)
{
	const struct enum_name *found = enum_find(n, number);

	return found ? found->name : NULL;
}

char *enum_names_write(const struct enum_names *n, int64_t number, char *p)
{
	const struct enum_name *found = enum_find(n, number);

	return found ? json_put_literal(p, n->text + found->text, found->text_size) : NULL;
}
