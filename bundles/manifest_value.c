#include "bundles/manifest_impl.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "bundles/base/text.h"

static const int64_t exact_max = (1LL << 53) - 1;

/* ---- places ---- */

static size_t place_append(const struct place *at, char *text, size_t size)
{
	size_t used = at->up ? place_append(at->up, text, size) : 0;
	int n;

	if (!at->up)
		return 0;
	if (at->key)
		n = snprintf(text + used, size - used, "%s%s", used ? "." : "", at->key);
	else
		n = snprintf(text + used, size - used, "[%zu]", at->index);
	used += n > 0 ? (size_t)n : 0;
	return used < size ? used : size - 1;
}

const char *manifest_place_text(const struct place *at, char text[static PLACE_BYTES])
{
	if (place_append(at, text, PLACE_BYTES) == 0)
		snprintf(text, PLACE_BYTES, "manifest");
	return text;
}

int manifest_place_error(const struct place *at, struct err *e, enum err_code code, const char *fmt, ...)
{
	char text[PLACE_BYTES], what[ERR_FRAME_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(e, code, "%s: %s", manifest_place_text(at, text), what);
}

static const char *type_name(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "a whole number";
	case JSON_REAL:
		return "a number with a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "true or false";
	default:
		return "null";
	}
}

int manifest_type_error(const json_t *value, const struct place *at, const char *wanted, struct err *e)
{
	return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX, "%s, where %s is expected", type_name(value), wanted);
}

/* ---- numbers ---- */

/* The one decimal form: no sign but "-", no leading zero, no space. */
static bool digits_valid(const char *text)
{
	const char *digits = text[0] == '-' ? text + 1 : text;

	return digits[0] >= '1' && digits[0] <= '9' && digits[strspn(digits, "0123456789")] == '\0';
}

int manifest_number_unsigned(json_t *value, const struct place *at, uint64_t *out, struct err *e)
{
	if (json_is_integer(value)) {
		json_int_t number = json_integer_value(value);
		if (number < 0 || number > exact_max)
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%" PRId64 " is out of range",
						    (int64_t)number);
		*out = (uint64_t)number;
		return 0;
	}
	if (!json_is_string(value))
		return manifest_type_error(value, at, "a whole number", e);
	errno = 0;
	uint64_t number = strtoull(json_string_value(value), NULL, 10);
	if (!digits_valid(json_string_value(value)) || json_string_value(value)[0] == '-' || errno ||
	    number <= (uint64_t)exact_max)
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX,
					    "a string holds whole numbers from 2^53 to 2^64 - 1");
	*out = number;
	return 0;
}

int manifest_number_signed(json_t *value, const struct place *at, int64_t *out, struct err *e)
{
	if (json_is_integer(value)) {
		json_int_t number = json_integer_value(value);
		if (number < -exact_max || number > exact_max)
			return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%" PRId64 " is out of range",
						    (int64_t)number);
		*out = (int64_t)number;
		return 0;
	}
	if (!json_is_string(value))
		return manifest_type_error(value, at, "a whole number", e);
	errno = 0;
	int64_t number = strtoll(json_string_value(value), NULL, 10);
	if (!digits_valid(json_string_value(value)) || errno || (number >= -exact_max && number <= exact_max))
		return manifest_place_error(at, e, ERR_MANIFEST_SYNTAX,
					    "a string holds whole numbers from 2^53 to 2^63 - 1, or negative ones");
	*out = number;
	return 0;
}

json_t *manifest_number_of_unsigned(uint64_t value)
{
	if (value > (uint64_t)exact_max)
		return json_sprintf("%" PRIu64, value);
	return json_integer((json_int_t)value);
}

json_t *manifest_number_of_signed(int64_t value)
{
	if (value > exact_max || value < -exact_max)
		return json_sprintf("%" PRId64, value);
	return json_integer(value);
}

/* ---- text ---- */

bool manifest_text_valid(const char *text, size_t min, size_t max)
{
	size_t size = text ? strnlen(text, max + 1) : 0;

	if (!text || size < min || size > max)
		return false;
	for (size_t i = 0; i < size;) {
		const uint8_t *p = (const uint8_t *)text + i;
		size_t length = text_utf8_len(p, size - i);
		/* C0, DEL, and C1, which is c2 80 to c2 9f. */
		if (length == 0 || p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0))
			return false;
		i += length;
	}
	return true;
}

int manifest_text_parse(json_t *value, const struct place *at, size_t min, size_t max, const char **out, struct err *e)
{
	if (!json_is_string(value))
		return manifest_type_error(value, at, "a string", e);
	size_t size = json_string_length(value);
	if (size < min || size > max)
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "%zu bytes of text, %zu to %zu are allowed",
					    size, min, max);
	if (!manifest_text_valid(json_string_value(value), min, max))
		return manifest_place_error(at, e, ERR_MANIFEST_VALUE, "it has a control character");
	*out = json_string_value(value);
	return 0;
}
