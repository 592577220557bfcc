#include "packager/packager.h"

#include <dirent.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"
#include "bundles/base/text.h"

enum { DEFINITION_MAX_BYTES = 1 << 20, DEFINITION_MAX_ITEMS = 256 };

static const uint64_t max_serial = (1ULL << 53) - 1;

struct reading {
	struct definition *d;
	const char *text;
	struct err *e;
};

/* Line of the first `"key"` in the text: good enough for a file in which keys rarely repeat. */
static unsigned line_of(const char *text, const char *key)
{
	char quoted[80];
	unsigned line = 1;

	snprintf(quoted, sizeof(quoted), "\"%s\"", key);
	const char *found = strstr(text, quoted);
	for (const char *p = text; found && p < found; p++)
		line += *p == '\n';
	return line;
}

static int PRINTF_LIKE(4, 5) refuse(struct reading *r, enum err_code code, const char *key, const char *fmt, ...)
{
	char why[ERR_FRAME_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(r->e, code, "%s/bundle.json:%u: \"%s\": %s", r->d->folder, line_of(r->text, key), key, why);
}

static int known_keys(struct reading *r, json_t *object, const char *const *known, size_t count)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		bool found = false;
		for (size_t i = 0; i < count; i++)
			found |= strcmp(known[i], key) == 0;
		if (!found)
			return refuse(r, ERR_DEFINITION_SYNTAX, key, "unknown key");
	}
	return 0;
}

/* What a manifest would refuse, told where the author wrote it: C0, DEL, and C1, which is c2 80 to c2 9f in UTF-8. */
static bool has_control(const char *text)
{
	for (const uint8_t *p = (const uint8_t *)text; *p; p++)
		if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
			return true;
	return false;
}

static int get_text(struct reading *r, json_t *object, const char *key, size_t max, char **out)
{
	json_t *value = json_object_get(object, key);

	if (!value)
		return refuse(r, ERR_DEFINITION_SYNTAX, key, "missing");
	if (!json_is_string(value))
		return refuse(r, ERR_DEFINITION_SYNTAX, key, "not a string");
	const char *text = json_string_value(value);
	if (json_string_length(value) == 0 || json_string_length(value) > max)
		return refuse(r, ERR_DEFINITION_VALUE, key, "1 to %zu bytes", max);
	if (has_control(text))
		return refuse(r, ERR_DEFINITION_VALUE, key, "holds a control character");
	*out = strdup(text);
	return *out ? 0 : err_errno(r->e, ERR_NOMEM, "definition");
}

/* "1.2.0-rc1": no spaces, nothing that a file name or a terminal could trip over. */
static bool plain_word(const char *text)
{
	return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+~-")] == '\0';
}

static int append(struct reading *r, struct texts *list, const char *text)
{
	char *copy = strdup(text), **grown = realloc(list->text, (list->count + 1) * sizeof(*grown));

	if (grown)
		list->text = grown;
	if (!copy || !grown) {
		free(copy);
		return err_errno(r->e, ERR_NOMEM, "definition");
	}
	grown[list->count++] = copy;
	return 0;
}

static int get_texts(struct reading *r, json_t *object, const char *key, size_t max, struct texts *out)
{
	json_t *array = json_object_get(object, key), *item;
	size_t i;

	if (!array)
		return 0;
	if (!json_is_array(array) || json_array_size(array) > max)
		return refuse(r, ERR_DEFINITION_SYNTAX, key, "not an array of at most %zu strings", max);
	json_array_foreach(array, i, item)
	{
		if (!json_is_string(item) || json_string_length(item) == 0 || json_string_length(item) > 200)
			return refuse(r, ERR_DEFINITION_SYNTAX, key, "item %zu is no string of 1 to 200 bytes", i);
		for (size_t k = 0; k < out->count; k++)
			if (strcmp(out->text[k], json_string_value(item)) == 0)
				return refuse(r, ERR_DEFINITION_VALUE, key, "item %zu stands there twice", i);
		if (append(r, out, json_string_value(item)))
			return -1;
	}
	return 0;
}

