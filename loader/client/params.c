#include <jansson.h>
#include <string.h>

#include "bundles/base/text.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

/* Numbers of the manifest may be numbers or, past 2^53, text. */
static char *as_text(const json_t *value)
{
	if (json_is_string(value))
		return strdup(json_string_value(value));
	return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("");
}

/* NULL without memory; the caller frees it. */
static char *range_of(const json_t *p)
{
	OWN_FREE char *min = as_text(json_object_get(p, "min"));
	OWN_FREE char *max = as_text(json_object_get(p, "max"));
	const json_t *words = json_object_get(p, "enumerators"), *word;
	OWN_TEXT_STREAM struct text_stream s;
	char *range;
	size_t i, size;

	if (text_stream_open(&s))
		return NULL;
	/* Nobody reads the largest number of 64 bits as a bound. */
	if (min && max && strcmp(max, "18446744073709551615") == 0)
		fprintf(s.f, "from %s", min);
	else if (min && max && min[0] && max[0])
		fprintf(s.f, "%s to %s", min, max);
	json_array_foreach(words, i, word)
	{
		const char *text = json_string_value(word);

		fprintf(s.f, "%s%s", i ? ", " : "", text ? text : "");
	}
	return text_stream_end(&s, &range, &size) ? NULL : range;
}

static void add_row(struct table *t, const json_t *p)
{
	OWN_FREE char *value = as_text(json_object_get(p, "value"));
	OWN_FREE char *initial = as_text(json_object_get(p, "default"));
	bool changed = !json_equal(json_object_get(p, "value"), json_object_get(p, "default"));
	OWN_FREE char *range = range_of(p);

	table_cell(t, STYLE_BOLD, "%s", view_text(p, "name"));
	table_cell(t, changed ? STYLE_YELLOW : STYLE_PLAIN, "%s", value ? value : "");
	table_cell(t, STYLE_PLAIN, "%s", initial ? initial : "");
	table_cell(t, STYLE_PLAIN, "%s", view_text(p, "type"));
	table_cell(t, STYLE_PLAIN, "%s", range ? range : "");
	table_cell(t, STYLE_PLAIN, "%s", view_text(p, "unit"));
	table_cell(t, STYLE_PLAIN, "%s", view_text(p, "help"));
}

static int show_bundle(const json_t *bundle, const struct term *term, struct err *e)
{
	static const struct table_column columns[] = {
	    {"PARAMETER"}, {"VALUE", .wrap = true}, {"DEFAULT", .wrap = true}, {"TYPE"}, {"RANGE", .wrap = true},
	    {"UNIT"},      {"HELP", .wrap = true},
	};
	OWN(table) struct table *t = NULL;
	const json_t *p;
	size_t i;

	term_style(stdout, term, STYLE_BOLD);
	view_put(view_text(bundle, "name"));
	term_style(stdout, term, STYLE_PLAIN);
	fputc('\n', stdout);
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(json_object_get(bundle, "parameters"), i, p)
	{
		add_row(t, p);
	}
	if (table_rows(t) == 0) {
		puts("  no parameters");
		return 0;
	}
	return table_print(t, stdout, term, 2, e);
}

int command_params(const struct options *o, int argc, char **argv, struct err *e)
{
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	const json_t *bundle;
	size_t i;

	if (ask_request(CONTROL_PARAMS, argc ? argv[0] : NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	json_array_foreach(json_object_get(answer, "bundles"), i, bundle)
	{
		if (i)
			fputc('\n', stdout);
		if (show_bundle(bundle, &term, e))
			return -1;
	}
	if (i == 0)
		puts("no bundle is installed");
	return 0;
}
