/* Parameters in JSON: bounds and defaults by kind. */
#include "bundles/manifest_impl.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <string.h>

#include <obs/event.h>

_Static_assert(sizeof(struct obs_cidr) == CIDR_BYTES, "struct obs_cidr is part of the manifest's format");

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

/* ---- values in an object's bytes, which are little-endian ---- */

static uint64_t load(const uint8_t *bytes, uint32_t size)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static int64_t load_signed(const uint8_t *bytes, uint32_t size)
{
	uint64_t value = load(bytes, size);
	unsigned unused = size >= 1 && size < 8 ? 64 - 8 * size : 0;

	return (int64_t)(value << unused) >> unused;
}

static void store(uint8_t *bytes, uint32_t size, uint64_t value)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size && bytes[size - 1] == 0)
		size--;
	return size == 0;
}

static bool is_number(const struct manifest_param *p)
{
	return p->kind == PARAM_UINT || p->kind == PARAM_INT || p->kind == PARAM_ENUM;
}

static bool number_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

size_t manifest_param_bytes(const struct manifest_param *p)
{
	return (size_t)p->size * (p->count ? p->count : 1);
}

/* ---- networks ---- */

bool manifest_cidr_format(const uint8_t cidr[static CIDR_BYTES], char text[static CIDR_TEXT_BYTES])
{
	struct obs_cidr c;
	char address[INET6_ADDRSTRLEN];

	memcpy(&c, cidr, sizeof(c));
	if (c.used != 1 || c.prefix_len > 128 || !is_zero(c.reserved, sizeof(c.reserved)))
		return false;
	bool mapped = memcmp(c.address, mapped_prefix, sizeof(mapped_prefix)) == 0 && c.prefix_len >= 96;
	if (mapped)
		inet_ntop(AF_INET, c.address + 12, address, sizeof(address));
	else
		inet_ntop(AF_INET6, c.address, address, sizeof(address));
	snprintf(text, CIDR_TEXT_BYTES, "%s/%d", address, mapped ? c.prefix_len - 96 : c.prefix_len);
	return true;
}

bool manifest_cidr_parse(const char *text, uint8_t cidr[static CIDR_BYTES])
{
	struct obs_cidr c = {.used = 1};
	char address[INET6_ADDRSTRLEN], again[CIDR_TEXT_BYTES];
	const char *slash = strchr(text, '/');
	uint8_t bytes[CIDR_BYTES];

	if (!slash || (size_t)(slash - text) >= sizeof(address) || strlen(slash + 1) > 3)
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	long prefix = strtol(slash + 1, NULL, 10);
	if (inet_pton(AF_INET, address, c.address + 12) == 1) {
		memcpy(c.address, mapped_prefix, sizeof(mapped_prefix));
		prefix += 96;
	} else if (inet_pton(AF_INET6, address, c.address) != 1) {
		return false;
	}
	if (prefix < 0 || prefix > 128)
		return false;
	c.prefix_len = (uint8_t)prefix;
	memcpy(bytes, &c, sizeof(bytes));
	/* One text for each network: what strtol and inet_pton forgive is refused here. */
	if (!manifest_cidr_format(bytes, again) || strcmp(again, text) != 0)
		return false;
	memcpy(cidr, bytes, sizeof(bytes));
	return true;
}

/* ---- bounds ---- */

static int bound_parse(json_t *value, const struct manifest_param *p, const struct place *at, int64_t *as_signed,
		       uint64_t *as_unsigned, struct err *e)
{
	if (!is_number(p)) {
		if (value)
			return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "only numbers have bounds");
		return 0;
	}
	if (!value)
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "it is missing");
	if (p->kind == PARAM_UINT)
		return manifest_number_unsigned(value, at, as_unsigned, e);
	return manifest_number_signed(value, at, as_signed, e);
}

static int bound_format(const struct manifest_param *p, int64_t as_signed, uint64_t as_unsigned, json_t **out)
{
	if (!is_number(p))
		return 0;
	*out = p->kind == PARAM_UINT ? manifest_number_of_unsigned(as_unsigned) : manifest_number_of_signed(as_signed);
	return *out ? 0 : -1;
}