/* ---- paths ---- */

/* Components of letters, digits and "._+-" that start with none of "-" and "." : none can be an option of a tool, a
 * hidden file or a way up. */
static bool path_grammar(const char *path)
{
	for (const char *p = path;; p++) {
		size_t len = strcspn(p, "/");
		char component[201];

		if (len == 0 || len > 200 || *p == '.' || *p == '-')
			return false;
		snprintf(component, sizeof(component), "%.*s", (int)len, p);
		if (!plain_word(component))
			return false;
		p += len;
		if (*p == '\0')
			return true;
	}
}

static int check_path(struct reading *r, const char *key, const char *path)
{
	char whole[PATH_MAX], folder[PATH_MAX], real[PATH_MAX];
	size_t len;

	if (!path_grammar(path))
		return refuse(r, ERR_DEFINITION_VALUE, key, "\"%s\" is no plain path inside the folder", path);
	if ((size_t)snprintf(whole, sizeof(whole), "%s/%s", r->d->folder, path) >= sizeof(whole))
		return refuse(r, ERR_DEFINITION_VALUE, key, "\"%s\" is too long", path);
	if (!realpath(r->d->folder, folder))
		return err_errno(r->e, ERR_IO, "%s", r->d->folder);
	if (!realpath(whole, real))
		return err_errno(r->e, ERR_DEFINITION_VALUE, "%s/bundle.json:%u: \"%s\": %s", r->d->folder,
				 line_of(r->text, key), key, path);
	len = strlen(folder);
	if (strncmp(real, folder, len) != 0 || (real[len] != '/' && len > 1))
		return refuse(r, ERR_DEFINITION_VALUE, key, "\"%s\" leads out of the folder", path);
	return 0;
}

bool definition_object_name(const char *source, char *name)
{
	static const char suffix[] = ".bpf.c";
	const char *slash = strrchr(source, '/'), *base = slash ? slash + 1 : source;
	size_t len = strlen(base);

	if (len < sizeof(suffix) || strcmp(base + len - (sizeof(suffix) - 1), suffix) != 0)
		return false;
	len -= sizeof(suffix) - 1;
	if (len > 48 || strspn(base, "abcdefghijklmnopqrstuvwxyz0123456789_-") < len)
		return false;
	snprintf(name, MANIFEST_IDENT_MAX + 1, "%.*s", (int)len, base);
	return true;
}

