#include "loader/worker/kallsyms.h"

#include <stdbool.h>
#include <string.h>

#include "bundles/base/file.h"

struct symbol {
	uint64_t address;
	const char *name; /* in text */
};

struct kallsyms {
	struct symbol *symbols; /* sorted by address */
	size_t count;
	char *text; /* the file, cut into strings */
};

static int by_address(const void *a, const void *b)
{
	const struct symbol *left = a, *right = b;

	return (left->address > right->address) - (left->address < right->address);
}

static bool is_function(char type)
{
	return type == 't' || type == 'T' || type == 'w' || type == 'W';
}

/* "ffffffff81000000 T _stext\n", "ffffffffc0000000 t name\t[module]\n" */
static bool parse_line(char *line, struct symbol *out)
{
	char *end;
	uint64_t address = strtoull(line, &end, 16);

	if (end == line || end[0] != ' ' || !is_function(end[1]) || end[2] != ' ')
		return false;
	char *name = end + 3;
	name[strcspn(name, "\t ")] = '\0';
	if (!*name)
		return false;
	if (strlen(name) > KALLSYMS_NAME_MAX)
		name[KALLSYMS_NAME_MAX] = '\0';
	*out = (struct symbol){.address = address, .name = name};
	return true;
}

int kallsyms_read(int fd, struct kallsyms **out, struct err *e)
{
	OWN(kallsyms) struct kallsyms *k = calloc(1, sizeof(*k));
	uint8_t *text = NULL;
	size_t size, lines = 0;

	if (!k)
		return err_errno(e, ERR_NOMEM, "kernel symbols");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(e, ERR_IO, "kernel symbols");
	if (file_read_fd(fd, KALLSYMS_MAX_BYTES, ERR_LIMIT, &text, &size, e))
		return err_wrap(e, "kernel symbols");
	k->text = (char *)text;
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	k->symbols = calloc(lines + 1, sizeof(*k->symbols));
	if (!k->symbols)
		return err_errno(e, ERR_NOMEM, "%zu kernel symbols", lines);
	bool seen = false;
	for (char *line = k->text, *next; k->count <= lines && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		else
			next = line + strlen(line);
		if (!parse_line(line, &k->symbols[k->count]))
			continue;
		seen |= k->symbols[k->count].address != 0;
		k->count++;
	}
	if (!seen)
		return err_set(e, ERR_UNSUPPORTED, "the kernel does not show the addresses of its %zu functions",
			       k->count);
	qsort(k->symbols, k->count, sizeof(*k->symbols), by_address);
	*out = TAKE_PTR(k);
	return 0;
}

void kallsyms_free(struct kallsyms **k)
{
	if (!*k)
		return;
	free((*k)->symbols);
	free((*k)->text);
	free(*k);
	*k = NULL;
}

const char *kallsyms_find(const struct kallsyms *k, uint64_t address, uint64_t *offset)
{
	size_t low = 0, high = k->count;

	/* The last symbol at or below the address. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (k->symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return NULL;
	*offset = address - k->symbols[low - 1].address;
	return k->symbols[low - 1].name;
}