static int min_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	struct manifest_param *p = base;

	(void)m;
	return bound_parse(value, p, at, &p->min, &p->umin, e);
}

static int max_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	struct manifest_param *p = base;

	(void)m;
	return bound_parse(value, p, at, &p->max, &p->umax, e);
}

static int min_format(const void *base, const struct manifest *m, json_t **out)
{
	const struct manifest_param *p = base;

	(void)m;
	return bound_format(p, p->min, p->umin, out);
}

static int max_format(const void *base, const struct manifest *m, json_t **out)
{
	const struct manifest_param *p = base;

	(void)m;
	return bound_format(p, p->max, p->umax, out);
}

/* ---- one element ---- */

static const struct manifest_enumerator *enumerator_by_value(const struct manifest_param *p, const struct manifest *m,
							     int64_t value)
{
	const struct manifest_enum *en = &m->enums[p->enum_index];

	for (size_t i = 0; i < en->value_count; i++)
		if (en->values[i].value == value)
			return &en->values[i];
	return NULL;
}

/* An enum's value as its enumerators give it: those of an unsigned enum are positive in all their bits. */
static int64_t load_enum(const struct manifest_param *p, const struct manifest *m, const uint8_t *bytes)
{
	int64_t value = load_signed(bytes, p->size);

	return enumerator_by_value(p, m, value) ? value : (int64_t)load(bytes, p->size);
}

bool manifest_element_valid(const struct manifest_param *p, const struct manifest *m, const uint8_t *element)
{
	char text[CIDR_TEXT_BYTES];
	size_t length;
	int64_t value;

	switch (p->kind) {
	case PARAM_UINT:
		return load(element, p->size) >= p->umin && load(element, p->size) <= p->umax;
	case PARAM_INT:
		value = load_signed(element, p->size);
		return value >= p->min && value <= p->max;
	case PARAM_ENUM:
		value = load_enum(p, m, element);
		return value >= p->min && value <= p->max && enumerator_by_value(p, m, value);
	case PARAM_BOOL:
		return element[0] <= 1;
	case PARAM_CHARS:
		length = strnlen((const char *)element, p->size);
		return length < p->size && is_zero(element + length, p->size - length) &&
		       manifest_text_valid((const char *)element, 0, p->size);
	case PARAM_CIDR:
		return manifest_cidr_format(element, text);
	case PARAM_KIND_COUNT:
		break;
	}
	return false;
}

static json_t *element_format(const struct manifest_param *p, const struct manifest *m, const uint8_t *element)
{
	char text[CIDR_TEXT_BYTES];

	switch (p->kind) {
	case PARAM_UINT:
		return manifest_number_of_unsigned(load(element, p->size));
	case PARAM_INT:
		return manifest_number_of_signed(load_signed(element, p->size));
	case PARAM_ENUM:
		return json_string(enumerator_by_value(p, m, load_enum(p, m, element))->name);
	case PARAM_BOOL:
		return json_boolean(element[0]);
	case PARAM_CHARS:
		return json_string((const char *)element);
	case PARAM_CIDR:
		return manifest_cidr_format(element, text) ? json_string(text) : NULL;
	case PARAM_KIND_COUNT:
		break;
	}
	return NULL;
}

static int enum_element_parse(json_t *value, const struct manifest_param *p, const struct manifest *m,
			      const struct place *at, int64_t *out, struct err *e)
{
	const char *name = NULL;

	if (p->enum_index < 0)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "its parameter names no enum");
	if (manifest_text_parse(value, at, 1, MANIFEST_IDENT_MAX, &name, e))
		return -1;
	const struct manifest_enum *en = &m->enums[p->enum_index];
	for (size_t i = 0; i < en->value_count; i++) {
		if (strcmp(en->values[i].name, name) == 0) {
			*out = en->values[i].value;
			return 0;
		}
	}
	return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "\"%s\" is no enumerator of %s", name, en->name);
}

