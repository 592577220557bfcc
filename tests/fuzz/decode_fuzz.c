/* A field table and a record: whatever is compiled must give one line of valid JSON within its bound. The input is up to
 * FIELDS tables of 16 bytes a field, then the record. */
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "loader/worker/kallsyms.h"
#include "loader/worker/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS = 8, FIELD_BYTES_IN = 16 };

static const char *const names[] = {"a",   "b",     "a.b",  "a.c",      "a.b.c", "c.d.e", "c.d.f", "c.g",
				    "dns", "dns.x", "time", "bundle.x", "h",     "i.j",   "k",     "l.m"};

static void make_field(struct manifest_field *f, const uint8_t *in)
{
	static const uint32_t sizes[] = {0, 1, 2, 4, 8, 16, 6, 3};

	*f = (struct manifest_field){
	    .name = (char *)names[in[0] % 16],
	    .kind = (enum field_kind)(in[1] % FIELD_KIND_COUNT),
	    .format = (enum field_format)(in[2] % FORMAT_COUNT),
	    .size = in[3] & 0x80 ? in[3] : sizes[in[3] & 7],
	    .offset = in[4] | (uint32_t)(in[5] & 3) << 8,
	    .count = in[6],
	    .stride = in[7],
	    .bit_offset = in[8],
	    .bit_size = in[9],
	    .omit_zero = in[10] & 1,
	    .enum_index = in[10] & 2 ? 0 : -1,
	    .length_field = in[11] & 1 ? in[11] >> 1 : -1,
	    .base = (int8_t)in[12],
	    .step = (int8_t)in[13],
	};
}

/* Small addresses, which records hold more often. */
static const struct kallsyms *symbols(void)
{
	static const char text[] = "20 T start\n3000 t a_\"name\nffffffff81000000 T last\n";
	static struct kallsyms *k;
	struct err e = ERR_INIT;
	int fd = k ? -1 : memfd_create("kallsyms", MFD_CLOEXEC);

	if (!k && (write(fd, text, sizeof(text) - 1) < 0 || kallsyms_read(fd, &k, &e)))
		abort();
	if (fd >= 0)
		close(fd);
	return k;
}

static void check_line(const struct table *t, const uint8_t *record, size_t size)
{
	static char line[EVENT_LINE_MAX_BYTES + JSON_SLACK];
	struct value_env env = {.kallsyms = record[size - 1] & 1 ? symbols() : NULL};
	json_error_t where;
	size_t length = (size_t)(table_format(t, &env, 1, record, size, line) - line);

	if (length > table_line_max(t) || line[length - 1] != '\n')
		abort();
	json_t *json =
	    json_loadb(line, length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &where);
	if (!json) {
		fprintf(stderr, "%s\n%.*s", where.text, (int)length, line);
		abort();
	}
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct manifest_enumerator values[] = {{(char *)"A\"", 0}, {(char *)"B\x01", 1}, {(char *)"M", -1}};
	static const struct manifest_enum one = {(char *)"e", values, 3};
	struct manifest_field fields[FIELDS];
	struct table *t = NULL;
	struct err e = ERR_INIT;
	size_t count;

	if (size < 1)
		return 0;
	count = data[0] % (FIELDS + 1);
	data++;
	size--;
	if (size < count * FIELD_BYTES_IN + 16)
		return 0;
	for (size_t i = 0; i < count; i++, data += FIELD_BYTES_IN, size -= FIELD_BYTES_IN)
		make_field(&fields[i], data);
	const struct table_part part = {.fields = fields, .count = count, .size = (uint32_t)size};
	const struct table_source source = {.event = "a.b",
					    .bundle = "a/b",
					    .host = "h",
					    .enums = &one,
					    .enum_count = 1,
					    .parts = &part,
					    .part_count = 1};
	if (size > EVENT_MAX_BYTES || table_compile(&source, &t, &e))
		return 0;
	/* A copy of the exact size, so that the sanitizer sees the first byte past it. */
	uint8_t *record = malloc(size);
	if (!record)
		abort();
	memcpy(record, data, size);
	check_line(t, record, size);
	for (size_t i = 0; i < count; i++)
		table_find(t, fields[i].name);
	free(record);
	table_free(&t);
	return 0;
}
