#include "loader/worker/value.h"

#include <inttypes.h>
#include <string.h>

#include "loader/worker/kallsyms.h"

/* ---- reading ---- */

static uint64_t load(const uint8_t *at, uint32_t size)
{
	uint64_t v8;
	uint32_t v4;
	uint16_t v2;

	switch (size) {
	case 8:
		memcpy(&v8, at, 8);
		return v8;
	case 4:
		memcpy(&v4, at, 4);
		return v4;
	case 2:
		memcpy(&v2, at, 2);
		return v2;
	default:
		return *at;
	}
}

static uint64_t load_bits(const uint8_t *at, uint32_t size, unsigned bit_offset, unsigned bit_size)
{
	uint64_t v = load(at, size);

	if (bit_size == 0)
		return v;
	v >>= bit_offset;
	return bit_size < 64 ? v & ((1ULL << bit_size) - 1) : v;
}

uint64_t value_number(const struct value *v, const uint8_t *at)
{
	uint64_t raw = load_bits(at, v->size, v->bit_offset, v->bit_size);
	unsigned bits = v->bit_size ? v->bit_size : v->size * 8;

	if (!v->is_signed || bits >= 64)
		return raw;
	return (uint64_t)((int64_t)(raw << (64 - bits)) >> (64 - bits));
}

static uint64_t length_in_use(const struct value *v, const uint8_t *record)
{
	if (v->length_size == 0)
		return UINT64_MAX;
	return load_bits(record + v->length_offset, v->length_size, v->length_bit_offset, v->length_bit_size);
}

size_t value_elements(const struct value *v, const uint8_t *record)
{
	if (v->count == 0)
		return 1;
	uint64_t used = length_in_use(v, record);
	return used < v->count ? (size_t)used : v->count;
}

size_t value_bytes(const struct value *v, const uint8_t *record, size_t size, const uint8_t *at)
{
	size_t there = v->size;

	if (v->size == 0)
		there = size > v->offset ? size - v->offset : 0;
	if (v->count == 0 && v->length_size) {
		uint64_t used = length_in_use(v, record);
		return used < there ? (size_t)used : there;
	}
	return v->op == VALUE_CHARS ? strnlen((const char *)at, there) : there;
}

static bool all_zero(const uint8_t *s, size_t size)
{
	uint64_t x;

	for (; size >= sizeof(x); s += sizeof(x), size -= sizeof(x)) {
		memcpy(&x, s, sizeof(x));
		if (x)
			return false;
	}
	for (; size; s++, size--)
		if (*s)
			return false;
	return true;
}

bool value_is_zero(const struct value *v, const uint8_t *record, size_t size)
{
	const uint8_t *at = record + v->offset;

	if (v->bit_size)
		return value_number(v, at) == 0;
	if (v->count == 0)
		return all_zero(at, v->size ? v->size : (size > v->offset ? size - v->offset : 0));
	for (uint32_t i = 0; i < v->count; i++)
		if (!all_zero(at + (size_t)i * v->stride, v->size))
			return false;
	return true;
}

bool value_is_optional(const struct value *v)
{
	return v->omit_zero || (v->op >= VALUE_DNS_NAME && v->op <= VALUE_DNS_CODE);
}

/* ---- writing ---- */

static char *write_text(char *p, const char *text)
{
	return json_put_string(p, (const uint8_t *)text, strlen(text));
}

static char *write_address(const struct value *v, const uint8_t *at, char *p)
{
	*p++ = '"';
	p = v->size == 4 ? json_put_ip4(p, at) : json_put_ip6(p, at);
	*p++ = '"';
	return p;
}

static char *write_quoted_hex(char *p, const uint8_t *at, size_t size)
{
	*p++ = '"';
	p = json_put_hex(p, at, size);
	*p++ = '"';
	return p;
}

static char *write_number_hex(char *p, uint64_t number)
{
	*p++ = '"';
	p = json_put_hex_number(p, number);
	*p++ = '"';
	return p;
}

static char *write_bool(char *p, bool yes)
{
	return stpcpy(p, yes ? "true" : "false");
}

static char *write_mac(char *p, const uint8_t *at)
{
	*p++ = '"';
	p = json_put_mac(p, at);
	*p++ = '"';
	return p;
}

static char *write_time(struct value_env *env, char *p, uint64_t ktime_ns)
{
	*p++ = '"';
	p = json_put_time(&env->clock, p, ktime_ns);
	*p++ = '"';
	return p;
}

