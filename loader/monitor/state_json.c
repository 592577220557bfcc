#include "loader/monitor/state_json.h"

#include <jansson.h>
#include <string.h>

#include "bundles/base/json.h"
#include "bundles/manifest.h"

/* ---- reading: each key is taken once; what then is left is an error ---- */

struct reader {
	json_t *object; /* keys are deleted as they are taken */
	const char *where;
	struct err *e;
};

static int corrupt(const struct reader *r, const char *key, const char *what)
{
	return err_set(r->e, ERR_STATE_CORRUPT, "%s: %s: %s", r->where, key, what);
}

static int take_text(const struct reader *r, const char *key, char *dst, size_t size)
{
	json_t *value = json_object_get(r->object, key);
	const char *text = json_string_value(value);

	if (!text || json_string_length(value) != strlen(text) || strlen(text) >= size)
		return corrupt(r, key, "text is due");
	snprintf(dst, size, "%s", text);
	json_object_del(r->object, key);
	return 0;
}

static int take_number(const struct reader *r, const char *key, int64_t least, int64_t *out)
{
	const json_t *value = json_object_get(r->object, key);

	if (!json_is_integer(value) || json_integer_value(value) < least)
		return corrupt(r, key, "a whole number is due");
	*out = json_integer_value(value);
	json_object_del(r->object, key);
	return 0;
}

static int take_serial(const struct reader *r, const char *key, uint64_t *out)
{
	int64_t n = 0;

	if (take_number(r, key, 1, &n))
		return -1;
	*out = (uint64_t)n;
	return 0;
}

static int take_digest(const struct reader *r, const char *key, struct digest *out)
{
	char hex[DIGEST_HEX_BYTES];

	if (take_text(r, key, hex, sizeof(hex)))
		return -1;
	return digest_parse(hex, out) ? 0 : corrupt(r, key, "64 hex digits are due");
}

static int take_end(const struct reader *r)
{
	const char *left = json_object_iter_key(json_object_iter(r->object));

	return left ? corrupt(r, left, "unknown key") : 0;
}

static int read_signers(const struct reader *r, struct state_bundle *b)
{
	const json_t *list = json_object_get(r->object, "signers");

	if (!json_is_array(list) || json_array_size(list) > ARRAY_LEN(b->signers))
		return corrupt(r, "signers", "a list is due");
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *hex = json_string_value(json_array_get(list, i));
		if (!hex || !digest_parse(hex, &b->signers[b->signer_count++]))
			return corrupt(r, "signers", "64 hex digits are due");
	}
	json_object_del(r->object, "signers");
	return 0;
}

static int read_params(const struct reader *r, struct state_bundle *b)
{
	json_t *params = json_object_get(r->object, "parameters"), *value;
	const char *key;

	if (!json_is_object(params) || json_object_size(params) > MANIFEST_MAX_PARAMS)
		return corrupt(r, "parameters", "an object is due");
	json_object_foreach(params, key, value)
	{
		if (!json_is_string(value))
			return corrupt(r, key, "text is due");
		if (state_param_set(b, key, json_string_value(value), r->e))
			return -1;
	}
	json_object_del(r->object, "parameters");
	return 0;
}

static int read_installed(json_t *object, struct state_bundle *b, struct err *e)
{
	const struct reader r = {.object = object, .where = b->name, .e = e};

	if (!json_is_object(object))
		return corrupt(&r, "installed", "an object is due");
	if (take_serial(&r, "serial", &b->serial) || take_digest(&r, "digest", &b->digest) ||
	    take_text(&r, "version", b->version, sizeof(b->version)) || take_number(&r, "at", 0, &b->installed_at) ||
	    read_signers(&r, b) || read_params(&r, b) || take_end(&r))
		return -1;
	b->installed = true;
	if (b->serial > b->highest)
		return corrupt(&r, "serial", "above the highest");
	return 0;
}

