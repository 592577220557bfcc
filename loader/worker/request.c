#include "loader/worker/request.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/json.h"

/* ---- patterns ---- */

bool request_glob(const char *pattern, const char *text, size_t size)
{
	const char *star = NULL;
	size_t at = 0, retry = 0;

	while (at < size) {
		if (*pattern == '*') {
			star = ++pattern;
			retry = at;
		} else if (*pattern && (*pattern == '?' || *pattern == text[at])) {
			pattern++;
			at++;
		} else if (star) {
			pattern = star;
			at = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool any_matches(char *const *patterns, size_t count, const char *text)
{
	if (count == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		if (request_glob(patterns[i], text, strlen(text)))
			return true;
	return false;
}

bool request_wants_event(const struct request *r, const char *event)
{
	return any_matches(r->events, r->event_count, event);
}

bool request_wants_bundle(const struct request *r, const char *bundle)
{
	return any_matches(r->bundles, r->bundle_count, bundle);
}

/* ---- parsing ---- */

static int invalid_key(const char *place, const char *key, struct err *e)
{
	return err_set(e, ERR_REQUEST_INVALID, "%s has an unknown key \"%.64s\"", place, key);
}

static int parse_text(const json_t *json, const char *place, char **out, struct err *e)
{
	if (!json_is_string(json))
		return err_set(e, ERR_REQUEST_INVALID, "%s must be text", place);
	if (json_string_length(json) > REQUEST_MAX_TEXT || json_string_length(json) == 0)
		return err_set(e, ERR_REQUEST_INVALID, "%s must be of 1 to %d bytes", place, REQUEST_MAX_TEXT);
	*out = strdup(json_string_value(json));
	if (!*out)
		return err_errno(e, ERR_NOMEM, "%s", place);
	return 0;
}

static int parse_patterns(const json_t *json, const char *place, char ***out, size_t *count, struct err *e)
{
	size_t size = json_array_size(json);

	if (!json_is_array(json))
		return err_set(e, ERR_REQUEST_INVALID, "\"%s\" must be an array of texts", place);
	if (size == 0 || size > REQUEST_MAX_PATTERNS)
		return err_set(e, ERR_REQUEST_INVALID, "\"%s\" must hold 1 to %d patterns", place,
			       REQUEST_MAX_PATTERNS);
	*out = calloc(size, sizeof(char *));
	if (!*out)
		return err_errno(e, ERR_NOMEM, "%s", place);
	for (size_t i = 0; i < size; i++) {
		if (parse_text(json_array_get(json, i), place, &(*out)[i], e))
			return -1;
		*count = i + 1;
	}
	return 0;
}

/* "10.0.0.7", "10.0.0.0/8", "2001:db8::/32". */
static bool parse_network(struct operand *o)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(o->text, '/');
	size_t size = slash ? (size_t)(slash - o->text) : strlen(o->text);
	unsigned max = 128, prefix = 0;

	if (size == 0 || size >= sizeof(address))
		return false;
	memcpy(address, o->text, size);
	address[size] = '\0';
	memset(o->address, 0, sizeof(o->address));
	if (inet_pton(AF_INET, address, o->address + 12) == 1) {
		o->address[10] = o->address[11] = 0xff;
		max = 32;
	} else if (inet_pton(AF_INET6, address, o->address) != 1) {
		return false;
	}
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");
		if (digits == 0 || digits > 3 || slash[1 + digits])
			return false;
		prefix = (unsigned)strtoul(slash + 1, NULL, 10);
		if (prefix > max)
			return false;
	} else {
		prefix = max;
	}
	o->prefix_len = (uint8_t)(prefix + (128 - max));
	return true;
}

static int parse_operand(const json_t *json, struct operand *o, struct err *e)
{
	switch (json_typeof(json)) {
	case JSON_INTEGER:
		o->kind = OPERAND_INT;
		o->integer = json_integer_value(json);
		o->real = (double)o->integer;
		return 0;
	case JSON_REAL:
		o->kind = OPERAND_REAL;
		o->real = json_real_value(json);
		return 0;
	case JSON_TRUE:
	case JSON_FALSE:
		o->kind = OPERAND_BOOL;
		o->boolean = json_is_true(json);
		return 0;
	case JSON_STRING:
		o->kind = OPERAND_TEXT;
		if (json_string_length(json) > REQUEST_MAX_TEXT)
			return err_set(e, ERR_REQUEST_INVALID, "\"value\" is longer than %d bytes", REQUEST_MAX_TEXT);
		o->text = strdup(json_string_value(json));
		if (!o->text)
			return err_errno(e, ERR_NOMEM, "value");
		o->text_size = strlen(o->text);
		o->is_network = parse_network(o);
		return 0;
	default:
		return err_set(e, ERR_REQUEST_INVALID, "\"value\" must be a number, text, true or false");
	}
}

static int parse_op(const json_t *json, enum request_op *out, struct err *e)
{
	static const char *const names[] = {"=", "!=", "<", "<=", ">", ">=", "~", "in"};

	for (size_t i = 0; json_is_string(json) && i < ARRAY_LEN(names); i++) {
		if (strcmp(json_string_value(json), names[i]) == 0) {
			*out = (enum request_op)i;
			return 0;
		}
	}
	return err_set(e, ERR_REQUEST_INVALID, "\"op\" must be one of = != < <= > >= ~ in");
}

static int parse_values(const json_t *json, struct condition *c, struct err *e)
{
	bool list = json_is_array(json);
	size_t count = list ? json_array_size(json) : 1;

	if (list && c->op != OP_IN)
		return err_set(e, ERR_REQUEST_INVALID, "\"value\" may be an array only with \"in\"");
	if (count == 0 || count > REQUEST_MAX_VALUES)
		return err_set(e, ERR_REQUEST_INVALID, "\"value\" must hold 1 to %d values", REQUEST_MAX_VALUES);
	c->values = calloc(count, sizeof(*c->values));
	if (!c->values)
		return err_errno(e, ERR_NOMEM, "%zu values", count);
	c->value_count = count;
	for (size_t i = 0; i < count; i++)
		if (parse_operand(list ? json_array_get(json, i) : json, &c->values[i], e))
			return -1;

	const struct operand *first = &c->values[0];
	if (c->op == OP_IN && !list && !(first->kind == OPERAND_TEXT && first->is_network))
		return err_set(e, ERR_REQUEST_INVALID, "\"in\" needs an array, or a network such as 10.0.0.0/8");
	if (c->op == OP_GLOB && first->kind != OPERAND_TEXT)
		return err_set(e, ERR_REQUEST_INVALID, "\"~\" needs text");
	if (c->op >= OP_LT && c->op <= OP_GE && first->kind != OPERAND_INT && first->kind != OPERAND_REAL)
		return err_set(e, ERR_REQUEST_INVALID, "< <= > >= need a number");
	return 0;
}

static int parse_condition(json_t *json, struct condition *c, struct err *e)
{
	const char *key;
	json_t *item;

	if (!json_is_object(json))
		return err_set(e, ERR_REQUEST_INVALID, "must be an object with field, op and value");
	json_object_foreach(json, key, item) if (strcmp(key, "field") != 0 && strcmp(key, "op") != 0 &&
						 strcmp(key, "value") != 0) return invalid_key("the condition", key, e);
	if (json_object_size(json) != 3)
		return err_set(e, ERR_REQUEST_INVALID, "needs field, op and value");
	if (parse_text(json_object_get(json, "field"), "\"field\"", &c->field, e))
		return -1;
	if (parse_op(json_object_get(json, "op"), &c->op, e))
		return -1;
	return parse_values(json_object_get(json, "value"), c, e);
}

/* Each record may be compared with all of them, and nothing else is done meanwhile. */
static int check_cost(const struct request *r, struct err *e)
{
	size_t values = 0, globs = 0;

	for (size_t i = 0; i < r->condition_count; i++) {
		values += r->conditions[i].value_count;
		globs += r->conditions[i].op == OP_GLOB ? r->conditions[i].values[0].text_size : 0;
	}
	if (values > REQUEST_MAX_VALUES)
		return err_set(e, ERR_REQUEST_INVALID, "\"where\" has %zu values, and may have %d in all", values,
			       REQUEST_MAX_VALUES);
	if (globs > REQUEST_MAX_GLOBS)
		return err_set(e, ERR_REQUEST_INVALID, "\"where\" has patterns of %zu bytes, and may have %d in all",
			       globs, REQUEST_MAX_GLOBS);
	return 0;
}

static int parse_conditions(const json_t *json, struct request *r, struct err *e)
{
	size_t count = json_array_size(json);

	if (!json_is_array(json))
		return err_set(e, ERR_REQUEST_INVALID, "\"where\" must be an array of conditions");
	if (count > REQUEST_MAX_CONDITIONS)
		return err_set(e, ERR_REQUEST_INVALID, "\"where\" must hold at most %d conditions",
			       REQUEST_MAX_CONDITIONS);
	r->conditions = calloc(count + 1, sizeof(*r->conditions));
	if (!r->conditions)
		return err_errno(e, ERR_NOMEM, "%zu conditions", count);
	r->condition_count = count;
	for (size_t i = 0; i < count; i++)
		if (parse_condition(json_array_get(json, i), &r->conditions[i], e))
			return err_wrap(e, "\"where\"[%zu]", i);
	return check_cost(r, e);
}

static int parse_number(const json_t *json, const char *name, int64_t least, int64_t most, uint32_t *out, struct err *e)
{
	if (!json_is_integer(json) || json_integer_value(json) < least || json_integer_value(json) > most)
		return err_set(e, ERR_REQUEST_INVALID, "\"%s\" must be a whole number from %lld to %lld", name,
			       (long long)least, (long long)most);
	*out = (uint32_t)json_integer_value(json);
	return 0;
}

static int parse_root(json_t *root, struct request *r, struct err *e)
{
	const char *key;
	json_t *item;

	if (!json_is_object(root))
		return err_set(e, ERR_REQUEST_INVALID, "the request must be an object");
	json_object_foreach(root, key, item)
	{
		int bad;
		if (strcmp(key, "events") == 0)
			bad = parse_patterns(item, "events", &r->events, &r->event_count, e);
		else if (strcmp(key, "bundles") == 0)
			bad = parse_patterns(item, "bundles", &r->bundles, &r->bundle_count, e);
		else if (strcmp(key, "where") == 0)
			bad = parse_conditions(item, r, e);
		else if (strcmp(key, "sample") == 0)
			bad = parse_number(item, "sample", 1, REQUEST_MAX_SAMPLE, &r->sample, e);
		else if (strcmp(key, "last") == 0)
			bad = parse_number(item, "last", 0, REQUEST_MAX_LAST, &r->last, e);
		else
			bad = invalid_key("the request", key, e);
		if (bad)
			return -1;
	}
	return 0;
}

int request_parse(const char *line, size_t size, struct request **out, struct err *e)
{
	OWN(request) struct request *r = calloc(1, sizeof(*r));
	json_auto_t *root = NULL;

	if (!r)
		return err_errno(e, ERR_NOMEM, "request");
	if (size > REQUEST_MAX_BYTES)
		return err_set(e, ERR_REQUEST_TOO_LARGE, "more than %d bytes", REQUEST_MAX_BYTES);
	r->sample = 1;
	if (json_read(line, size, ERR_REQUEST_INVALID, &root, e) || parse_root(root, r, e))
		return -1;
	*out = TAKE_PTR(r);
	return 0;
}

static void free_texts(char **texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

void request_free(struct request **request)
{
	struct request *r = *request;

	if (!r)
		return;
	free_texts(r->events, r->event_count);
	free_texts(r->bundles, r->bundle_count);
	for (size_t i = 0; i < r->condition_count; i++) {
		struct condition *c = &r->conditions[i];
		for (size_t k = 0; k < c->value_count; k++)
			free(c->values[k].text);
		free(c->values);
		free(c->field);
	}
	free(r->conditions);
	free(r);
	*request = NULL;
}
