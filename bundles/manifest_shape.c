#include "bundles/manifest_impl.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static int text_copy(const char *text, const struct place *at, char **out, struct err *e)
{
	char *copy = strdup(text);

	if (!copy)
		return manifest_place_error(at, e, ERR_NOMEM, "no memory");
	*out = copy;
	return 0;
}

/* ---- members and their bounds ---- */

static void *member(void *base, size_t offset)
{
	return (char *)base + offset;
}

static const void *const_member(const void *base, size_t offset)
{
	return (const char *)base + offset;
}

static uint64_t read_uint(const struct item *item, const void *from)
{
	if (item->width == sizeof(uint16_t))
		return *(const uint16_t *)from;
	if (item->width == sizeof(uint32_t))
		return *(const uint32_t *)from;
	return *(const uint64_t *)from;
}

static int64_t read_int(const struct item *item, const void *from)
{
	return item->width == sizeof(int32_t) ? *(const int32_t *)from : *(const int64_t *)from;
}

static int check_texts(const struct item *item, char *const *texts, size_t count, const struct place *at, struct err *e)
{
	for (size_t i = 0; i < count; i++) {
		struct place here = {.up = at, .index = i};
		if (!manifest_text_valid(texts[i], 1, item->width))
			return manifest_place_error(&here, e, ERR_MANIFEST_VALUE, "no text of 1 to %zu bytes",
						    item->width);
	}
	return 0;
}

static int check_item(const struct item *item, const void *base, const struct place *at, struct err *e)
{
	const void *from = const_member(base, item->offset);
	size_t count;

	switch (item->type) {
	case ITEM_TEXT:
		if (!manifest_text_valid(*(char *const *)from, item->min, item->max))
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "no text of %zu to %zu bytes",
						    (size_t)item->min, (size_t)item->max);
		return 0;
	case ITEM_UINT:
		if (read_uint(item, from) < item->min || read_uint(item, from) > item->max)
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE,
						    "%" PRIu64 ", %" PRIu64 " to %" PRIu64 " are allowed",
						    read_uint(item, from), item->min, item->max);
		return 0;
	case ITEM_WORD:
		if (*(const unsigned *)from >= item->max)
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%u is none of its words",
						    *(const unsigned *)from);
		return 0;
	case ITEM_TEXTS:
	case ITEM_SHAPES:
		count = *(const size_t *)const_member(base, item->count_offset);
		if (count < item->min || count > item->max)
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu elements, %zu to %zu are allowed",
						    count, (size_t)item->min, (size_t)item->max);
		return item->type == ITEM_TEXTS ? check_texts(item, *(char **const *)from, count, at, e) : 0;
	default:
		return 0;
	}
}

int manifest_shape_check(const struct shape *shape, const void *base, const struct place *at, struct err *e)
{
	for (size_t i = 0; i < shape->item_count; i++) {
		const struct item *item = &shape->items[i];
		struct place here = {.up = at, .key = item->key};
		if (check_item(item, base, &here, e))
			return -1;
		if (item->type != ITEM_SHAPES)
			continue;
		const char *structs = *(char *const *)const_member(base, item->offset);
		size_t count = *(const size_t *)const_member(base, item->count_offset);
		for (size_t k = 0; k < count; k++) {
			struct place element = {.up = &here, .index = k};
			if (manifest_shape_check(item->shape, structs + k * item->shape->size, &element, e))
				return -1;
		}
	}
	return 0;
}

/* ---- parsing ---- */

static int array_size(const struct item *item, json_t *value, const struct place *at, size_t *out, struct err *e)
{
	size_t size = json_array_size(value);

	if (!json_is_array(value))
		return manifest_type_error(value, at, "an array", e);
	if (size < item->min || size > item->max)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu elements, %zu to %zu are allowed", size,
					    (size_t)item->min, (size_t)item->max);
	*out = size;
	return 0;
}

static int parse_texts(const struct item *item, json_t *value, void *base, const struct place *at, struct err *e)
{
	size_t size = 0, *count = member(base, item->count_offset);
	const char *text = NULL;

	if (array_size(item, value, at, &size, e))
		return -1;
	if (size == 0)
		return 0;
	char **texts = calloc(size, sizeof(*texts));
	if (!texts)
		return manifest_place_error(at, e, ERR_NOMEM, "no memory");
	*(char ***)member(base, item->offset) = texts;
	*count = size;
	for (size_t i = 0; i < size; i++) {
		struct place here = {.up = at, .index = i};
		if (manifest_text_parse(json_array_get(value, i), &here, 1, item->width, &text, e) ||
		    text_copy(text, &here, &texts[i], e))
			return -1;
	}
	return 0;
}

