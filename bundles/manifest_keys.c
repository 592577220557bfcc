/* The keys of manifest.json, in the order in which they are written. obs-manifest(5) tells the same to people. */
#include "bundles/manifest_impl.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define COMMON(s, m, k) .key = (k), .offset = offsetof(struct s, m)
#define TEXT(s, m, k, most)                                                                                            \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_TEXT, .max = (most)                                                      \
	}
#define NEEDED_TEXT(s, m, k, most)                                                                                     \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_TEXT, .required = true, .min = 1, .max = (most)                          \
	}
#define NUMBER(s, m, k, most)                                                                                          \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_UINT, .width = sizeof(((struct s *)0)->m), .max = (most)                 \
	}
#define NEEDED_NUMBER(s, m, k, least, most)                                                                            \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_UINT, .required = true, .width = sizeof(((struct s *)0)->m),             \
				 .min = (least), .max = (most)                                                         \
	}
#define SIGNED(s, m, k, absent)                                                                                        \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_INT, .width = sizeof(((struct s *)0)->m), .fallback = (absent)           \
	}
#define FLAG(s, m, k, absent)                                                                                          \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_BOOL, .fallback = (absent)                                               \
	}
#define WORD(s, m, k, names, need)                                                                                     \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_WORD, .required = (need), .words = (names), .max = ARRAY_LEN(names)      \
	}
#define TEXTS(s, m, n, k, most, bytes)                                                                                 \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_TEXTS, .count_offset = offsetof(struct s, n), .max = (most),             \
				 .width = (bytes)                                                                      \
	}
#define SHAPES(s, m, n, k, most, of)                                                                                   \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_SHAPES, .count_offset = offsetof(struct s, n), .max = (most),            \
				 .shape = (of)                                                                         \
	}
#define HOOKS(s, m, k, h)                                                                                              \
	{                                                                                                              \
		COMMON(s, m, k), .type = ITEM_HOOKS, .hooks = (h)                                                      \
	}
#define SHAPE(s, i)                                                                                                    \
	{                                                                                                              \
		.size = sizeof(struct s), .items = (i), .item_count = ARRAY_LEN(i)                                     \
	}

const char *const field_kind_names[FIELD_KIND_COUNT] = {
    [FIELD_UINT] = "uint", [FIELD_INT] = "int",     [FIELD_BOOL] = "bool",
    [FIELD_ENUM] = "enum", [FIELD_CHARS] = "chars", [FIELD_BYTES] = "bytes",
};

const char *const field_format_names[FORMAT_COUNT] = {
    [FORMAT_PLAIN] = "plain",   [FORMAT_IP] = "ip",         [FORMAT_MAC] = "mac",     [FORMAT_PORT] = "port",
    [FORMAT_NS] = "ns",         [FORMAT_US] = "us",         [FORMAT_BYTES] = "bytes", [FORMAT_HEX] = "hex",
    [FORMAT_TIME] = "time",     [FORMAT_KSTACK] = "kstack", [FORMAT_DNS] = "dns",     [FORMAT_LOG2] = "log2",
    [FORMAT_LINEAR] = "linear",
};

const char *const output_kind_names[OUTPUT_KIND_COUNT] = {
    [OUTPUT_RING] = "ring",
    [OUTPUT_SAMPLE] = "sample",
    [OUTPUT_LOST] = "lost",
};

const char *const param_kind_names[PARAM_KIND_COUNT] = {
    [PARAM_UINT] = "uint", [PARAM_INT] = "int",     [PARAM_BOOL] = "bool",
    [PARAM_ENUM] = "enum", [PARAM_CHARS] = "chars", [PARAM_CIDR] = "cidr",
};

/* ---- enums: {"NAME": value}, and by name where one is used ---- */

static int enumerators_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	struct manifest_enum *to = base;
	const char *name;
	json_t *number;

	(void)m;
	if (!value || !json_is_object(value))
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "an object of names and values is expected");
	size_t size = json_object_size(value);
	if (size < 1 || size > MANIFEST_MAX_ENUMERATORS)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu enumerators, 1 to %d are allowed", size,
					    MANIFEST_MAX_ENUMERATORS);
	to->values = calloc(size, sizeof(*to->values));
	if (!to->values)
		return manifest_place_error(at, e, ERR_NOMEM, "no memory");
	json_object_foreach(value, name, number)
	{
		struct place here = {.up = at, .key = name};
		struct manifest_enumerator *one = &to->values[to->value_count++];
		one->name = strdup(name);
		if (!one->name)
			return manifest_place_error(&here, e, ERR_NOMEM, "no memory");
		if (manifest_number_signed(number, &here, &one->value, e))
			return -1;
	}
	return 0;
}

