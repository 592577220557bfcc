#include "bundles/manifest.h"

#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>

#include "bundles/base/json.h"
#include "bundles/manifest_impl.h"

/* ---- parsing ---- */

/* Counts nesting outside of strings, so that depth is bounded before a recursive parser runs. */
static int check_depth(const uint8_t *json, size_t size, struct err *e)
{
	bool in_string = false;
	size_t depth = 0;

	for (size_t i = 0; i < size; i++) {
		if (in_string) {
			if (json[i] == '\\')
				i++;
			else if (json[i] == '"')
				in_string = false;
			continue;
		}
		if (json[i] == '"')
			in_string = true;
		else if (json[i] == '[' || json[i] == '{')
			depth++;
		else if ((json[i] == ']' || json[i] == '}') && depth)
			depth--;
		if (depth > MANIFEST_MAX_DEPTH)
			return err_set(e, ERR_MANIFEST_SYNTAX, "manifest: nested deeper than %d", MANIFEST_MAX_DEPTH);
	}
	return 0;
}

static int load(const uint8_t *json, size_t size, json_t **out, struct err *e)
{
	if (size > BUNDLE_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_MANIFEST_VALUE, "manifest: %zu bytes, at most %d are allowed", size,
			       BUNDLE_MANIFEST_MAX_BYTES);
	if (check_depth(json, size, e))
		return -1;
	return json_read(json, size, ERR_MANIFEST_SYNTAX, out, e) ? err_wrap(e, "manifest") : 0;
}

/* First of all: another schema may have any other keys. */
static int take_schema(json_t *root, struct err *e)
{
	json_t *schema = json_object_get(root, "schema");

	if (!json_is_object(root))
		return err_set(e, ERR_MANIFEST_SYNTAX, "manifest: no JSON object");
	if (!json_is_integer(schema))
		return err_set(e, ERR_MANIFEST_SYNTAX, "schema: %s", schema ? "no whole number" : "it is missing");
	if (json_integer_value(schema) != MANIFEST_SCHEMA)
		return err_set(e, ERR_MANIFEST_SCHEMA, "schema: %lld, only %d is known",
			       (long long)json_integer_value(schema), MANIFEST_SCHEMA);
	json_object_del(root, "schema");
	return 0;
}

int manifest_parse(const uint8_t *json, size_t size, struct manifest **out, struct err *e)
{
	OWN(manifest) struct manifest *m = NULL;
	json_auto_t *root = NULL;
	struct place top = {NULL};

	if (load(json, size, &root, e) || take_schema(root, e))
		return -1;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_errno(e, ERR_NOMEM, "manifest");
	if (manifest_shape_parse(&manifest_shape, root, m, &top, m, e) || manifest_check(m, e))
		return -1;
	*out = TAKE_PTR(m);
	return 0;
}

/* ---- formatting ---- */

static int format(const struct manifest *m, char **out, size_t *out_size, struct err *e)
{
	json_auto_t *body = NULL, *root = json_pack("{s:i}", "schema", MANIFEST_SCHEMA);

	if (!root || manifest_shape_format(&manifest_shape, m, m, &body) || json_object_update(root, body))
		return err_set(e, ERR_NOMEM, "manifest: no memory");
	return manifest_print(root, out, out_size, e);
}

int manifest_format(const struct manifest *m, char **out, size_t *out_size, struct err *e)
{
	OWN_FREE char *text = NULL;
	size_t size = 0;

	if (manifest_check(m, e))
		return -1;
	unsigned long failures = json_failures();
	int status = format(m, &text, &size, e);
	if (json_failures() != failures)
		return err_set(e, ERR_NOMEM, "manifest: no memory for its JSON");
	if (status)
		return -1;
	if (size > BUNDLE_MANIFEST_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "manifest: %zu bytes, at most %d are allowed", size,
			       BUNDLE_MANIFEST_MAX_BYTES);
	*out = TAKE_PTR(text);
	*out_size = size;
	return 0;
}

/* ---- the rest ---- */

void manifest_free(struct manifest **m)
{
	if (!*m)
		return;
	manifest_shape_free(&manifest_shape, *m);
	free(*m);
	*m = NULL;
}

static bool is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool half_valid(const char *text, size_t size)
{
	if (size < 1 || size > MANIFEST_NAME_MAX || !is_lower_or_digit(text[0]))
		return false;
	for (size_t i = 1; i < size; i++) {
		if (!is_lower_or_digit(text[i]) && text[i] != '.' && text[i] != '_' && text[i] != '-')
			return false;
		/* Names become folders. */
		if (text[i] == '.' && text[i - 1] == '.')
			return false;
	}
	return true;
}

bool manifest_name_valid(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash && half_valid(name, (size_t)(slash - name)) && half_valid(slash + 1, strlen(slash + 1));
}

const struct manifest_object *manifest_object_find(const struct manifest *m, const char *arch, const char *name)
{
	for (size_t i = 0; i < m->object_count; i++)
		if (strcmp(m->objects[i].arch, arch) == 0 && strcmp(m->objects[i].name, name) == 0)
			return &m->objects[i];
	return NULL;
}

const struct manifest_map *manifest_map_find(const struct manifest_object *o, const char *name)
{
	for (size_t i = 0; i < o->map_count; i++)
		if (strcmp(o->maps[i].name, name) == 0)
			return &o->maps[i];
	return NULL;
}

const char *manifest_host_arch(void)
{
	static struct utsname name;

	if (uname(&name))
		return "";
	return name.machine;
}

const struct manifest_map *manifest_output_map(const struct manifest *m, const struct manifest_output *o)
{
	const struct manifest_object *object = manifest_object_find(m, manifest_host_arch(), o->object);

	return object ? manifest_map_find(object, o->map) : NULL;
}

const struct manifest_param *manifest_param_find(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->param_count; i++)
		if (strcmp(m->params[i].name, name) == 0)
			return &m->params[i];
	return NULL;
}

void *manifest_grow(void *array_pointer, size_t *count, size_t item_size, struct err *e)
{
	void **array = array_pointer;
	char *grown = reallocarray(*array, *count + 1, item_size);

	if (!grown) {
		err_errno(e, ERR_NOMEM, "%zu items of %zu bytes", *count + 1, item_size);
		return NULL;
	}
	*array = grown;
	return memset(grown + (*count)++ * item_size, 0, item_size);
}
