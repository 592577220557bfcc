#include "loader/monitor/params.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <obs/event.h>

#include "bundles/base/text.h"

enum { ELEMENT_TEXT_BYTES = 256, VALUE_MAX_BYTES = 1 << 20, V4_PREFIX_BITS = 96 };

#define bad(e, param, fmt, ...) err_set(e, ERR_PARAMETER_VALUE, "parameter %s: " fmt, (param)->name, __VA_ARGS__)

size_t param_bytes(const struct manifest_param *param)
{
	return (size_t)param->size * (param->count ? param->count : 1);
}

/* BPF and the hosts it runs on that are supported are little-endian; memcpy would do for any host of its own. */
static void store_number(const struct manifest_param *param, uint64_t value, uint8_t *out)
{
	for (uint32_t i = 0; i < param->size; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load_number(const struct manifest_param *param, const uint8_t *bytes)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < param->size && i < sizeof(value); i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

static int64_t load_signed(const struct manifest_param *param, const uint8_t *bytes)
{
	uint64_t value = load_number(param, bytes);
	if (param->size == 0)
		return 0;
	unsigned unused = 64 - 8 * (param->size < 8 ? param->size : 8);

	return (int64_t)(value << unused) >> unused;
}

/* Decimal or 0x; nothing before, between or after. */
static bool parse_magnitude(const char *text, uint64_t *out)
{
	int base = text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
	const char *digits = base == 16 ? "0123456789abcdefABCDEF" : "0123456789";
	const char *start = text + (base == 16 ? 2 : 0);

	if (!*start || start[strspn(start, digits)] != '\0')
		return false;
	errno = 0;
	*out = strtoull(start, NULL, base);
	return errno == 0;
}

static int parse_uint(const struct manifest_param *param, const char *text, uint8_t *out, struct err *e)
{
	uint64_t value;

	if (!parse_magnitude(text, &value))
		return bad(e, param, "\"%s\" is no whole number", text);
	if (value < param->umin || value > param->umax)
		return bad(e, param, "%s is not in %" PRIu64 " to %" PRIu64, text, param->umin, param->umax);
	store_number(param, value, out);
	return 0;
}

static int parse_int(const struct manifest_param *param, const char *text, uint8_t *out, struct err *e)
{
	bool negative = text[0] == '-';
	uint64_t magnitude;

	if (!parse_magnitude(text + negative, &magnitude))
		return bad(e, param, "\"%s\" is no whole number", text);
	uint64_t most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	int64_t value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
	if (magnitude > most || value < param->min || value > param->max)
		return bad(e, param, "%s is not in %" PRId64 " to %" PRId64, text, param->min, param->max);
	store_number(param, (uint64_t)value, out);
	return 0;
}

static int parse_bool(const struct manifest_param *param, const char *text, uint8_t *out, struct err *e)
{
	bool value = strcmp(text, "true") == 0 || strcmp(text, "1") == 0;

	if (!value && strcmp(text, "false") != 0 && strcmp(text, "0") != 0)
		return bad(e, param, "\"%s\" is neither true nor false", text);
	store_number(param, value, out);
	return 0;
}

static const struct manifest_enum *enum_of(const struct manifest *m, const struct manifest_param *param)
{
	return param->enum_index >= 0 && (size_t)param->enum_index < m->enum_count ? &m->enums[param->enum_index]
										   : NULL;
}

static int parse_enum(const struct manifest *m, const struct manifest_param *param, const char *text, uint8_t *out,
		      struct err *e)
{
	const struct manifest_enum *names = enum_of(m, param);

	for (size_t i = 0; names && i < names->value_count; i++) {
		if (strcmp(names->values[i].name, text) != 0)
			continue;
		store_number(param, (uint64_t)names->values[i].value, out);
		return 0;
	}
	return bad(e, param, "\"%s\" is none of its names", text);
}

static int parse_chars(const struct manifest_param *param, const char *text, uint8_t *out, struct err *e)
{
	size_t size = strlen(text);

	/* One byte stays NUL, so that programs may treat it as a string. */
	if (size >= param->size)
		return bad(e, param, "longer than %u bytes", param->size - 1);
	for (size_t at = 0, len; at < size; at += len) {
		len = text_utf8_len((const uint8_t *)text + at, size - at);
		if (len == 0 || (unsigned char)text[at] < 0x20 || text[at] == 0x7f)
			return bad(e, param, "byte %zu is no printable UTF-8", at);
	}
	memset(out, 0, param->size);
	snprintf((char *)out, param->size, "%s", text);
	return 0;
}

/* Bits past the prefix say nothing and are cleared, so that programs may compare masked bytes. */
static void mask_address(uint8_t *address, unsigned prefix)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned bits = prefix > i * 8 ? prefix - i * 8 : 0;
		if (bits < 8)
			address[i] &= (uint8_t)(0xff00 >> bits);
	}
}