static int compare_object_names(const void *a, const void *b)
{
	char first[MANIFEST_IDENT_MAX + 1] = "", second[MANIFEST_IDENT_MAX + 1] = "";

	definition_object_name(*(char *const *)a, first);
	definition_object_name(*(char *const *)b, second);
	return strcmp(first, second);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int find_sources(struct reading *r)
{
	DIR *dir = opendir(r->d->folder);
	struct dirent *entry;
	int status = 0;

	if (!dir)
		return err_errno(r->e, ERR_IO, "%s", r->d->folder);
	while (status == 0 && (entry = readdir(dir))) {
		size_t len = strlen(entry->d_name);
		if (entry->d_name[0] != '.' && len > 6 && strcmp(entry->d_name + len - 6, ".bpf.c") == 0)
			status = append(r, &r->d->sources, entry->d_name);
	}
	closedir(dir);
	return status;
}

static int read_sources(struct reading *r, json_t *root)
{
	struct texts *sources = &r->d->sources;
	char name[MANIFEST_IDENT_MAX + 1], before[MANIFEST_IDENT_MAX + 1] = "";

	if (get_texts(r, root, "sources", DEFINITION_MAX_ITEMS, sources))
		return -1;
	if (!json_object_get(root, "sources") && find_sources(r))
		return -1;
	if (sources->count == 0)
		return refuse(r, ERR_DEFINITION_VALUE, "sources", "no *.bpf.c in the folder");
	for (size_t i = 0; i < sources->count; i++) {
		if (check_path(r, "sources", sources->text[i]))
			return -1;
		if (!definition_object_name(sources->text[i], name))
			return refuse(r, ERR_DEFINITION_VALUE, "sources", "\"%s\" is not named [a-z0-9_-]{1,48}.bpf.c",
				      sources->text[i]);
	}
	qsort(sources->text, sources->count, sizeof(*sources->text), compare_object_names);
	for (size_t i = 0; i < sources->count; i++) {
		definition_object_name(sources->text[i], name);
		if (strcmp(name, before) == 0)
			return refuse(r, ERR_DEFINITION_VALUE, "sources", "two sources of object \"%s\"", name);
		memcpy(before, name, sizeof(before));
	}
	return 0;
}

static int read_arches(struct reading *r, json_t *root)
{
	static const char *const known[] = {"aarch64", "x86_64"};
	struct texts *arches = &r->d->arches;

	if (get_texts(r, root, "arches", DEFINITION_MAX_ITEMS, arches))
		return -1;
	if (!json_object_get(root, "arches"))
		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			if (append(r, arches, known[i]))
				return -1;
	if (arches->count == 0)
		return refuse(r, ERR_DEFINITION_VALUE, "arches", "empty");
	for (size_t i = 0; i < arches->count; i++)
		if (strcmp(arches->text[i], known[0]) != 0 && strcmp(arches->text[i], known[1]) != 0)
			return refuse(r, ERR_DEFINITION_VALUE, "arches", "\"%s\" is none of aarch64, x86_64",
				      arches->text[i]);
	qsort(arches->text, arches->count, sizeof(*arches->text), compare_texts);
	return 0;
}

/* ---- requirements ---- */

/* One to three digits; NULL if there are none. */
static const char *kernel_number(const char *text, uint32_t *out)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 3)
		return NULL;
	*out = (uint32_t)strtoul(text, NULL, 10);
	return text + digits;
}

static int read_kernel(struct reading *r, json_t *value)
{
	const char *text = json_string_value(value);

	/* Neither a sign nor a space, which strtoul would take. */
	text = text && text[0] != '0' ? kernel_number(text, &r->d->kernel_major) : NULL;
	text = text && *text == '.' ? kernel_number(text + 1, &r->d->kernel_minor) : NULL;
	if (!text || *text)
		return refuse(r, ERR_DEFINITION_VALUE, "kernel", "not of the form \"6.1\"");
	return 0;
}