static int enumerators_format(const void *base, const struct manifest *m, json_t **out)
{
	const struct manifest_enum *from = base;
	json_t *object = json_object();

	(void)m;
	for (size_t i = 0; object && i < from->value_count; i++) {
		if (json_object_set_new(object, from->values[i].name,
					manifest_number_of_signed(from->values[i].value))) {
			json_decref(object);
			return -1;
		}
	}
	*out = object;
	return object ? 0 : -1;
}

static void enumerators_release(void *base)
{
	struct manifest_enum *owner = base;

	for (size_t i = 0; i < owner->value_count; i++)
		free(owner->values[i].name);
	free(owner->values);
}

static int enum_parse(json_t *value, int32_t *index, const struct place *at, const struct manifest *m, struct err *e)
{
	const char *name = NULL;

	*index = -1;
	if (!value)
		return 0;
	if (manifest_text_parse(value, at, 1, MANIFEST_IDENT_MAX, &name, e))
		return -1;
	for (size_t i = 0; i < m->enum_count; i++) {
		if (strcmp(m->enums[i].name, name) == 0) {
			*index = (int32_t)i;
			return 0;
		}
	}
	return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "there is no enum \"%s\"", name);
}

static int enum_format(int32_t index, const struct manifest *m, json_t **out)
{
	if (index < 0)
		return 0;
	*out = json_string(m->enums[index].name);
	return *out ? 0 : -1;
}

static int field_enum_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	return enum_parse(value, &((struct manifest_field *)base)->enum_index, at, m, e);
}

static int field_enum_format(const void *base, const struct manifest *m, json_t **out)
{
	return enum_format(((const struct manifest_field *)base)->enum_index, m, out);
}

static int param_enum_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	return enum_parse(value, &((struct manifest_param *)base)->enum_index, at, m, e);
}

static int param_enum_format(const void *base, const struct manifest *m, json_t **out)
{
	return enum_format(((const struct manifest_param *)base)->enum_index, m, out);
}

static const struct item_hooks enumerators = {enumerators_parse, enumerators_format, enumerators_release};
static const struct item_hooks field_enum = {field_enum_parse, field_enum_format, NULL};
static const struct item_hooks param_enum = {param_enum_parse, param_enum_format, NULL};

/* ---- "requirements": {"kernel": "6.1", "btf": true, "config": [...]} ---- */

static int kernel_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	struct manifest *to = base;
	const char *text = NULL;
	char *end = NULL, again[32];

	(void)m;
	if (!value)
		return 0;
	if (manifest_text_parse(value, at, 3, 7, &text, e))
		return -1;
	to->kernel_major = (uint32_t)strtoul(text, &end, 10);
	to->kernel_minor = *end == '.' ? (uint32_t)strtoul(end + 1, NULL, 10) : 0;
	/* What strtoul forgives is refused here: each version has one text. */
	snprintf(again, sizeof(again), "%" PRIu32 ".%" PRIu32, to->kernel_major, to->kernel_minor);
	if (strcmp(again, text) != 0 || !to->kernel_major)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "no kernel version like \"6.1\"");
	return 0;
}

static int kernel_format(const void *base, const struct manifest *m, json_t **out)
{
	(void)base;
	if (m->kernel_major == 0 && m->kernel_minor == 0)
		return 0;
	*out = json_sprintf("%" PRIu32 ".%" PRIu32, m->kernel_major, m->kernel_minor);
	return *out ? 0 : -1;
}

static const struct item_hooks kernel = {kernel_parse, kernel_format, NULL};

static const struct item requires_items[] = {
    HOOKS(manifest, kernel_major, "kernel", &kernel),
    FLAG(manifest, needs_btf, "btf", false),
    TEXTS(manifest, kernel_config, kernel_config_count, "config", MANIFEST_MAX_CONFIG, MANIFEST_IDENT_MAX),
};
static const struct shape requires_shape = SHAPE(manifest, requires_items);

