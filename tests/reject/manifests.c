/* Manifests that break the format, signed by somebody who is trusted, so that they reach the parser. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "bundles/base/file.h"
#include "tests/reject/manifest.h"
#include "tests/reject/reject.h"

static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

/* ---- numbers within a manifest ---- */

static json_t *golden;
static char *golden_text;

static void load_golden(void)
{
	struct err e = ERR_INIT;
	uint8_t *data;
	size_t size;

	must(file_read("tests/golden/manifest.json", BUNDLE_MANIFEST_MAX_BYTES, ERR_LIMIT, &data, &size, &e) == 0,
	     "tests/golden/manifest.json");
	golden_text = (char *)data;
	golden = json_loads(golden_text, 0, NULL);
	must(golden, "json_loads");
}

static void refuse_json(struct reject *r, enum err_code code, const char *name, const json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT);

	must(text, "json_dumps");
	refuse(r, code, name, (struct parts){.signed_manifest = text});
	free(text);
}

/* Arrays of the manifest with the most that they may hold, and which member tells their elements apart. */
static const struct numbered {
	const char *name, *outer, *inner, *key;
	int max;
	const char *prefix; /* of what tells them apart; NULL: "zz" */
} numbered[] = {
    {"tools", "toolchain", NULL, "name", MANIFEST_MAX_TOOLS},
    {"programs", "objects", "programs", "name", MANIFEST_MAX_PROGRAMS},
    {"maps", "objects", "maps", "name", MANIFEST_MAX_MAPS},
    {"capabilities", "objects", "capabilities", NULL, MANIFEST_MAX_CAPABILITIES},
    {"enums", "enums", NULL, "name", MANIFEST_MAX_ENUMS},
    {"events", "events", NULL, "name", MANIFEST_MAX_EVENTS},
    {"fields", "events", "fields", "name", MANIFEST_MAX_FIELDS},
    {"parameters", "parameters", NULL, "name", MANIFEST_MAX_PARAMS},
    {"options", "requirements", "config", NULL, MANIFEST_MAX_CONFIG, "CONFIG_"},
    {"enumerators", "enums", "values", NULL, MANIFEST_MAX_ENUMERATORS},
    {"variables", "parameters", "variables", NULL, MANIFEST_MAX_VARIABLES},
};

static void add_another(json_t *array, const struct numbered *n, int i)
{
	/* The first field is a number: many of the last, a DNS message, would be no good event. */
	size_t from = strcmp(n->name, "fields") == 0 ? 0 : json_array_size(array) - 1;
	json_t *more = json_deep_copy(json_array_get(array, from));
	char name[48];

	snprintf(name, sizeof(name), "%s%05d", n->prefix ? n->prefix : "zz", i);
	if (json_is_object(array)) {
		json_object_set_new(array, name, json_integer(i));
		json_decref(more);
		return;
	}
	if (json_is_string(more))
		json_string_set(more, name);
	else if (n->key)
		json_object_set_new(more, n->key, json_string(name));
	if (strcmp(n->name, "events") == 0)
		json_object_set_new(more, "id", json_integer(1000 + i));
	json_array_append_new(array, more);
}

static void grow(json_t *container, const struct numbered *n, int count)
{
	size_t size = json_is_object(container) ? json_object_size(container) : json_array_size(container);

	must(size, n->name);
	for (int i = (int)size; i < count; i++)
		add_another(container, n, i);
}

/* Of objects, which are the same for both architectures, each; of other arrays the first. */
static void grow_inner(json_t *outer, const struct numbered *n, int count)
{
	bool each = strcmp(n->outer, "objects") == 0;

	if (json_is_object(outer))
		grow(json_object_get(outer, n->inner), n, count);
	for (size_t i = 0; i < json_array_size(outer) && (each || i == 0); i++)
		grow(json_object_get(json_array_get(outer, i), n->inner), n, count);
}

static void numbers(struct reject *r)
{
	for (size_t i = 0; i < ARRAY_LEN(numbered); i++)
		for (int over = 0; over < 2; over++) {
			const struct numbered *n = &numbered[i];
			json_t *m = json_deep_copy(golden), *outer = json_object_get(m, n->outer);
			char name[64];
			if (n->inner)
				grow_inner(outer, n, n->max + over);
			else
				grow(outer, n, n->max + over);
			snprintf(name, sizeof(name), "%s_%d", n->name, n->max + over);
			refuse_json(r, over ? ERR_MANIFEST_VALUE : ERR_OBJECT_MISSING, name, m);
			json_decref(m);
		}
}

