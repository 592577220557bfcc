#include "loader/client/where.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/json.h"
#include "loader/client/ask.h"

/* Longer ones first: "<=" is not "<" and "=5". */
static const char *const operators[] = {"!=", "<=", ">=", "==", "=", "<", ">", "~", "in "};

static bool in_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	       c == '-';
}

static const char *operator_at(const char *p)
{
	for (size_t i = 0; i < ARRAY_LEN(operators); i++)
		if (strncmp(p, operators[i], strlen(operators[i])) == 0)
			return operators[i];
	return NULL;
}

/* Digits alone, as jansson reads whole numbers. */
static bool is_whole(const char *text)
{
	const char *digits = text + (text[0] == '-');

	return digits[0] && digits[strspn(digits, "0123456789")] == '\0';
}

static int value_of(const char *text, json_t **out, struct err *e)
{
	size_t len = strlen(text);
	json_error_t error;

	if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
		*out = json_stringn(text + 1, len - 2);
	} else if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
		*out = json_boolean(text[0] == 't');
	} else {
		/* Only what is a number by JSON's grammar: "10.0.0.7" and "007" are text. */
		json_auto_t *value = json_loads(text, JSON_DECODE_ANY, &error);
		if (!value && json_error_code(&error) == json_error_numeric_overflow && is_whole(text))
			return err_set(e, ERR_USAGE,
				       "%s is no whole number from -2^63 to 2^63 - 1; text stands in double quotes",
				       text);
		*out = json_is_number(value) ? TAKE_PTR(value) : json_string(text);
	}
	return *out ? 0 : err_set(e, ERR_USAGE, "the value is no UTF-8 text");
}

/* "10.0.0.0/8"; whether the prefix is one, the worker tells. */
static bool is_network(const char *text)
{
	size_t size = strcspn(text, "/");
	char address[INET6_ADDRSTRLEN];
	struct in6_addr unused;

	if (text[size] == '\0' || strchr(text, ',') || size >= sizeof(address))
		return false;
	memcpy(address, text, size);
	address[size] = '\0';
	return inet_pton(AF_INET, address, &unused) == 1 || inet_pton(AF_INET6, address, &unused) == 1;
}

/* Of the value at the start of a list: up to a comma, or the end. Commas in quotes are text, and quotes close only before one
 * of these, so that they need no escape. */
static size_t element_size(const char *text)
{
	const char *quote = text[0] == '"' ? text : NULL;

	while (quote && (quote = strchr(quote + 1, '"'))) {
		const char *end = quote + 1 + strspn(quote + 1, " ");
		if (*end == ',' || *end == '\0')
			return (size_t)(end - text);
	}
	return strcspn(text, ",");
}

static int add_element(json_t *list, const char *text, size_t size, struct err *e)
{
	while (size && text[size - 1] == ' ')
		size--;
	OWN_FREE char *element = strndup(text, size);
	json_t *value = NULL;
	if (!element)
		return err_set(e, ERR_NOMEM, "values");
	if (value_of(element, &value, e))
		return -1;
	return json_array_append_new(list, value) ? err_set(e, ERR_NOMEM, "values") : 0;
}

/* "in": a network as it is, else the elements between commas. */
static int values_of(const char *text, json_t **out, struct err *e)
{
	json_auto_t *list = json_array();
	bool more = true;

	if (!list)
		return err_set(e, ERR_NOMEM, "values");
	if (is_network(text)) {
		*out = json_string(text);
		return *out ? 0 : err_set(e, ERR_USAGE, "the value is no UTF-8 text");
	}
	while (more) {
		text += strspn(text, " ");
		size_t size = element_size(text);
		if (add_element(list, text, size, e))
			return -1;
		more = text[size] == ',';
		text += size + 1;
	}
	*out = TAKE_PTR(list);
	return 0;
}

int where_parse(const char *text, json_t **out, struct err *e)
{
	const char *p = text, *name, *op;
	size_t name_len;

	while (*p == ' ')
		p++;
	name = p;
	while (in_name(*p))
		p++;
	name_len = (size_t)(p - name);
	while (*p == ' ')
		p++;
	op = operator_at(p);
	if (name_len == 0 || !op)
		return err_set(e, ERR_USAGE, "--where \"%s\" is not: field operator value", text);
	p += strlen(op);
	while (*p == ' ')
		p++;
	if (*p == '\0')
		return err_set(e, ERR_USAGE, "--where \"%s\" has no value", text);
	if (strcmp(op, "==") == 0)
		op = "=";
	bool in = strcmp(op, "in ") == 0;
	json_t *value = NULL;
	if (in ? values_of(p, &value, e) : value_of(p, &value, e))
		return err_wrap(e, "--where \"%s\"", text);
	*out = json_pack("{s:s%, s:s, s:o}", "field", name, name_len, "op", in ? "in" : op, "value", value);
	return *out ? 0 : err_set(e, ERR_NOMEM, "--where");
}

static int add_where(json_t *request, const struct options *o, struct err *e)
{
	json_t *list = json_array();

	if (json_object_set_new(request, "where", list))
		return err_set(e, ERR_NOMEM, "request");
	for (size_t i = 0; i < o->where_count; i++) {
		json_t *condition = NULL;
		if (where_parse(o->where[i], &condition, e))
			return -1;
		if (json_array_append_new(list, condition))
			return err_set(e, ERR_NOMEM, "request");
	}
	return 0;
}

static int add_patterns(json_t *request, int argc, char **argv, struct err *e)
{
	json_t *list = json_array();

	if (json_object_set_new(request, "events", list))
		return err_set(e, ERR_NOMEM, "request");
	for (int i = 0; i < argc; i++)
		if (json_array_append_new(list, json_string(argv[i])))
			return err_set(e, ERR_USAGE, "event pattern %d is no UTF-8 text", i + 1);
	/* Whoever picks events still has to know what is missing among them. */
	if (json_array_append_new(list, json_string("obs.lost")))
		return err_set(e, ERR_NOMEM, "request");
	return 0;
}

int where_request(const struct options *o, int argc, char **argv, char **out, struct err *e)
{
	unsigned long failures = json_failures();
	json_auto_t *request = json_object();
	OWN_FREE char *text = NULL;

	if (!request)
		return err_set(e, ERR_NOMEM, "request");
	if (argc > WHERE_MAX_PATTERNS)
		return err_set(e, ERR_USAGE, "%d patterns: at most %d", argc, WHERE_MAX_PATTERNS);
	if (o->last > WHERE_MAX_LAST)
		return err_set(e, ERR_USAGE, "--last %" PRIu64 ": at most %d", o->last, WHERE_MAX_LAST);
	if (argc && add_patterns(request, argc, argv, e))
		return -1;
	if (o->where_count && add_where(request, o, e))
		return -1;
	if ((o->bundle && json_object_set_new(request, "bundles", json_pack("[s]", o->bundle))) ||
	    (o->last && json_object_set_new(request, "last", json_integer((json_int_t)o->last))) ||
	    (o->sample && json_object_set_new(request, "sample", json_integer((json_int_t)o->sample))))
		return err_set(e, ERR_USAGE, "--bundle is no UTF-8 text");
	if (json_write(request, JSON_COMPACT, failures, &text, e))
		return err_wrap(e, "request");
	return asprintf(out, "%s\n", text) < 0 ? err_set(e, ERR_NOMEM, "request") : 0;
}