static char *write_enum(const struct value *v, uint64_t number, char *p)
{
	char *end = v->names ? enum_names_write(v->names, (int64_t)number, p) : NULL;

	if (end)
		return end;
	return v->is_signed ? json_put_i64(p, (int64_t)number) : json_put_u64(p, number);
}

static char *write_one(const struct value *v, struct value_env *env, const uint8_t *record, size_t size,
		       const uint8_t *at, char *p)
{
	switch (v->op) {
	case VALUE_UINT:
		return json_put_u64(p, value_number(v, at));
	case VALUE_INT:
		return json_put_i64(p, (int64_t)value_number(v, at));
	case VALUE_BOOL:
		return write_bool(p, value_number(v, at) != 0);
	case VALUE_ENUM:
		return write_enum(v, value_number(v, at), p);
	case VALUE_CHARS:
		return json_put_string(p, at, value_bytes(v, record, size, at));
	case VALUE_HEX:
		return write_quoted_hex(p, at, value_bytes(v, record, size, at));
	case VALUE_HEX_NUMBER:
		return write_number_hex(p, value_number(v, at));
	case VALUE_IP:
		return write_address(v, at, p);
	case VALUE_MAC:
		return write_mac(p, at);
	case VALUE_TIME:
		return write_time(env, p, value_number(v, at));
	default:
		return p;
	}
}

static char *write_array(const struct value *v, struct value_env *env, const uint8_t *record, size_t size, char *p)
{
	const uint8_t *at = record + v->offset;
	size_t used = value_elements(v, record);

	*p++ = '[';
	for (size_t i = 0; i < used; i++, at += v->stride) {
		if (i)
			*p++ = ',';
		p = write_one(v, env, record, size, at, p);
	}
	*p++ = ']';
	return p;
}

static char *write_kstack(const struct value *v, const struct value_env *env, const uint8_t *record, char *p)
{
	const uint8_t *at = record + v->offset;
	size_t used = value_elements(v, record);

	*p++ = '[';
	for (size_t i = 0; i < used; i++, at += v->stride) {
		uint64_t address = load(at, 8), offset = 0;
		const char *name = env->kallsyms ? kallsyms_find(env->kallsyms, address, &offset) : NULL;
		if (address == 0)
			break;
		if (i)
			*p++ = ',';
		if (!name) {
			p = write_number_hex(p, address);
			continue;
		}
		p = write_text(p, name) - 1; /* over the closing quote */
		*p++ = '+';
		p = json_put_hex_number(p, offset);
		*p++ = '"';
	}
	*p++ = ']';
	return p;
}

/* The largest value that slot i counts. */
static char *write_slot_end(const struct value *v, size_t i, char *p)
{
	if (v->op == VALUE_LOG2)
		return json_put_u64(p, i >= 63 ? UINT64_MAX : (2ULL << i) - 1);
	return json_put_i64(p, v->base + (int64_t)(i + 1) * v->step - 1);
}

static char *write_histogram(const struct value *v, const uint8_t *record, char *p)
{
	const uint8_t *at = record + v->offset;
	size_t used = value_elements(v, record), first = used, last = 0;
	uint64_t total = 0;

	for (size_t i = 0; i < used; i++) {
		uint64_t n = load(at + i * v->stride, v->size);
		if (n) {
			first = first == used ? i : first;
			last = i;
		}
		if (__builtin_add_overflow(total, n, &total))
			total = UINT64_MAX;
	}
	p = stpcpy(p, "{\"buckets\":[");
	for (size_t i = first; i < used && i <= last; i++) {
		if (i != first)
			*p++ = ',';
		p = write_slot_end(v, i, stpcpy(p, "{\"le\":"));
		p = json_put_u64(stpcpy(p, ",\"count\":"), load(at + i * v->stride, v->size));
		*p++ = '}';
	}
	p = json_put_u64(stpcpy(p, "],\"count\":"), total);
	*p++ = '}';
	return p;
}

static char *write_dns_answers(const struct dns_message *m, char *p)
{
	char text[DNS_ANSWER_TEXT];
	size_t at = m->answers_at, total = 0;
	unsigned left = m->answers, shown = 0;

	*p++ = '[';
	while (shown < DNS_MAX_ANSWERS && dns_next_answer(m, &at, &left, text)) {
		total += strlen(text) + 3;
		if (total > DNS_MAX_ANSWERS_BYTES)
			break;
		if (shown++)
			*p++ = ',';
		p = write_text(p, text);
	}
	*p++ = ']';
	return p;
}