static int parse_shapes(const struct item *item, json_t *value, void *base, const struct place *at,
			const struct manifest *m, struct err *e)
{
	size_t size = 0, *count = member(base, item->count_offset);

	if (array_size(item, value, at, &size, e))
		return -1;
	if (size == 0)
		return 0;
	char *structs = calloc(size, item->shape->size);
	if (!structs)
		return manifest_place_error(at, e, ERR_NOMEM, "no memory");
	*(void **)member(base, item->offset) = structs;
	*count = size;
	for (size_t i = 0; i < size; i++) {
		struct place here = {.up = at, .index = i};
		if (manifest_shape_parse(item->shape, json_array_get(value, i), structs + i * item->shape->size, &here,
					 m, e))
			return -1;
	}
	return 0;
}

static int parse_uint(const struct item *item, json_t *value, void *base, const struct place *at, struct err *e)
{
	void *to = member(base, item->offset);
	uint64_t number;

	if (manifest_number_unsigned(value, at, &number, e))
		return -1;
	if (number > item->max)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%" PRIu64 ", at most %" PRIu64 " is allowed",
					    number, item->max);
	if (item->width == sizeof(uint16_t))
		*(uint16_t *)to = (uint16_t)number;
	else if (item->width == sizeof(uint32_t))
		*(uint32_t *)to = (uint32_t)number;
	else
		*(uint64_t *)to = number;
	return 0;
}

static int parse_int(const struct item *item, json_t *value, void *base, const struct place *at, struct err *e)
{
	int64_t number;

	if (manifest_number_signed(value, at, &number, e))
		return -1;
	if (item->width == sizeof(int64_t)) {
		*(int64_t *)member(base, item->offset) = number;
		return 0;
	}
	if (number < INT32_MIN || number > INT32_MAX)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%" PRId64 " does not fit 32 bits", number);
	*(int32_t *)member(base, item->offset) = (int32_t)number;
	return 0;
}

static int parse_word(const struct item *item, json_t *value, void *base, const struct place *at, struct err *e)
{
	const char *text = NULL;

	if (manifest_text_parse(value, at, 1, MANIFEST_IDENT_MAX, &text, e))
		return -1;
	for (size_t i = 0; i < item->max; i++) {
		if (strcmp(text, item->words[i]) == 0) {
			*(unsigned *)member(base, item->offset) = (unsigned)i;
			return 0;
		}
	}
	return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "\"%s\" is none of its words", text);
}

static int parse_digest(const struct item *item, json_t *value, void *base, const struct place *at, struct err *e)
{
	const char *text = NULL;

	if (manifest_text_parse(value, at, DIGEST_HEX_BYTES - 1, DIGEST_HEX_BYTES - 1, &text, e))
		return -1;
	if (!digest_parse(text, member(base, item->offset)))
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "no SHA-256 in lower-case hex");
	return 0;
}

static int set_absent(const struct item *item, void *base, const struct place *at, struct err *e)
{
	void *to = member(base, item->offset);

	if (item->required)
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "it is missing");
	if (item->type == ITEM_TEXT)
		return text_copy("", at, to, e);
	if (item->type == ITEM_BOOL)
		*(bool *)to = item->fallback != 0;
	if (item->type == ITEM_WORD)
		*(unsigned *)to = (unsigned)item->fallback;
	if (item->type == ITEM_INT && item->width == sizeof(int32_t))
		*(int32_t *)to = (int32_t)item->fallback;
	if (item->type == ITEM_INT && item->width == sizeof(int64_t))
		*(int64_t *)to = item->fallback;
	return 0;
}

static int parse_value(const struct item *item, json_t *value, void *base, const struct place *at,
		       const struct manifest *m, struct err *e)
{
	const char *text = NULL;

	switch (item->type) {
	case ITEM_TEXT:
		if (manifest_text_parse(value, at, item->min, item->max, &text, e))
			return -1;
		return text_copy(text, at, member(base, item->offset), e);
	case ITEM_TEXTS:
		return parse_texts(item, value, base, at, e);
	case ITEM_UINT:
		return parse_uint(item, value, base, at, e);
	case ITEM_INT:
		return parse_int(item, value, base, at, e);
	case ITEM_BOOL:
		if (!json_is_boolean(value))
			return manifest_type_error(value, at, "true or false", e);
		*(bool *)member(base, item->offset) = json_is_true(value);
		return 0;
	case ITEM_WORD:
		return parse_word(item, value, base, at, e);
	case ITEM_DIGEST:
		return parse_digest(item, value, base, at, e);
	case ITEM_SHAPES:
		return parse_shapes(item, value, base, at, m, e);
	case ITEM_HOOKS:
		break;
	}
	return manifest_place_error(at, e, ERR_INTERNAL, "no such type");
}

static int parse_item(const struct item *item, json_t *value, void *base, const struct place *at,
		      const struct manifest *m, struct err *e)
{
	if (item->type == ITEM_HOOKS)
		return item->hooks->parse(value, base, at, m, e);
	if (!value)
		return set_absent(item, base, at, e);
	if (parse_value(item, value, base, at, m, e))
		return -1;
	return check_item(item, base, at, e);
}

