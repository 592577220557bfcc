#include "loader/worker/lost.h"

#include <stddef.h>
#include <string.h>

#include "loader/worker/json.h"
#include "loader/worker/now.h"
#include "loader/worker/stats.h"

static struct manifest_enumerator source_values[] = {
    {(char *)"ring", LOSS_RING},         {(char *)"map", LOSS_MAP},
    {(char *)"parser", LOSS_PARSER},     {(char *)"subscriber", LOSS_SUBSCRIBER},
    {(char *)"sampling", LOSS_SAMPLING}, {(char *)"table", LOSS_TABLE},
    {(char *)"missed", LOSS_MISSED},
};

const struct manifest_enum lost_enum = {
    .name = (char *)"loss_source", .values = source_values, .value_count = LOSS_SOURCE_COUNT};

const struct manifest_field lost_fields[] = {
    {.name = (char *)"source",
     .offset = offsetof(struct lost_record, source),
     .size = 4,
     .kind = FIELD_ENUM,
     .length_field = -1},
    {.name = (char *)"count",
     .offset = offsetof(struct lost_record, count),
     .size = 8,
     .kind = FIELD_UINT,
     .enum_index = -1,
     .length_field = -1},
};
const size_t lost_field_count = sizeof(lost_fields) / sizeof(lost_fields[0]);

enum { TELL_EVERY_NS = 1000000000 };

void losses_init(struct losses *l, struct worker_bundle_stats *stats)
{
	*l = (struct losses){.stats = stats};
	memcpy(l->kernel_seen, stats->kernel_lost, sizeof(l->kernel_seen));
}

bool losses_take(struct losses *l, uint64_t now_ns, bool flush, struct lost_record *record)
{
	for (unsigned i = 0; i < LOSS_SOURCE_COUNT; i++) {
		if (l->pending[i] == 0 || (!flush && l->told_ns[i] && now_ns - l->told_ns[i] < TELL_EVERY_NS))
			continue;
		*record = (struct lost_record){.header.time_ns = now_ns, .count = l->pending[i], .source = i};
		l->pending[i] = 0;
		/* Only now: what is pending dies with the worker, and the next one has to find it. */
		l->stats->kernel_lost[i] = l->kernel_seen[i];
		l->told_ns[i] = now_ns;
		return true;
	}
	return false;
}

enum loss_source lost_source_of_slot(enum obs_loss slot)
{
	switch (slot) {
	case OBS_LOST_RING:
		return LOSS_RING;
	case OBS_LOST_MAP:
		return LOSS_MAP;
	case OBS_LOST_PARSER:
		return LOSS_PARSER;
	case OBS_LOST_SAMPLING:
		return LOSS_SAMPLING;
	default:
		return LOSS_TABLE;
	}
}

void losses_kernel(struct losses *l, const uint64_t totals[static LOSS_SOURCE_COUNT])
{
	for (unsigned i = 0; i < LOSS_SOURCE_COUNT; i++) {
		/* Smaller after a restart of the worker, until every object's counters have been sampled again. */
		if (totals[i] <= l->kernel_seen[i])
			continue;
		l->pending[i] += totals[i] - l->kernel_seen[i];
		l->kernel_seen[i] = totals[i];
	}
}

void held_add(struct held *h, const char *bundle, const struct lost_record *record)
{
	size_t i = 0;

	while (i < h->count && i < HELD_BUNDLES - 1 && strcmp(h->bundles[i].name, bundle) != 0)
		i++;
	struct held_bundle *held = &h->bundles[i];
	if (i == h->count) {
		*held = (struct held_bundle){0};
		h->count++;
		if (i < HELD_BUNDLES - 1)
			snprintf(held->name, sizeof(held->name), "%s", bundle);
	}
	held->lost[record->source] += record->count;
}

char *lost_private_line(struct json_clock *clock, const char *host_json, const char *bundle, enum loss_source source,
			uint64_t count, char p[static LOST_LINE_MAX])
{
	p = json_put_time(clock, stpcpy(p, "{\"time\":\""), now_ns());
	p = stpcpy(p, "\",\"event\":\"obs.lost\"");
	if (*bundle)
		p = json_put_string(stpcpy(p, ",\"bundle\":"), (const uint8_t *)bundle, strlen(bundle));
	p = stpcpy(stpcpy(p, ",\"host\":"), host_json);
	p = stpcpy(stpcpy(p, ",\"source\":\""), loss_source_names[source]);
	p = json_put_u64(stpcpy(p, "\",\"count\":"), count);
	return stpcpy(p, "}\n");
}
