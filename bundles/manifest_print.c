#include "bundles/manifest_impl.h"

#include <jansson.h>
#include <string.h>

#include "bundles/base/text.h"

enum { COLUMNS = 120, INDENT = 2 };

static int print(FILE *f, json_t *json, size_t level, size_t column);

static void new_line(FILE *f, size_t level)
{
	fprintf(f, "\n%*s", (int)(level * INDENT), "");
}

static int print_key(FILE *f, const char *key, size_t *width)
{
	json_auto_t *name = json_string(key);
	OWN_FREE char *text = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;

	if (!text)
		return -1;
	fprintf(f, "%s: ", text);
	*width = strlen(text) + 2;
	return 0;
}

static int print_elements(FILE *f, json_t *json, size_t level)
{
	bool object = json_is_object(json);
	size_t left = object ? json_object_size(json) : json_array_size(json), i = 0;
	void *member = object ? json_object_iter(json) : NULL;

	fputc(object ? '{' : '[', f);
	while (left--) {
		size_t width = 0;
		new_line(f, level + 1);
		if (object && print_key(f, json_object_iter_key(member), &width))
			return -1;
		/* One column is for the comma. */
		if (print(f, object ? json_object_iter_value(member) : json_array_get(json, i++), level + 1,
			  (level + 1) * INDENT + width + (left > 0)))
			return -1;
		if (left)
			fputc(',', f);
		member = object ? json_object_iter_next(json, member) : NULL;
	}
	new_line(f, level);
	fputc(object ? '}' : ']', f);
	return 0;
}

static int print(FILE *f, json_t *json, size_t level, size_t column)
{
	OWN_FREE char *line = level ? json_dumps(json, JSON_ENCODE_ANY) : NULL;

	if (level && !line)
		return -1;
	bool scalar = !json_is_object(json) && !json_is_array(json);
	if (line && (scalar || column + strlen(line) <= COLUMNS)) {
		fputs(line, f);
		return 0;
	}
	return print_elements(f, json, level);
}

int manifest_print(json_t *json, char **out, size_t *out_size, struct err *e)
{
	OWN_TEXT_STREAM struct text_stream s = {0};

	if (text_stream_open(&s))
		return err_errno(e, ERR_NOMEM, "manifest");
	int status = print(s.f, json, 0, 0);
	fputc('\n', s.f);
	if (status || text_stream_end(&s, out, out_size))
		return err_set(e, ERR_NOMEM, "manifest: no memory for its text");
	return 0;
}