int manifest_shape_parse(const struct shape *shape, json_t *json, void *base, const struct place *at,
			 const struct manifest *m, struct err *e)
{
	const char *left;
	json_t *value;

	if (!json_is_object(json))
		return manifest_type_error(json, at, "an object", e);
	for (size_t i = 0; i < shape->item_count; i++) {
		struct place here = {.up = at, .key = shape->items[i].key};
		/* Consumed, so that what is left over is what nobody knows. */
		json_t *owned = json_incref(json_object_get(json, here.key));
		json_object_del(json, here.key);
		int status = parse_item(&shape->items[i], owned, base, &here, m, e);
		json_decref(owned);
		if (status)
			return -1;
	}
	json_object_foreach(json, left, value)
	{
		struct place here = {.up = at, .key = left};
		return manifest_place_error(&here, e, ERR_MANIFEST_UNKNOWN_KEY, "no key of a manifest");
	}
	return 0;
}

/* ---- formatting ---- */

static json_t *format_texts(char *const *texts, size_t count)
{
	json_t *array = json_array();

	for (size_t i = 0; array && i < count; i++) {
		if (json_array_append_new(array, json_string(texts[i]))) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static int format_shapes(const struct item *item, const char *structs, size_t count, const struct manifest *m,
			 json_t **out)
{
	json_t *array = json_array();

	if (!array)
		return -1;
	for (size_t i = 0; i < count; i++) {
		json_t *one = NULL;
		if (manifest_shape_format(item->shape, structs + i * item->shape->size, m, &one) ||
		    json_array_append_new(array, one)) {
			json_decref(array);
			return -1;
		}
	}
	*out = array;
	return 0;
}

static bool is_absent(const struct item *item, const void *base)
{
	const void *from = const_member(base, item->offset);
	const char *text;

	if (item->required)
		return false;
	switch (item->type) {
	case ITEM_TEXT:
		text = *(char *const *)from;
		return !text || !*text;
	case ITEM_TEXTS:
	case ITEM_SHAPES:
		return *(const size_t *)const_member(base, item->count_offset) == 0;
	case ITEM_UINT:
		return read_uint(item, from) == 0;
	case ITEM_INT:
		return read_int(item, from) == item->fallback;
	case ITEM_BOOL:
		return *(const bool *)from == (item->fallback != 0);
	case ITEM_WORD:
		return *(const unsigned *)from == (unsigned)item->fallback;
	case ITEM_DIGEST:
	case ITEM_HOOKS:
		break;
	}
	return false;
}

static int format_item(const struct item *item, const void *base, const struct manifest *m, json_t **out)
{
	const void *from = const_member(base, item->offset);
	size_t count = 0;
	char hex[DIGEST_HEX_BYTES];

	switch (item->type) {
	case ITEM_TEXT:
		*out = json_string(*(char *const *)from);
		break;
	case ITEM_TEXTS:
		count = *(const size_t *)const_member(base, item->count_offset);
		*out = format_texts(*(char **const *)from, count);
		break;
	case ITEM_UINT:
		*out = manifest_number_of_unsigned(read_uint(item, from));
		break;
	case ITEM_INT:
		*out = manifest_number_of_signed(read_int(item, from));
		break;
	case ITEM_BOOL:
		*out = json_boolean(*(const bool *)from);
		break;
	case ITEM_WORD:
		*out = json_string(item->words[*(const unsigned *)from]);
		break;
	case ITEM_DIGEST:
		digest_hex(from, hex);
		*out = json_string(hex);
		break;
	case ITEM_SHAPES:
		count = *(const size_t *)const_member(base, item->count_offset);
		return format_shapes(item, *(char *const *)from, count, m, out);
	case ITEM_HOOKS:
		return item->hooks->format(base, m, out);
	}
	return *out ? 0 : -1;
}

int manifest_shape_format(const struct shape *shape, const void *base, const struct manifest *m, json_t **out)
{
	json_t *object = json_object();

	if (!object)
		return -1;
	for (size_t i = 0; i < shape->item_count; i++) {
		const struct item *item = &shape->items[i];
		json_t *value = NULL;
		if (item->type != ITEM_HOOKS && is_absent(item, base))
			continue;
		if (format_item(item, base, m, &value) || (value && json_object_set_new(object, item->key, value))) {
			json_decref(object);
			return -1;
		}
	}
	*out = object;
	return 0;
}

/* ---- freeing ---- */

void manifest_shape_free(const struct shape *shape, void *base)
{
	for (size_t i = 0; i < shape->item_count; i++) {
		const struct item *item = &shape->items[i];
		void **owned = member(base, item->offset);
		size_t count = 0;
		if (item->type == ITEM_TEXTS || item->type == ITEM_SHAPES)
			count = *(size_t *)member(base, item->count_offset);
		for (size_t k = 0; k < count && *owned; k++) {
			if (item->type == ITEM_TEXTS)
				free(((char **)*owned)[k]);
			else
				manifest_shape_free(item->shape, (char *)*owned + k * item->shape->size);
		}
		if (item->type == ITEM_TEXT || item->type == ITEM_TEXTS || item->type == ITEM_SHAPES)
			free(*owned);
		if (item->type == ITEM_HOOKS && item->hooks->release)
			item->hooks->release(base);
	}
}