static int requires_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	return value ? manifest_shape_parse(&requires_shape, value, base, at, m, e) : 0;
}

static int requires_format(const void *base, const struct manifest *m, json_t **out)
{
	json_t *object = NULL;

	if (manifest_shape_format(&requires_shape, base, m, &object))
		return -1;
	if (json_object_size(object) == 0) {
		json_decref(object);
		return 0;
	}
	*out = object;
	return 0;
}

static void requires_release(void *base)
{
	manifest_shape_free(&requires_shape, base);
}

static const struct item_hooks requirements = {requires_parse, requires_format, requires_release};

/* ---- shapes, leaves first ---- */

static const struct item tool_items[] = {
    NEEDED_TEXT(manifest_tool, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_tool, version, "version", MANIFEST_IDENT_MAX),
};
static const struct shape tool_shape = SHAPE(manifest_tool, tool_items);

static const struct item program_items[] = {
    NEEDED_TEXT(manifest_program, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_program, section, "section", MANIFEST_TEXT_MAX),
    NEEDED_TEXT(manifest_program, type, "type", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_program, attach, "attach", MANIFEST_IDENT_MAX),
    TEXT(manifest_program, target, "target", MANIFEST_TEXT_MAX),
    FLAG(manifest_program, required, "required", true),
    TEXT(manifest_program, group, "group", MANIFEST_IDENT_MAX),
    NUMBER(manifest_program, order, "order", UINT32_MAX),
    TEXT(manifest_program, since, "since", MANIFEST_IDENT_MAX),
    TEXT(manifest_program, options, "options", MANIFEST_TEXT_MAX),
};
static const struct shape program_shape = SHAPE(manifest_program, program_items);

static const struct item map_items[] = {
    NEEDED_TEXT(manifest_map, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_map, type, "type", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest_map, key_size, "key_size", 0, UINT32_MAX),
    NEEDED_NUMBER(manifest_map, value_size, "value_size", 0, UINT32_MAX),
    NEEDED_NUMBER(manifest_map, max_entries, "max_entries", 0, UINT32_MAX),
};
static const struct shape map_shape = SHAPE(manifest_map, map_items);

static const struct item object_items[] = {
    NEEDED_TEXT(manifest_object, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_object, arch, "arch", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest_object, size, "size", 1, BUNDLE_OBJECT_MAX_BYTES),
    {COMMON(manifest_object, digest, "sha256"), .type = ITEM_DIGEST, .required = true},
    TEXTS(manifest_object, capabilities.word, capabilities.count, "capabilities", MANIFEST_MAX_CAPABILITIES,
	  MANIFEST_TEXT_MAX),
    SHAPES(manifest_object, programs, program_count, "programs", MANIFEST_MAX_PROGRAMS, &program_shape),
    SHAPES(manifest_object, maps, map_count, "maps", MANIFEST_MAX_MAPS, &map_shape),
};
static const struct shape object_shape = SHAPE(manifest_object, object_items);

static const struct item enum_items[] = {
    NEEDED_TEXT(manifest_enum, name, "name", MANIFEST_IDENT_MAX),
    HOOKS(manifest_enum, values, "values", &enumerators),
};
static const struct shape enum_shape = SHAPE(manifest_enum, enum_items);

static const struct item field_items[] = {
    NEEDED_TEXT(manifest_field, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest_field, offset, "offset", 0, EVENT_MAX_BYTES),
    NEEDED_NUMBER(manifest_field, size, "size", 0, EVENT_MAX_BYTES),
    NUMBER(manifest_field, bit_offset, "bit_offset", 63),
    NUMBER(manifest_field, bit_size, "bit_size", 64),
    NUMBER(manifest_field, count, "count", EVENT_MAX_BYTES),
    NUMBER(manifest_field, stride, "stride", EVENT_MAX_BYTES),
    WORD(manifest_field, kind, "kind", field_kind_names, true),
    WORD(manifest_field, format, "format", field_format_names, false),
    HOOKS(manifest_field, enum_index, "enum", &field_enum),
    FLAG(manifest_field, omit_zero, "omit_zero", false),
    SIGNED(manifest_field, length_field, "length", -1),
    SIGNED(manifest_field, base, "base", 0),
    SIGNED(manifest_field, step, "step", 0),
};
static const struct shape field_shape = SHAPE(manifest_field, field_items);