static int read_requirements(struct reading *r, json_t *root)
{
	static const char *const known[] = {"kernel", "btf", "config"};
	json_t *requirements = json_object_get(root, "requirements"), *value;

	r->d->needs_btf = true;
	if (!requirements)
		return 0;
	if (!json_is_object(requirements))
		return refuse(r, ERR_DEFINITION_SYNTAX, "requirements", "not an object");
	if (known_keys(r, requirements, known, ARRAY_LEN(known)))
		return -1;
	if ((value = json_object_get(requirements, "kernel")) && read_kernel(r, value))
		return -1;
	if ((value = json_object_get(requirements, "btf"))) {
		if (!json_is_boolean(value))
			return refuse(r, ERR_DEFINITION_SYNTAX, "btf", "not true or false");
		r->d->needs_btf = json_is_true(value);
	}
	if (get_texts(r, requirements, "config", MANIFEST_MAX_CONFIG, &r->d->config))
		return -1;
	for (size_t i = 0; i < r->d->config.count; i++) {
		const char *option = r->d->config.text[i];
		if (strncmp(option, "CONFIG_", 7) != 0 || !option[7] || strlen(option) > MANIFEST_IDENT_MAX ||
		    option[strspn(option, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")])
			return refuse(r, ERR_DEFINITION_VALUE, "config", "\"%s\" is no CONFIG_ name", option);
	}
	return 0;
}

static int read_serial(struct reading *r, json_t *root)
{
	json_t *value = json_object_get(root, "serial");

	if (!value)
		return refuse(r, ERR_DEFINITION_SYNTAX, "serial", "missing");
	if (!json_is_integer(value) || json_integer_value(value) < 1 ||
	    (uint64_t)json_integer_value(value) > max_serial)
		return refuse(r, ERR_DEFINITION_VALUE, "serial", "not a whole number from 1 to 2^53 - 1");
	r->d->serial = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_root(struct reading *r, json_t *root)
{
	static const char *const known[] = {"schema",  "name",         "version", "serial", "description",
					    "licence", "requirements", "sources", "arches", "include"};
	struct definition *d = r->d;
	json_t *schema = json_object_get(root, "schema");

	if (!json_is_object(root))
		return refuse(r, ERR_DEFINITION_SYNTAX, "", "not an object");
	if (known_keys(r, root, known, ARRAY_LEN(known)))
		return -1;
	if (schema && (!json_is_integer(schema) || json_integer_value(schema) != MANIFEST_SCHEMA))
		return refuse(r, ERR_DEFINITION_VALUE, "schema", "not %d", MANIFEST_SCHEMA);
	if (get_text(r, root, "name", 2 * MANIFEST_NAME_MAX + 1, &d->name) ||
	    get_text(r, root, "version", MANIFEST_NAME_MAX, &d->version) || read_serial(r, root) ||
	    get_text(r, root, "description", MANIFEST_TEXT_MAX, &d->description) ||
	    get_text(r, root, "licence", MANIFEST_IDENT_MAX, &d->licence))
		return -1;
	if (!manifest_name_valid(d->name))
		return refuse(r, ERR_DEFINITION_VALUE, "name", "not of the form namespace/name in [a-z0-9._-]");
	if (!plain_word(d->version))
		return refuse(r, ERR_DEFINITION_VALUE, "version", "only letters, digits and . _ + ~ -");
	if (read_requirements(r, root) || read_arches(r, root) ||
	    get_texts(r, root, "include", DEFINITION_MAX_ITEMS, &d->includes))
		return -1;
	for (size_t i = 0; i < d->includes.count; i++)
		if (check_path(r, "include", d->includes.text[i]))
			return -1;
	return read_sources(r, root);
}

int definition_read(const char *folder, struct definition **out, struct err *e)
{
	OWN(definition) struct definition *d = calloc(1, sizeof(*d));
	OWN_FREE uint8_t *text = NULL;
	size_t size = 0;
	char path[PATH_MAX];
	json_auto_t *root = NULL;

	if (!d || !(d->folder = strdup(folder)))
		return err_errno(e, ERR_NOMEM, "definition");
	if ((size_t)snprintf(path, sizeof(path), "%s/bundle.json", folder) >= sizeof(path))
		return err_set(e, ERR_IO, "%s: name too long", folder);
	if (file_read(path, DEFINITION_MAX_BYTES, ERR_DEFINITION_SYNTAX, &text, &size, e))
		return -1;
	if (json_read(text, size, ERR_DEFINITION_SYNTAX, &root, e))
		return err_wrap(e, "%s", path);
	struct reading r = {.d = d, .text = (const char *)text, .e = e};
	if (read_root(&r, root))
		return -1;
	*out = TAKE_PTR(d);
	return 0;
}

static void texts_clear(struct texts *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->text[i]);
	free(list->text);
}

void definition_free(struct definition **definition)
{
	struct definition *d = TAKE_PTR(*definition);

	if (!d)
		return;
	free(d->folder);
	free(d->name);
	free(d->version);
	free(d->description);
	free(d->licence);
	texts_clear(&d->config);
	texts_clear(&d->sources);
	texts_clear(&d->arches);
	texts_clear(&d->includes);
	free(d);
}