static int read_bundle(json_t *object, struct state *state, struct err *e)
{
	struct reader r = {.object = object, .where = "bundles", .e = e};
	char name[STATE_NAME_BYTES];
	struct state_bundle *b;

	if (!json_is_object(object))
		return corrupt(&r, "bundles", "objects are due");
	if (take_text(&r, "name", name, sizeof(name)))
		return -1;
	r.where = name;
	if (!manifest_name_valid(name))
		return corrupt(&r, "name", "namespace/name is due");
	if (state_find(state, name))
		return corrupt(&r, "name", "twice");
	if (state_add(state, name, &b, e) || take_serial(&r, "highest", &b->highest) ||
	    take_digest(&r, "highest_digest", &b->highest_digest))
		return -1;
	json_t *installed = json_object_get(object, "installed");
	if (installed && read_installed(installed, b, e))
		return -1;
	json_object_del(object, "installed");
	return take_end(&r);
}

int state_parse(const uint8_t *json, size_t size, struct state *state, struct err *e)
{
	json_auto_t *root = NULL;
	int64_t schema = 0;

	if (json_read(json, size, ERR_STATE_CORRUPT, &root, e))
		return -1;
	const struct reader r = {.object = root, .where = "state", .e = e};
	if (!json_is_object(root))
		return err_set(e, ERR_STATE_CORRUPT, "no JSON object");
	if (take_number(&r, "schema", 1, &schema))
		return -1;
	if (schema != STATE_SCHEMA)
		return err_set(e, ERR_STATE_VERSION, "schema %lld, this obsload knows %d", (long long)schema,
			       STATE_SCHEMA);
	if (take_text(&r, "boot_id", state->boot_id, sizeof(state->boot_id)))
		return -1;
	const json_t *list = json_object_get(root, "bundles");
	if (!json_is_array(list))
		return corrupt(&r, "bundles", "a list is due");
	for (size_t i = 0; i < json_array_size(list); i++)
		if (read_bundle(json_array_get(list, i), state, e))
			return -1;
	json_object_del(root, "bundles");
	return take_end(&r);
}

/* ---- writing ---- */

static json_t *digest_json(const struct digest *d)
{
	char hex[DIGEST_HEX_BYTES];

	digest_hex(d, hex);
	return json_string(hex);
}

static json_t *installed_json(const struct state_bundle *b)
{
	json_t *signers = json_array(), *params = json_object();

	for (size_t i = 0; i < b->signer_count; i++)
		json_array_append_new(signers, digest_json(&b->signers[i]));
	for (size_t i = 0; i < b->param_count; i++)
		json_object_set_new(params, b->params[i].name, json_string(b->params[i].text));
	return json_pack("{s:I,s:o,s:s,s:I,s:o,s:o}", "serial", (json_int_t)b->serial, "digest",
			 digest_json(&b->digest), "version", b->version, "at", (json_int_t)b->installed_at, "signers",
			 signers, "parameters", params);
}

static json_t *bundle_json(const struct state_bundle *b)
{
	json_t *one = json_pack("{s:s,s:I,s:o}", "name", b->name, "highest", (json_int_t)b->highest, "highest_digest",
				digest_json(&b->highest_digest));

	if (b->installed)
		json_object_set_new(one, "installed", installed_json(b));
	return one;
}

int state_format(const struct state *state, char **out, struct err *e)
{
	unsigned long failures = json_failures();
	json_t *list = json_array();

	for (size_t i = 0; i < state->count; i++)
		if (state->bundles[i].highest) /* else it was never installed */
			json_array_append_new(list, bundle_json(&state->bundles[i]));
	json_auto_t *root =
	    json_pack("{s:i,s:s,s:o}", "schema", STATE_SCHEMA, "boot_id", state->boot_id, "bundles", list);
	return json_write(root, JSON_INDENT(1), failures, out, e) ? err_wrap(e, "state") : 0;
}