static char *write_dns(const struct value *v, struct value_env *env, const uint8_t *record, size_t size, char *p)
{
	char text[DNS_TYPE_TEXT > DNS_CODE_TEXT ? DNS_TYPE_TEXT : DNS_CODE_TEXT];
	const uint8_t *at = record + v->offset;

	if (!env->dns_parsed) {
		size_t used = value_bytes(v, record, size, at);
		env->dns_parsed = true;
		env->dns_ok = used && dns_parse(at, used, &env->dns);
	}
	if (!env->dns_ok)
		return NULL;
	switch (v->op) {
	case VALUE_DNS_NAME:
		return write_text(p, env->dns.name);
	case VALUE_DNS_TYPE:
		dns_type_text(env->dns.type, text);
		return write_text(p, text);
	case VALUE_DNS_CODE:
		if (!env->dns.is_response)
			return NULL;
		dns_code_text(env->dns.code, text);
		return write_text(p, text);
	default:
		return env->dns.is_response ? write_dns_answers(&env->dns, p) : NULL;
	}
}

char *value_write(const struct value *v, struct value_env *env, const uint8_t *record, size_t size, char *p)
{
	switch (v->op) {
	case VALUE_KSTACK:
		return write_kstack(v, env, record, p);
	case VALUE_LOG2:
	case VALUE_LINEAR:
		return write_histogram(v, record, p);
	case VALUE_DNS_NAME:
	case VALUE_DNS_TYPE:
	case VALUE_DNS_ANSWERS:
	case VALUE_DNS_CODE:
		return write_dns(v, env, record, size, p);
	default:
		break;
	}
	if (v->count)
		return write_array(v, env, record, size, p);
	return write_one(v, env, record, size, record + v->offset, p);
}

static size_t one_max(const struct value *v)
{
	size_t bytes = v->size ? v->size : EVENT_MAX_BYTES;

	switch (v->op) {
	case VALUE_ENUM: {
		size_t name = v->names ? enum_names_longest(v->names) : 0;
		return name > JSON_INT_MAX ? name : JSON_INT_MAX;
	}
	case VALUE_CHARS:
		return bytes * JSON_TEXT_GROWTH + 2;
	case VALUE_HEX:
		return bytes * 2 + 2;
	case VALUE_IP:
		return JSON_IP_MAX + 2;
	case VALUE_TIME:
		return JSON_TIME_MAX + 2;
	case VALUE_KSTACK:
		return KALLSYMS_NAME_MAX * JSON_TEXT_GROWTH + 24;
	case VALUE_LOG2:
	case VALUE_LINEAR:
		return 64; /* {"le":20,"count":20}, and its comma */
	case VALUE_DNS_NAME:
		return 2 * DNS_NAME_TEXT;
	case VALUE_DNS_ANSWERS:
		return 2 * DNS_MAX_ANSWERS_BYTES + 2;
	default:
		return JSON_INT_MAX + 4;
	}
}

size_t value_write_max(const struct value *v)
{
	bool histogram = v->op == VALUE_LOG2 || v->op == VALUE_LINEAR;
	size_t frame = histogram ? 64 : 2;

	return v->count ? frame + v->count * (one_max(v) + 1) : one_max(v);
}

/* ---- from the manifest ---- */

static int check_place(const struct manifest_field *f, uint32_t part_size, struct err *e)
{
	uint64_t elements = f->count ? f->count : 1;
	uint64_t end = f->offset + (f->count ? (elements - 1) * f->stride + f->size : f->size);

	if (f->size == 0 && (f->kind != FIELD_BYTES || f->count))
		return err_set(e, ERR_MANIFEST_VALUE, "has no size");
	if (f->count && f->stride < f->size)
		return err_set(e, ERR_MANIFEST_VALUE, "has elements of %u bytes %u bytes apart", f->size, f->stride);
	if (end > part_size)
		return err_set(e, ERR_MANIFEST_VALUE, "ends at byte %" PRIu64 " of a record of %u", end, part_size);
	if (f->kind != FIELD_CHARS && f->kind != FIELD_BYTES && f->size != 1 && f->size != 2 && f->size != 4 &&
	    f->size != 8)
		return err_set(e, ERR_MANIFEST_VALUE, "is a number of %u bytes", f->size);
	if (f->bit_size && (f->kind == FIELD_CHARS || f->kind == FIELD_BYTES || f->count ||
			    (uint32_t)f->bit_offset + f->bit_size > f->size * 8))
		return err_set(e, ERR_MANIFEST_VALUE, "has bits %u to %u of %u bytes", f->bit_offset,
			       f->bit_offset + f->bit_size, f->size);
	return 0;
}

