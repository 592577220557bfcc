/* A subscriber's request line, and its conditions against a record of the golden manifest's event. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/worker/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct table *make_table(void)
{
	struct manifest *m = NULL;
	struct table *t = NULL;
	struct err e = ERR_INIT;
	uint8_t *json = NULL;
	size_t size;

	if (file_read("tests/golden/manifest.json", 1 << 20, ERR_LIMIT, &json, &size, &e) ||
	    manifest_parse(json, size, &m, &e))
		abort();
	const struct manifest_event *ev = &m->events[0];
	const struct table_part part = {.fields = ev->fields, .count = ev->field_count, .size = ev->size};
	const struct table_source source = {.event = ev->name,
					    .bundle = m->name,
					    .host = "h",
					    .enums = m->enums,
					    .enum_count = m->enum_count,
					    .parts = &part,
					    .part_count = 1};
	if (table_compile(&source, &t, &e))
		abort();
	manifest_free(&m);
	free(json);
	return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct table *table;
	static uint8_t record[512];
	struct request *r = NULL;
	struct filter *f = NULL;
	struct err e = ERR_INIT;
	bool never;

	if (!table)
		table = make_table();
	if (request_parse((const char *)data, size, &r, &e))
		return 0;
	if (r->sample == 0 || r->last > REQUEST_MAX_LAST || r->condition_count > REQUEST_MAX_CONDITIONS)
		abort();
	request_wants_event(r, "tcp.close");
	request_wants_bundle(r, "obs/demo");
	if (filter_compile(r, table, &f, &never, &e))
		abort();
	/* The request's own bytes make as good a record as any. */
	memcpy(record, data, size < sizeof(record) ? size : sizeof(record));
	if (f)
		filter_matches(f, record, sizeof(record));
	filter_free(&f);
	request_free(&r);
	return 0;
}