static const struct item event_items[] = {
    NEEDED_TEXT(manifest_event, name, "name", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_event, object, "object", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest_event, id, "id", 0, UINT32_MAX),
    NEEDED_NUMBER(manifest_event, size, "size", 1, EVENT_MAX_BYTES),
    SHAPES(manifest_event, fields, field_count, "fields", MANIFEST_MAX_FIELDS, &field_shape),
};
static const struct shape event_shape = SHAPE(manifest_event, event_items);

static const struct item output_items[] = {
    WORD(manifest_output, kind, "kind", output_kind_names, true),
    NEEDED_TEXT(manifest_output, object, "object", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_output, map, "map", MANIFEST_IDENT_MAX),
    TEXT(manifest_output, event, "event", MANIFEST_IDENT_MAX),
    NUMBER(manifest_output, interval_ms, "interval_ms", SAMPLE_MAX_MS),
    TEXT(manifest_output, interval_param, "interval_param", MANIFEST_IDENT_MAX),
    FLAG(manifest_output, only_changed, "only_changed", false),
    FLAG(manifest_output, clear, "clear", false),
    SHAPES(manifest_output, key_fields, key_field_count, "key", MANIFEST_MAX_FIELDS, &field_shape),
    SHAPES(manifest_output, value_fields, value_field_count, "value", MANIFEST_MAX_FIELDS, &field_shape),
};
static const struct shape output_shape = SHAPE(manifest_output, output_items);

static const struct item variable_items[] = {
    NEEDED_TEXT(manifest_variable, object, "object", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest_variable, map, "map", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest_variable, offset, "offset", 0, UINT32_MAX),
};
static const struct shape variable_shape = SHAPE(manifest_variable, variable_items);

static const struct item param_items[] = {
    NEEDED_TEXT(manifest_param, name, "name", MANIFEST_IDENT_MAX),
    TEXT(manifest_param, help, "help", MANIFEST_TEXT_MAX),
    WORD(manifest_param, kind, "kind", param_kind_names, true),
    NEEDED_NUMBER(manifest_param, size, "size", 1, PARAM_MAX_BYTES),
    NUMBER(manifest_param, count, "count", PARAM_MAX_BYTES),
    HOOKS(manifest_param, enum_index, "enum", &param_enum),
    TEXT(manifest_param, unit, "unit", MANIFEST_IDENT_MAX),
    HOOKS(manifest_param, min, "min", &manifest_param_min),
    HOOKS(manifest_param, max, "max", &manifest_param_max),
    HOOKS(manifest_param, initial, "default", &manifest_param_default),
    SHAPES(manifest_param, variables, variable_count, "variables", MANIFEST_MAX_VARIABLES, &variable_shape),
};
static const struct shape param_shape = SHAPE(manifest_param, param_items);

static const struct item manifest_items[] = {
    NEEDED_TEXT(manifest, name, "name", 2 * MANIFEST_NAME_MAX + 1),
    NEEDED_TEXT(manifest, version, "version", MANIFEST_IDENT_MAX),
    NEEDED_NUMBER(manifest, serial, "serial", 1, (1ULL << 53) - 1),
    TEXT(manifest, description, "description", MANIFEST_TEXT_MAX),
    NEEDED_TEXT(manifest, licence, "licence", MANIFEST_IDENT_MAX),
    NEEDED_TEXT(manifest, created, "created", MANIFEST_IDENT_MAX),
    SHAPES(manifest, toolchain, toolchain_count, "toolchain", MANIFEST_MAX_TOOLS, &tool_shape),
    HOOKS(manifest, kernel_major, "requirements", &requirements),
    SHAPES(manifest, objects, object_count, "objects", BUNDLE_MAX_OBJECTS, &object_shape),
    SHAPES(manifest, enums, enum_count, "enums", MANIFEST_MAX_ENUMS, &enum_shape),
    SHAPES(manifest, events, event_count, "events", MANIFEST_MAX_EVENTS, &event_shape),
    SHAPES(manifest, outputs, output_count, "outputs", MANIFEST_MAX_OUTPUTS, &output_shape),
    SHAPES(manifest, params, param_count, "parameters", MANIFEST_MAX_PARAMS, &param_shape),
};
const struct shape manifest_shape = SHAPE(manifest, manifest_items);