static int parse_cidr(const struct manifest_param *param, const char *text, uint8_t *out, struct err *e)
{
	struct obs_cidr cidr = {.used = 1};
	char address[INET6_ADDRSTRLEN + 4];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t prefix;

	if (param->size != sizeof(cidr))
		return err_set(e, ERR_INTERNAL, "parameter %s: a network of %u bytes", param->name, param->size);
	if (len >= sizeof(address))
		return bad(e, param, "\"%s\" is no network", text);
	memcpy(address, text, len);
	address[len] = '\0';
	bool v4 = inet_pton(AF_INET, address, cidr.address + 12) == 1;
	if (v4)
		cidr.address[10] = cidr.address[11] = 0xff;
	else if (inet_pton(AF_INET6, address, cidr.address) != 1)
		return bad(e, param, "\"%s\" is no IPv4 or IPv6 address", address);
	uint64_t most = v4 ? 32 : 128;
	prefix = most;
	if (slash && (!parse_magnitude(slash + 1, &prefix) || prefix > most))
		return bad(e, param, "\"%s\" is no prefix length", slash + 1);
	cidr.prefix_len = (uint8_t)(v4 ? prefix + V4_PREFIX_BITS : prefix);
	mask_address(cidr.address, cidr.prefix_len);
	memcpy(out, &cidr, sizeof(cidr));
	return 0;
}

static int parse_element(const struct manifest *m, const struct manifest_param *param, const char *text, uint8_t *out,
			 struct err *e)
{
	switch (param->kind) {
	case PARAM_UINT:
		return parse_uint(param, text, out, e);
	case PARAM_INT:
		return parse_int(param, text, out, e);
	case PARAM_BOOL:
		return parse_bool(param, text, out, e);
	case PARAM_ENUM:
		return parse_enum(m, param, text, out, e);
	case PARAM_CHARS:
		return parse_chars(param, text, out, e);
	case PARAM_CIDR:
		return parse_cidr(param, text, out, e);
	case PARAM_KIND_COUNT:
		break;
	}
	return err_set(e, ERR_INTERNAL, "parameter %s is of no known kind", param->name);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size && *bytes == 0) {
		bytes++;
		size--;
	}
	return size == 0;
}

static int parse_list(const struct manifest *m, const struct manifest_param *param, const char *text, uint8_t *values,
		      struct err *e)
{
	char element[ELEMENT_TEXT_BYTES];
	uint32_t n = 0;

	while (*text) {
		size_t len = strcspn(text, ",");
		if (n == param->count)
			return bad(e, param, "more than %u elements", param->count);
		if (len == 0 || len >= sizeof(element) || (text[len] == ',' && !text[len + 1]))
			return bad(e, param, "element %u is %s", n + 1, len >= sizeof(element) ? "too long" : "empty");
		memcpy(element, text, len);
		element[len] = '\0';
		uint8_t *at = values + (size_t)n * param->size;
		if (parse_element(m, param, element, at, e))
			return -1;
		if (is_zero(at, param->size))
			return bad(e, param, "%s stands for an unused element of a list", element);
		n++;
		text += len + (text[len] == ',');
	}
	return 0;
}

int param_parse(const struct manifest *m, const struct manifest_param *param, const char *text, uint8_t *out,
		struct err *e)
{
	size_t size = param_bytes(param);
	OWN_FREE uint8_t *values = calloc(1, size + 1);

	if (!values)
		return err_errno(e, ERR_NOMEM, "parameter %s", param->name);
	/* An empty network is one that is not used; an empty text is a text. */
	bool empty = param->kind == PARAM_CIDR && !text[0];
	if (!empty && (param->count ? parse_list(m, param, text, values, e) : parse_element(m, param, text, values, e)))
		return -1;
	memcpy(out, values, size);
	return 0;
}

/* ---- as text ---- */

/* Into the caller's buffer, which needs no memory: a text that is cut short for want of it would be saved as the value. */
struct value_text {
	char *dst;
	size_t size, used;
};

static void put(struct value_text *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void put(struct value_text *t, const char *fmt, ...)
{
	size_t room = t->size - t->used;
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(t->dst + t->used, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n < room ? (size_t)n : room - 1;
}

static void format_cidr(const uint8_t *bytes, struct value_text *t)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN] = "";
	struct obs_cidr cidr;

	memcpy(&cidr, bytes, sizeof(cidr));
	if (!cidr.used)
		return;
	bool v4 = cidr.prefix_len >= V4_PREFIX_BITS && memcmp(cidr.address, mapped, sizeof(mapped)) == 0;
	inet_ntop(v4 ? AF_INET : AF_INET6, cidr.address + (v4 ? 12 : 0), text, sizeof(text));
	put(t, "%s/%u", text, cidr.prefix_len - (v4 ? V4_PREFIX_BITS : 0));
}

static void format_enum(const struct manifest *m, const struct manifest_param *param, const uint8_t *bytes,
			struct value_text *t)
{
	const struct manifest_enum *names = enum_of(m, param);
	int64_t value = load_signed(param, bytes);

	/* Signed or not is the C compiler's choice: compare what fits the size. */
	for (size_t i = 0; names && i < names->value_count; i++) {
		uint8_t stored[8] = {0};
		store_number(param, (uint64_t)names->values[i].value, stored);
		if (memcmp(stored, bytes, param->size) == 0) {
			put(t, "%s", names->values[i].name);
			return;
		}
	}
	put(t, "%" PRId64, value);
}