static int choose_bytes_op(const struct manifest_field *f, enum value_op *op, struct err *e)
{
	switch (f->format) {
	case FORMAT_IP:
		*op = VALUE_IP;
		if (f->size != 4 && f->size != 16)
			return err_set(e, ERR_MANIFEST_VALUE, "is an address of %u bytes", f->size);
		return 0;
	case FORMAT_MAC:
		*op = VALUE_MAC;
		if (f->size != 6)
			return err_set(e, ERR_MANIFEST_VALUE, "is a MAC address of %u bytes", f->size);
		return 0;
	case FORMAT_DNS:
		*op = VALUE_DNS_NAME;
		if (f->count)
			return err_set(e, ERR_MANIFEST_VALUE, "is an array of DNS messages");
		return 0;
	default:
		*op = VALUE_HEX;
		return 0;
	}
}

static int choose_uint_op(const struct manifest_field *f, enum value_op *op, struct err *e)
{
	int64_t end;

	switch (f->format) {
	case FORMAT_HEX:
		*op = VALUE_HEX_NUMBER;
		return 0;
	case FORMAT_TIME:
		*op = VALUE_TIME;
		return 0;
	case FORMAT_KSTACK:
		*op = VALUE_KSTACK;
		if (f->size != 8 || !f->count)
			return err_set(e, ERR_MANIFEST_VALUE, "is a stack, but no array of 8-byte numbers");
		return 0;
	case FORMAT_LOG2:
		*op = VALUE_LOG2;
		if (!f->count || f->count > FIELD_MAX_LOG2_SLOTS)
			return err_set(e, ERR_MANIFEST_VALUE, "is a log2 histogram of %u slots", f->count);
		return 0;
	case FORMAT_LINEAR:
		*op = VALUE_LINEAR;
		if (!f->count || f->step <= 0 || __builtin_mul_overflow((int64_t)f->count, f->step, &end) ||
		    __builtin_add_overflow(end, f->base, &end))
			return err_set(e, ERR_MANIFEST_VALUE, "is a linear histogram of %u slots from %lld by %lld",
				       f->count, (long long)f->base, (long long)f->step);
		return 0;
	default:
		*op = VALUE_UINT;
		return 0;
	}
}

static int choose_op(const struct manifest_field *f, enum value_op *op, struct err *e)
{
	switch (f->kind) {
	case FIELD_UINT:
		return choose_uint_op(f, op, e);
	case FIELD_BYTES:
		return choose_bytes_op(f, op, e);
	case FIELD_INT:
		*op = VALUE_INT;
		return 0;
	case FIELD_BOOL:
		*op = VALUE_BOOL;
		return 0;
	case FIELD_ENUM:
		*op = VALUE_ENUM;
		return 0;
	case FIELD_CHARS:
		*op = VALUE_CHARS;
		return 0;
	default:
		return err_set(e, ERR_MANIFEST_VALUE, "is of no known kind");
	}
}

int value_init(struct value *v, const struct manifest_field *f, const struct manifest_field *length,
	       uint32_t part_offset, uint32_t part_size, struct err *e)
{
	struct value made = {
	    .omit_zero = f->omit_zero,
	    .offset = part_offset + f->offset,
	    .size = f->size,
	    .count = f->count,
	    .stride = f->stride,
	    .bit_offset = f->bit_offset,
	    .bit_size = f->bit_size,
	    .base = f->base,
	    .step = f->step,
	};

	if (check_place(f, part_size, e) || choose_op(f, &made.op, e))
		return -1;
	made.is_signed = f->kind == FIELD_INT;
	if (length) {
		if (length->kind != FIELD_UINT || length->count || check_place(length, part_size, e))
			return err_set(e, ERR_MANIFEST_VALUE, "has its length in %s, which is no number", length->name);
		made.length_offset = part_offset + length->offset;
		made.length_size = length->size;
		made.length_bit_offset = length->bit_offset;
		made.length_bit_size = length->bit_size;
	}
	*v = made;
	return 0;
}
