/* A subscriber's request line, and its conditions against a record of the golden manifest's event. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/worker/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECORD_BYTES = 512, FIELDS_AT = 16, DNS_AT = 292 };

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

/* An event with an answer of DNS at its end. */
static void make_record(uint8_t record[static RECORD_BYTES])
{
	OWN_FREE uint8_t *dns = NULL;
	struct err e = ERR_INIT;
	size_t size;

	if (file_read("tests/fuzz/corpus/dns/kinds", RECORD_BYTES - DNS_AT, ERR_LIMIT, &dns, &size, &e))
		abort();
	const uint32_t dns_size = (uint32_t)size;
	memcpy(record + DNS_AT - sizeof(dns_size), &dns_size, sizeof(dns_size));
	memcpy(record + DNS_AT, dns, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct table *table;
	static uint8_t record[RECORD_BYTES];
	struct request *r = NULL;
	struct filter *f = NULL;
	struct err e = ERR_INIT;
	bool never;

	if (!table) {
		table = make_table();
		make_record(record);
	}
	if (request_parse((const char *)data, size, &r, &e))
		return 0;
	if (r->sample == 0 || r->last > REQUEST_MAX_LAST || r->condition_count > REQUEST_MAX_CONDITIONS)
		abort();
	request_wants_event(r, "tcp.close");
	request_wants_bundle(r, "obs/demo");
	if (filter_compile(r, table, &f, &never, &e))
		abort();
	/* The request's own bytes make as good a record as any. */
	size_t most = size < DNS_AT - FIELDS_AT - 4 ? size : DNS_AT - FIELDS_AT - 4;
	memcpy(record + FIELDS_AT, data, most);
	memset(record + FIELDS_AT + most, 0, DNS_AT - FIELDS_AT - 4 - most);
	if (f)
		filter_matches(f, size, record, sizeof(record));
	filter_free(&f);
	request_free(&r);
	return 0;
}