static void format_element(const struct manifest *m, const struct manifest_param *param, const uint8_t *bytes,
			   struct value_text *t)
{
	switch (param->kind) {
	case PARAM_UINT:
		put(t, "%" PRIu64, load_number(param, bytes));
		break;
	case PARAM_INT:
		put(t, "%" PRId64, load_signed(param, bytes));
		break;
	case PARAM_BOOL:
		put(t, "%s", is_zero(bytes, param->size) ? "false" : "true");
		break;
	case PARAM_ENUM:
		format_enum(m, param, bytes, t);
		break;
	case PARAM_CHARS:
		put(t, "%.*s", (int)param->size, (const char *)bytes);
		break;
	case PARAM_CIDR:
		format_cidr(bytes, t);
		break;
	case PARAM_KIND_COUNT:
		break;
	}
}

void param_format(const struct manifest *m, const struct manifest_param *param, const uint8_t *bytes, char *dst,
		  size_t size)
{
	struct value_text text = {.dst = dst, .size = size};
	bool first = true;

	if (size == 0)
		return;
	dst[0] = '\0';
	if (!param->count)
		format_element(m, param, bytes, &text);
	for (uint32_t i = 0; i < param->count; i++) {
		const uint8_t *at = bytes + (size_t)i * param->size;
		if (is_zero(at, param->size))
			continue;
		if (!first)
			put(&text, ",");
		format_element(m, param, at, &text);
		first = false;
	}
}

/* ---- in the kernel ---- */

/* The map's only value, whole: that is how the kernel gives and takes it. */
static int read_value(int fd, const struct manifest_param *param, const struct manifest_variable *v, uint8_t **out,
		      struct err *e)
{
	struct bpf_map_info info = {0};
	uint32_t size = sizeof(info), zero = 0;

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return err_errno(e, ERR_KERNEL_VIEW, "parameter %s: map %s", param->name, v->map);
	if (info.type != BPF_MAP_TYPE_ARRAY || info.max_entries != 1 || info.value_size > VALUE_MAX_BYTES ||
	    v->offset > info.value_size || param_bytes(param) > info.value_size - v->offset)
		return err_set(e, ERR_KERNEL_VIEW, "parameter %s: map %s of %s does not hold it", param->name, v->map,
			       v->object);
	OWN_FREE uint8_t *value = calloc(1, info.value_size + 1);
	if (!value)
		return err_errno(e, ERR_NOMEM, "parameter %s", param->name);
	if (bpf_map_lookup_elem(fd, &zero, value))
		return err_errno(e, ERR_KERNEL_LOAD, "parameter %s: reading map %s", param->name, v->map);
	*out = TAKE_PTR(value);
	return 0;
}

/* *old gets what it held; both are untouched where no program of its object is in use. */
static int write_variable(const struct kernel_bundle *kb, const struct manifest_param *param,
			  const struct manifest_variable *v, const uint8_t *bytes, uint8_t *old, struct err *e)
{
	int fd = kernel_map_fd(kb, v->object, v->map);
	OWN_FREE uint8_t *value = NULL;
	uint32_t zero = 0;

	if (fd < 0)
		return 0;
	if (read_value(fd, param, v, &value, e))
		return -1;
	memcpy(old, value + v->offset, param_bytes(param));
	memcpy(value + v->offset, bytes, param_bytes(param));
	if (bpf_map_update_elem(fd, &zero, value, BPF_EXIST))
		return err_errno(e, ERR_KERNEL_LOAD, "parameter %s: writing map %s", param->name, v->map);
	return 0;
}

int param_apply(const struct kernel_bundle *kb, const struct manifest_param *param, const uint8_t *bytes, struct err *e)
{
	size_t size = param_bytes(param), i = 0;
	OWN_FREE uint8_t *old = calloc(param->variable_count + 1, size + 1);
	OWN_FREE uint8_t *unused = calloc(1, size + 1);

	if (!old || !unused)
		return err_errno(e, ERR_NOMEM, "parameter %s", param->name);
	while (i < param->variable_count &&
	       write_variable(kb, param, &param->variables[i], bytes, old + i * size, e) == 0)
		i++;
	if (i == param->variable_count)
		return 0;
	/* One that cannot be put back either is told by the first failure. */
	while (i-- > 0)
		if (write_variable(kb, param, &param->variables[i], old + i * size, unused, NULL))
			continue;
	return -1;
}

int param_read(const struct kernel_bundle *kb, const struct manifest_param *param, uint8_t *bytes, struct err *e)
{
	for (size_t i = 0; i < param->variable_count; i++) {
		const struct manifest_variable *v = &param->variables[i];
		int fd = kernel_map_fd(kb, v->object, v->map);
		OWN_FREE uint8_t *value = NULL;
		if (fd < 0)
			continue;
		if (read_value(fd, param, v, &value, e))
			return -1;
		memcpy(bytes, value + v->offset, param_bytes(param));
		return 0;
	}
	memcpy(bytes, param->initial, param_bytes(param));
	return 0;
}