static int number_element_parse(json_t *value, const struct manifest_param *p, const struct manifest *m,
				uint8_t *element, const struct place *at, struct err *e)
{
	uint64_t as_unsigned = 0;
	int64_t as_signed = 0;
	bool fits;

	if (!number_size(p->size))
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "numbers have 1, 2, 4 or 8 bytes, not %u",
					    p->size);
	if (p->kind == PARAM_UINT) {
		if (manifest_number_unsigned(value, at, &as_unsigned, e))
			return -1;
		store(element, p->size, as_unsigned);
		fits = load(element, p->size) == as_unsigned;
	} else {
		if (p->kind == PARAM_INT ? manifest_number_signed(value, at, &as_signed, e)
					 : enum_element_parse(value, p, m, at, &as_signed, e))
			return -1;
		store(element, p->size, (uint64_t)as_signed);
		fits = load_signed(element, p->size) == as_signed ||
		       (p->kind == PARAM_ENUM && (int64_t)load(element, p->size) == as_signed);
	}
	return fits ? 0 : manifest_place_error(at, e, ERR_MANIFEST_VALUE, "it does not fit %u bytes", p->size);
}

static int element_parse(json_t *value, const struct manifest_param *p, const struct manifest *m, uint8_t *element,
			 const struct place *at, struct err *e)
{
	const char *text = NULL;

	switch (p->kind) {
	case PARAM_UINT:
	case PARAM_INT:
	case PARAM_ENUM:
		return number_element_parse(value, p, m, element, at, e);
	case PARAM_BOOL:
		if (!json_is_boolean(value))
			return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "true or false is expected");
		element[0] = json_is_true(value);
		return 0;
	case PARAM_CHARS:
		if (manifest_text_parse(value, at, 0, p->size - 1, &text, e))
			return -1;
		memcpy(element, text, strlen(text) + 1);
		return 0;
	case PARAM_CIDR:
		if (manifest_text_parse(value, at, 1, CIDR_TEXT_BYTES, &text, e))
			return -1;
		if (p->size != CIDR_BYTES || !manifest_cidr_parse(text, element))
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "no network like \"10.0.0.0/8\"");
		return 0;
	case PARAM_KIND_COUNT:
		break;
	}
	return manifest_place_error(at, e, ERR_INTERNAL, "no such kind");
}

/* ---- "default": one value, or a list of those that are used ---- */

static int default_parse(json_t *value, void *base, const struct place *at, const struct manifest *m, struct err *e)
{
	struct manifest_param *p = base;

	if (manifest_param_bytes(p) > PARAM_MAX_BYTES)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu bytes, at most %d are allowed",
					    manifest_param_bytes(p), PARAM_MAX_BYTES);
	p->initial = calloc(1, manifest_param_bytes(p));
	if (!p->initial)
		return manifest_place_error(at, e, ERR_NOMEM, "no memory");
	if (!p->count) {
		if (!value)
			return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "it is missing");
		return element_parse(value, p, m, p->initial, at, e);
	}
	if (!value)
		return 0;
	if (!json_is_array(value))
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "a list is expected");
	if (json_array_size(value) > p->count)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu elements, at most %u are allowed",
					    json_array_size(value), p->count);
	for (size_t i = 0; i < json_array_size(value); i++) {
		struct place here = {.up = at, .index = i};
		if (element_parse(json_array_get(value, i), p, m, p->initial + i * p->size, &here, e))
			return -1;
	}
	return 0;
}

static int default_format(const void *base, const struct manifest *m, json_t **out)
{
	const struct manifest_param *p = base;
	size_t used = p->count;

	if (!p->count) {
		*out = element_format(p, m, p->initial);
		return *out ? 0 : -1;
	}
	while (used && is_zero(p->initial + (used - 1) * p->size, p->size))
		used--;
	if (!used)
		return 0;
	json_t *array = json_array();
	for (size_t i = 0; array && i < used; i++) {
		if (json_array_append_new(array, element_format(p, m, p->initial + i * p->size))) {
			json_decref(array);
			return -1;
		}
	}
	*out = array;
	return array ? 0 : -1;
}

static void default_release(void *base)
{
	free(((struct manifest_param *)base)->initial);
}

const struct item_hooks manifest_param_min = {min_parse, min_format, NULL};
const struct item_hooks manifest_param_max = {max_parse, max_format, NULL};
const struct item_hooks manifest_param_default = {default_parse, default_format, default_release};
