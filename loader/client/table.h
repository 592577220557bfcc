/* Aligned columns. Columns are as wide as their widest cell; where the terminal is narrower, those that may wrap share
 * what is left and break their text over lines, so that nothing is hidden. Every cell's text is made harmless. */
#ifndef OBS_CLIENT_TABLE_H
#define OBS_CLIENT_TABLE_H

#include "bundles/base/err.h"
#include "loader/client/term.h"

struct table_column {
	const char *title;
	bool right; /* numbers */
	bool wrap;
};

struct table;

/* columns is borrowed and must outlive the table. */
MUST_CHECK int table_new(const struct table_column *columns, size_t count, struct table **out, struct err *e);
void table_free(struct table **t);

/* The next cell, row by row. Out of memory is told by table_print. */
void table_cell(struct table *t, enum style style, const char *fmt, ...) PRINTF_LIKE(3, 4);

size_t table_rows(const struct table *t);

/* Titles and rows, each line after `indent` spaces. A column without any text is left out. */
MUST_CHECK int table_print(const struct table *t, FILE *f, const struct term *term, unsigned indent, struct err *e);

#endif
