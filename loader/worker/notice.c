#include "loader/worker/notice.h"

#include <string.h>

#include "loader/worker/now.h"

struct notice_record {
	struct obs_header header;
	uint64_t serial;
	char bundle[2 * MANIFEST_NAME_MAX + 2];
	char action[16];
	char code[64];
};

#define TEXT(member, omit)                                                                                             \
	{                                                                                                              \
		.name = (char *)#member, .offset = offsetof(struct notice_record, member),                             \
		.size = sizeof(((struct notice_record *)0)->member), .kind = FIELD_CHARS, .enum_index = -1,            \
		.omit_zero = (omit), .length_field = -1                                                                \
	}

static const struct manifest_field fields[] = {
    TEXT(bundle, false),
    TEXT(action, false),
    {.name = (char *)"serial",
     .offset = offsetof(struct notice_record, serial),
     .size = 8,
     .kind = FIELD_UINT,
     .enum_index = -1,
     .omit_zero = true,
     .length_field = -1},
    TEXT(code, true),
};

int notice_type_add(struct stream *stream, struct losses *losses, struct stream_type **out, struct err *e)
{
	const struct table_part part = {
	    .fields = fields, .count = ARRAY_LEN(fields), .size = sizeof(struct notice_record)};
	const struct table_source source = {
	    .event = "obs.bundle", .host = stream_host(stream), .parts = &part, .part_count = 1};
	OWN(table) struct table *table = NULL;

	if (table_compile(&source, &table, e))
		return -1;
	return stream_type_add(stream, &table, losses, false, out, e);
}

int notice_publish(struct stream *stream, struct stream_type *type, const struct worker_msg *msg, struct err *e)
{
	struct notice_record record;

	if (!memchr(msg->name, '\0', sizeof(msg->name)) || !memchr(msg->action, '\0', sizeof(msg->action)) ||
	    !memchr(msg->code, '\0', sizeof(msg->code)))
		return err_set(e, ERR_DAEMON_PROTOCOL, "a notice whose text has no end");
	memset(&record, 0, sizeof(record));
	record.header.time_ns = now_ns();
	record.serial = msg->serial;
	_Static_assert(sizeof(record.bundle) == sizeof(msg->name), "the same text");
	snprintf(record.bundle, sizeof(record.bundle), "%s", msg->name);
	snprintf(record.action, sizeof(record.action), "%s", msg->action);
	snprintf(record.code, sizeof(record.code), "%s", msg->code);
	stream_publish(stream, type, (const uint8_t *)&record, sizeof(record));
	return 0;
}
