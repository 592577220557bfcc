#include "loader/client/table.h"

#include <stdarg.h>
#include <string.h>

#include "bundles/base/text.h"

enum { COLUMNS_MAX = 16, GAP = 2, WRAP_LEAST = 16 };

struct cell {
	char *text; /* made harmless */
	size_t columns;
	enum style style;
};

struct table {
	const struct table_column *column;
	size_t column_count;
	struct cell *cell;
	size_t count, room;
	bool failed;
};

int table_new(const struct table_column *columns, size_t count, struct table **out, struct err *e)
{
	if (count == 0 || count > COLUMNS_MAX)
		return err_set(e, ERR_INTERNAL, "table of %zu columns", count);
	struct table *t = calloc(1, sizeof(*t));
	if (!t)
		return err_set(e, ERR_NOMEM, "table");
	t->column = columns;
	t->column_count = count;
	*out = t;
	return 0;
}

void table_free(struct table **t)
{
	if (!*t)
		return;
	for (size_t i = 0; i < (*t)->count; i++)
		free((*t)->cell[i].text);
	free((*t)->cell);
	free(*t);
	*t = NULL;
}

/* Takes text over. */
static void append(struct table *t, char *text, enum style style)
{
	if (t->count == t->room) {
		size_t room = t->room ? 2 * t->room : 64;
		struct cell *grown = reallocarray(t->cell, room, sizeof(*grown));
		if (!grown) {
			free(text);
			t->failed = true;
			return;
		}
		t->cell = grown;
		t->room = room;
	}
	t->cell[t->count++] = (struct cell){.text = text, .columns = term_columns(text, strlen(text)), .style = style};
}

void table_cell(struct table *t, enum style style, const char *fmt, ...)
{
	OWN_TEXT_STREAM struct text_stream s = {0};
	OWN_FREE char *raw = NULL;
	char *safe;
	size_t size;
	va_list ap;

	va_start(ap, fmt);
	int n = vasprintf(&raw, fmt, ap);
	va_end(ap);
	if (n < 0) {
		raw = NULL;
		t->failed = true;
		return;
	}
	if (text_stream_open(&s)) {
		t->failed = true;
		return;
	}
	text_terminal(s.f, raw, false);
	if (text_stream_end(&s, &safe, &size))
		t->failed = true;
	else
		append(t, safe, style);
}

size_t table_rows(const struct table *t)
{
	return t->count / t->column_count;
}

/* Widths to print with; 0 leaves a column out. */
static void measure(const struct table *t, const struct term *term, unsigned indent, size_t width[COLUMNS_MAX])
{
	size_t total = indent, wrapping = 0, wanted = 0;

	for (size_t c = 0; c < t->column_count; c++) {
		width[c] = 0;
		for (size_t i = c; i < t->count; i += t->column_count)
			if (t->cell[i].columns > width[c])
				width[c] = t->cell[i].columns;
		if (width[c] && width[c] < strlen(t->column[c].title))
			width[c] = strlen(t->column[c].title);
		if (width[c])
			total += width[c] + GAP;
		if (width[c] && t->column[c].wrap) {
			wrapping++;
			wanted += width[c];
		}
	}
	total -= total > indent ? GAP : 0;
	if (!term->width || total <= term->width || !wrapping)
		return;
	/* What is left is shared by need. */
	size_t fixed = total - wanted, left = term->width > fixed ? term->width - fixed : 0;
	for (size_t c = 0; c < t->column_count; c++) {
		if (!width[c] || !t->column[c].wrap)
			continue;
		size_t share = width[c] * left / wanted;
		if (share < WRAP_LEAST)
			share = WRAP_LEAST;
		if (share < width[c])
			width[c] = share;
	}
}

/* Bytes of text that fit into width: up to a space if there is one, at least one character. */
static size_t fitting(const char *text, size_t width)
{
	size_t bytes = 0, columns = 0, space = 0, len = strlen(text);

	while (bytes < len) {
		size_t n = text_utf8_len((const uint8_t *)text + bytes, len - bytes);
		n = n ? n : 1;
		columns += term_columns(text + bytes, n);
		if (columns > width && bytes)
			return space ? space : bytes;
		bytes += n;
		if (text[bytes - 1] == ' ')
			space = bytes;
	}
	return bytes;
}

static void pad(FILE *f, size_t columns)
{
	fprintf(f, "%*s", (int)columns, "");
}

/* One line of one row; rest[] moves on. Returns whether text is left. */
static bool print_line(const struct table *t, FILE *f, const struct term *term, unsigned indent, const size_t *width,
		       const char **rest, const struct cell *cells)
{
	bool left = false;
	size_t owed = indent; /* spaces are paid when text follows: no trailing blanks */

	for (size_t c = 0; c < t->column_count; c++) {
		if (!width[c])
			continue;
		size_t bytes = fitting(rest[c], width[c]), shown = bytes;
		while (shown && rest[c][shown - 1] == ' ')
			shown--;
		size_t columns = term_columns(rest[c], shown);
		size_t blank = width[c] > columns ? width[c] - columns : 0;
		if (shown) {
			pad(f, owed + (t->column[c].right ? blank : 0));
			if (cells[c].style != STYLE_PLAIN)
				term_style(f, term, cells[c].style);
			fwrite(rest[c], 1, shown, f);
			if (cells[c].style != STYLE_PLAIN)
				term_style(f, term, STYLE_PLAIN);
			owed = GAP + (t->column[c].right ? 0 : blank);
		} else {
			owed += width[c] + GAP;
		}
		rest[c] += bytes;
		left = left || *rest[c];
	}
	fputc('\n', f);
	return left;
}

static void print_row(const struct table *t, FILE *f, const struct term *term, unsigned indent, const size_t *width,
		      const struct cell *cells)
{
	const char *rest[COLUMNS_MAX];

	for (size_t c = 0; c < t->column_count; c++)
		rest[c] = cells[c].text;
	while (print_line(t, f, term, indent, width, rest, cells))
		;
}

int table_print(const struct table *t, FILE *f, const struct term *term, unsigned indent, struct err *e)
{
	size_t width[COLUMNS_MAX];
	struct cell titles[COLUMNS_MAX];

	if (t->failed)
		return err_set(e, ERR_NOMEM, "table of %zu rows", table_rows(t));
	measure(t, term, indent, width);
	for (size_t c = 0; c < t->column_count; c++)
		titles[c] = (struct cell){.text = (char *)t->column[c].title, .style = STYLE_DIM};
	print_row(t, f, term, indent, width, titles);
	for (size_t row = 0; row < table_rows(t); row++)
		print_row(t, f, term, indent, width, t->cell + row * t->column_count);
	return 0;
}