static void texts(struct reject *r)
{
	for (size_t over = 0; over < 2; over++) {
		enum err_code code = over ? ERR_MANIFEST_VALUE : ERR_OBJECT_MISSING;
		json_t *m = json_deep_copy(golden);
		char text[MANIFEST_TEXT_MAX + 2] = "";
		memset(text, 'a', MANIFEST_TEXT_MAX + over);
		json_object_set_new(m, "description", json_string(text));
		refuse_json(r, code, over ? "description_1025" : "description_1024", m);
		json_object_set(m, "description", json_object_get(golden, "description"));
		text[4 + MANIFEST_NAME_MAX + over] = '\0';
		memcpy(text, "obs/", 4);
		json_object_set_new(m, "name", json_string(text));
		refuse_json(r, code, over ? "name_64" : "name_63", m);
		json_decref(m);
	}
}

void reject_manifest_limits(struct reject *r)
{
	load_golden();
	numbers(r);
	texts(r);
	json_decref(golden);
	free(golden_text);
}

/* ---- what is no JSON, or not ours ---- */

static void nested(struct reject *r, const char *name, const char *open, const char *close, size_t depth)
{
	size_t open_size = strlen(open), close_size = strlen(close);
	char *text = malloc(depth * (open_size + close_size) + 64), *at = text;

	must(text, "malloc");
	at += sprintf(at, "{\"schema\":1,\"x\":");
	for (size_t i = 0; i < depth; i++, at += open_size)
		memcpy(at, open, open_size);
	at += sprintf(at, "1");
	for (size_t i = 0; i < depth; i++, at += close_size)
		memcpy(at, close, close_size);
	sprintf(at, "}");
	refuse(r, ERR_MANIFEST_SYNTAX, name, (struct parts){.signed_manifest = text});
	free(text);
}

static void edited(struct reject *r, enum err_code code, const char *name, const char *from, const char *to,
		   size_t to_size)
{
	const char *at = strstr(golden_text, from);
	size_t before, after;
	char *text;

	must(at, from);
	before = (size_t)(at - golden_text);
	after = strlen(at + strlen(from));
	text = malloc(before + to_size + after + 1);
	must(text, "malloc");
	memcpy(text, golden_text, before);
	memcpy(text + before, to, to_size);
	memcpy(text + before + to_size, at + strlen(from), after + 1);
	refuse(r, code, name, (struct parts){.signed_manifest = text, .signed_size = before + to_size + after});
	free(text);
}

#define EDITED(r, code, name, from, to) edited(r, code, name, from, to, sizeof(to) - 1)

void reject_manifests(struct reject *r)
{
	load_golden();
	nested(r, "arrays_10000_deep", "[", "]", 10000);
	nested(r, "objects_10000_deep", "{\"a\":", "}", 10000);
	nested(r, "arrays_never_closed", "[", "", 10000);
	EDITED(r, ERR_MANIFEST_SYNTAX, "number_2_63", "9007199254740991", "9223372036854775808");
	EDITED(r, ERR_MANIFEST_SYNTAX, "number_below_2_63", "9007199254740991", "-9223372036854775809");
	char digits[1000];
	memset(digits, '9', sizeof(digits));
	edited(r, ERR_MANIFEST_SYNTAX, "number_of_1000_digits", "9007199254740991", digits, sizeof(digits));
	EDITED(r, ERR_MANIFEST_SYNTAX, "number_1e400", "9007199254740991", "1e400");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf8_surrogate", "Shows", "\xed\xa0\x80");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf8_overlong", "Shows", "\xc1\xbf");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf8_past_unicode", "Shows", "\xf4\x90\x80\x80");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf8_cut", "Shows every", "\xe2\x82\"");
	EDITED(r, ERR_MANIFEST_SYNTAX, "lone_surrogate_escaped", "Shows", "\\ud800");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf16_mark", "{\n  \"schema\"", "\xff\xfe{\n  \"schema\"");
	EDITED(r, ERR_MANIFEST_SYNTAX, "utf8_mark", "{\n  \"schema\"", "\xef\xbb\xbf{\n  \"schema\"");
	EDITED(r, ERR_MANIFEST_SYNTAX, "nul_after", "\n}\n", "\n}\n\0");
	EDITED(r, ERR_MANIFEST_SYNTAX, "key_with_nul", "\"version\"", "\"version\\u0000x\"");
	EDITED(r, ERR_MANIFEST_SYNTAX, "key_twice_by_escape",
	       "\"serial\":", "\"n\\u0061me\": \"obs/demo\", \"serial\":");
	EDITED(r, ERR_MANIFEST_SYNTAX, "comment", "\"schema\"", "/* */ \"schema\"");
	for (size_t i = 0; i < MANIFEST_VARIANT_COUNT; i++) {
		const struct manifest_variant *v = &manifest_variants[i];
		/* Of what differs only in which value is wrong, some are enough for a host. */
		if (r->host && v->code == ERR_MANIFEST_VALUE && i % 16)
			continue;
		edited(r, v->code, v->name, v->from, v->to, strlen(v->to));
	}
	json_decref(golden);
	free(golden_text);
}
