#include "bundles/fields.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const fields_dns_names[FIELDS_DNS_COUNT] = {"dns.question.name", "dns.question.type", "dns.answers",
							"dns.response_code"};

/* ---- one field ---- */

static bool integer_size(uint32_t size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static const char *size_problem(const struct manifest_field *f, const struct fields_part *part)
{
	bool integer = f->kind == FIELD_UINT || f->kind == FIELD_INT || f->kind == FIELD_ENUM;

	if (f->bit_size) {
		if (f->kind == FIELD_CHARS || f->kind == FIELD_BYTES || f->count)
			return "a bit field is one number";
		if (!integer_size(f->size) || (uint32_t)f->bit_offset + f->bit_size > 8 * f->size)
			return "the bits are not within its bytes";
	} else if (f->bit_offset) {
		return "bit_offset without bit_size";
	} else if (integer && !integer_size(f->size)) {
		return "numbers have 1, 2, 4 or 8 bytes";
	} else if (f->kind == FIELD_BOOL && f->size != 1) {
		return "a bool has 1 byte";
	}
	if (f->size == 0 && (f->kind != FIELD_BYTES || f->count || !part->open_ended))
		return "only raw bytes of an event reach to the end of the record";
	if (f->count ? f->stride < f->size : f->stride != 0)
		return "stride does not fit count and size";
	uint64_t last = f->count ? (uint64_t)(f->count - 1) * f->stride : 0;
	if (f->offset + last + f->size > part->record_size)
		return "it is not within its record";
	return NULL;
}

static const char *histogram_problem(const struct manifest_field *f)
{
	int64_t end;

	if (f->kind != FIELD_UINT || !f->count)
		return f->format == FORMAT_LOG2 ? "log2 is for arrays of unsigned numbers"
						: "linear is for arrays of unsigned numbers";
	if (f->format == FORMAT_LOG2)
		return f->count > FIELD_MAX_LOG2_SLOTS ? "a log2 histogram of more than 64 slots" : NULL;
	if (f->step <= 0)
		return "a linear histogram has a step above zero";
	if (__builtin_mul_overflow((int64_t)f->count, f->step, &end) || __builtin_add_overflow(end, f->base, &end))
		return "a linear histogram that ends beyond 64 bits";
	return NULL;
}

const char *fields_format_problem(const struct manifest_field *f)
{
	bool uint = f->kind == FIELD_UINT, bytes = f->kind == FIELD_BYTES;

	if (f->format != FORMAT_LINEAR && (f->base || f->step))
		return "base and step are for linear histograms";
	switch (f->format) {
	case FORMAT_PLAIN:
		return NULL;
	case FORMAT_IP:
		return bytes && (f->size == 4 || f->size == 16) ? NULL : "ip is for 4 or 16 raw bytes";
	case FORMAT_MAC:
		return bytes && f->size == 6 ? NULL : "mac is for 6 raw bytes";
	case FORMAT_PORT:
	case FORMAT_NS:
	case FORMAT_US:
	case FORMAT_BYTES:
		return uint ? NULL : "its format is for unsigned numbers";
	case FORMAT_HEX:
		return uint || bytes ? NULL : "hex is for unsigned numbers and raw bytes";
	case FORMAT_TIME:
		return uint && f->size == 8 && !f->bit_size ? NULL : "time is for unsigned numbers of 8 bytes";
	case FORMAT_KSTACK:
		return uint && f->size == 8 && f->count ? NULL : "kstack is for arrays of unsigned 8 bytes";
	case FORMAT_DNS:
		return bytes && !f->count ? NULL : "dns is for raw bytes";
	case FORMAT_LOG2:
	case FORMAT_LINEAR:
		return histogram_problem(f);
	case FORMAT_COUNT:
		break;
	}
	return "no such format";
}

static const char *reference_problem(const struct manifest_field *f, size_t i, const struct fields_part *part,
				     const struct manifest *m)
{
	if (f->enum_index < -1 || f->enum_index >= (int64_t)m->enum_count)
		return "no such enum";
	if (f->enum_index >= 0 && f->kind != FIELD_ENUM)
		return "only enums name an enum";
	if (f->length_field == -1)
		return NULL;
	if (f->length_field < 0 || f->length_field >= (int64_t)part->count || (size_t)f->length_field == i)
		return "length: no such field";
	if (f->kind != FIELD_CHARS && f->kind != FIELD_BYTES && !f->count)
		return "length: for text, raw bytes and arrays only";
	const struct manifest_field *length = &part->fields[f->length_field];
	if (length->kind != FIELD_UINT || length->count)
		return "length: it is no unsigned number";
	return NULL;
}

/* ---- names ---- */

/* Segments of [A-Za-z0-9_]+ between single dots. */
static bool is_path(const char *text)
{
	size_t size = strlen(text);

	return size && text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")] == '\0' &&
	       text[0] != '.' && text[size - 1] != '.' && !strstr(text, "..");
}

bool fields_event_name_valid(const char *name)
{
	return is_path(name) && name[strcspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0' &&
	       strncmp(name, "obs.", 4) != 0;
}

/* a.b beside a would be a value and an object at once. */
static bool within(const char *a, const char *b)
{
	size_t size = strlen(a);

	return strncmp(a, b, size) == 0 && (b[size] == '\0' || b[size] == '.');
}

static bool names_collide(const char *a, const char *b)
{
	return within(a, b) || within(b, a);
}

static size_t words(const char *name)
{
	size_t count = 1;

	for (; *name; name++)
		count += *name == '.';
	return count;
}

const char *fields_name_problem(const char *name)
{
	/* What every event has already. */
	static const char *const taken[] = {"time", "event", "bundle", "host", "seq"};

	if (!is_path(name))
		return "its name is no dotted path";
	for (size_t i = 0; i < ARRAY_LEN(taken); i++)
		if (within(taken[i], name))
			return "every event has its name already";
	if (words(name) > FIELD_MAX_WORDS)
		return "its name has more than 12 words";
	return NULL;
}

/* The names under which a field is shown. */
static const char *const *shown_names(const struct manifest_field *f, const char *const *own, size_t *count)
{
	*count = f->format == FORMAT_DNS ? FIELDS_DNS_COUNT : 1;
	return f->format == FORMAT_DNS ? fields_dns_names : own;
}

/* Both names as they would collide, or false. */
static bool fields_collide(const struct manifest_field *a, const struct manifest_field *b, const char **a_name,
			   const char **b_name)
{
	const char *const a_own = a->name, *const b_own = b->name;
	size_t a_count, b_count;
	const char *const *a_names = shown_names(a, &a_own, &a_count), *const *b_names =
									   shown_names(b, &b_own, &b_count);

	*a_name = a->name;
	*b_name = b->name;
	if (names_collide(a->name, b->name))
		return true;
	for (size_t i = 0; i < a_count; i++)
		for (size_t k = 0; k < b_count; k++)
			if (names_collide(a_names[i], b_names[k])) {
				*a_name = a_names[i];
				*b_name = b_names[k];
				return true;
			}
	return false;
}

static bool collision(const struct fields_part *part, size_t index, const struct fields_part *with, size_t count,
		      struct fields_problem *out)
{
	const char *name, *other;

	for (size_t i = 0; i < count; i++) {
		if (!fields_collide(&part->fields[index], &with->fields[i], &name, &other))
			continue;
		*out = (struct fields_problem){.part = part, .index = index};
		if (strcmp(name, part->fields[index].name) != 0)
			snprintf(out->text, sizeof(out->text), "shown as \"%.64s\", it collides with \"%.64s\"", name,
				 other);
		else
			snprintf(out->text, sizeof(out->text), "its name collides with \"%.64s\"", other);
		return true;
	}
	return false;
}

/* ---- the line ---- */

/* As the worker measures a line before it gets a buffer (loader/worker/value.c, table.c), and never less. */
enum {
	TEXT_GROWTH = 6, /* a byte of text as \u00XX */
	INT_TEXT = 20,
	IP_TEXT = 39,
	TIME_TEXT = 30,
	SYMBOL_TEXT = 127,
	BUCKET_TEXT = 64, /* {"le":20,"count":20}, and its comma */
	DNS_TEXT = 2 * 1024 + 2 * (INT_TEXT + 4) + 2 * 8192 + 2,
	HOST_TEXT = 64 * TEXT_GROWTH,
	ENVELOPE_TEXT = 128,
	WORD_TEXT = 12, /* quotes, colon, braces and commas, and what a step of the worker counts */
};

/* Without control characters: only quotes and backslashes grow. */
static size_t name_text(const char *name)
{
	size_t size = 2;

	for (; *name; name++)
		size += *name == '"' || *name == '\\' ? 2 : 1;
	return size;
}

static size_t enum_text_max(const struct manifest_enum *names)
{
	size_t longest = INT_TEXT;

	for (size_t i = 0; names && i < names->value_count; i++) {
		size_t size = name_text(names->values[i].name);
		longest = size > longest ? size : longest;
	}
	return longest;
}

static size_t element_text_max(const struct manifest_field *f, const struct manifest_enum *names)
{
	size_t bytes = f->size ? f->size : EVENT_MAX_BYTES;

	if (f->kind == FIELD_ENUM)
		return enum_text_max(names);
	if (f->kind == FIELD_CHARS)
		return bytes * TEXT_GROWTH + 2;
	switch (f->format) {
	case FORMAT_IP:
		return IP_TEXT + 2;
	case FORMAT_TIME:
		return TIME_TEXT + 2;
	case FORMAT_KSTACK:
		return SYMBOL_TEXT * TEXT_GROWTH + 24;
	case FORMAT_LOG2:
	case FORMAT_LINEAR:
		return BUCKET_TEXT;
	case FORMAT_DNS:
		return DNS_TEXT;
	case FORMAT_MAC:
		return INT_TEXT + 4;
	default:
		return f->kind == FIELD_BYTES ? bytes * 2 + 2 : INT_TEXT + 4;
	}
}

size_t fields_text_max(const struct manifest_field *f, const struct manifest_enum *names)
{
	size_t one = element_text_max(f, names);
	bool histogram = f->format == FORMAT_LOG2 || f->format == FORMAT_LINEAR;

	return f->count ? (histogram ? BUCKET_TEXT : 2) + f->count * (one + 1) : one;
}

static size_t field_line_max(const struct manifest_field *f, const struct manifest *m)
{
	const char *const own = f->name;
	size_t count, total = fields_text_max(f, f->enum_index >= 0 ? &m->enums[f->enum_index] : NULL);
	const char *const *names = shown_names(f, &own, &count);

	for (size_t i = 0; i < count; i++)
		total += strlen(names[i]) + words(names[i]) * WORD_TEXT;
	return total;
}

static bool line_too_long(const char *event, const struct fields_part *parts, size_t part_count,
			  const struct manifest *m, struct fields_problem *out)
{
	size_t total = ENVELOPE_TEXT + HOST_TEXT + strlen(event) + strlen(m->name);

	for (size_t i = 0; i < part_count; i++)
		for (size_t k = 0; k < parts[i].count; k++)
			total += field_line_max(&parts[i].fields[k], m);
	if (total <= EVENT_LINE_MAX_BYTES)
		return false;
	*out = (struct fields_problem){.part = NULL};
	snprintf(out->text, sizeof(out->text), "its line of JSON could be of %zu bytes, more than %d", total,
		 EVENT_LINE_MAX_BYTES);
	return true;
}

bool fields_problem(const char *event, const struct fields_part *parts, size_t part_count, const struct manifest *m,
		    struct fields_problem *out)
{
	for (size_t i = 0; i < part_count; i++) {
		const struct fields_part *part = &parts[i];
		for (size_t k = 0; k < part->count; k++) {
			const struct manifest_field *f = &part->fields[k];
			const char *problem = size_problem(f, part);
			if (!problem)
				problem = fields_format_problem(f);
			if (!problem)
				problem = reference_problem(f, k, part, m);
			if (!problem)
				problem = fields_name_problem(f->name);
			if (problem) {
				*out = (struct fields_problem){.part = part, .index = k};
				snprintf(out->text, sizeof(out->text), "%s", problem);
				return true;
			}
			for (size_t n = 0; n < i; n++)
				if (collision(part, k, &parts[n], parts[n].count, out))
					return true;
			if (collision(part, k, part, k, out))
				return true;
		}
	}
	return line_too_long(event, parts, part_count, m, out);
}
