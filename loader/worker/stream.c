#include "loader/worker/stream.h"

#include <string.h>

#include "loader/worker/filter.h"
#include "loader/worker/history.h"

enum { REPLAY_ENTRIES = 1024 /* looked at for one subscriber at a time, so that others are not kept waiting */ };

struct tap {
	struct subscriber *subscriber;
	struct filter *filter;      /* NULL: every record */
	const struct value *bundle; /* type without a bundle of its own: the field to match "bundles" with, or NULL */
};

struct stream_type {
	struct table *table;
	struct losses *losses;
	bool exempt;
	struct tap *taps;
	size_t tap_count, tap_room;
};

struct stream {
	struct worker_stats *stats;
	char *host, *host_json;
	struct value_env env;
	struct subscriber_env subscriber_env;
	struct history *history;
	struct stream_type **types;
	size_t type_count;
	struct subscriber **subscribers;
	size_t subscriber_count;
	size_t replaying;
	char *line;
};

static void on_evict(void *ctx, uint64_t place, const struct history_entry *entry);

int stream_new(struct worker_stats *stats, const char *host, struct stream **out, struct err *e)
{
	OWN(stream) struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return err_errno(e, ERR_NOMEM, "stream");
	s->stats = stats;
	s->host = strdup(host);
	s->host_json = malloc(strlen(host) * JSON_TEXT_GROWTH + 3 + JSON_SLACK);
	s->line = malloc(EVENT_LINE_MAX_BYTES + JSON_SLACK);
	if (!s->host || !s->host_json || !s->line)
		return err_errno(e, ERR_NOMEM, "stream");
	*json_put_string(s->host_json, (const uint8_t *)host, strlen(host)) = '\0';
	if (history_new(HISTORY_BYTES, &s->history, e))
		return -1;
	history_on_evict(s->history, on_evict, s);
	s->subscriber_env = (struct subscriber_env){.clock = &s->env.clock, .host_json = s->host_json, .stats = stats};
	json_clock_refresh(&s->env.clock);
	*out = TAKE_PTR(s);
	return 0;
}

static void type_free(struct stream_type *t)
{
	for (size_t i = 0; i < t->tap_count; i++)
		filter_free(&t->taps[i].filter);
	free(t->taps);
	table_free(&t->table);
	free(t);
}

void stream_free(struct stream **stream)
{
	struct stream *s = *stream;

	if (!s)
		return;
	for (size_t i = 0; i < s->type_count; i++)
		type_free(s->types[i]);
	free(s->types);
	free(s->subscribers);
	history_free(&s->history);
	free(s->host);
	free(s->host_json);
	free(s->line);
	free(s);
	*stream = NULL;
}

const char *stream_host(const struct stream *s)
{
	return s->host;
}

const struct subscriber_env *stream_subscriber_env(const struct stream *s)
{
	return &s->subscriber_env;
}

void stream_refresh_clock(struct stream *s)
{
	json_clock_refresh(&s->env.clock);
}

void stream_set_kallsyms(struct stream *s, const struct kallsyms *kallsyms)
{
	s->env.kallsyms = kallsyms;
}

const struct table *stream_type_table(const struct stream_type *type)
{
	return type->table;
}

/* ---- taps ---- */

static int tap_add(struct stream_type *t, struct subscriber *subscriber, struct err *e)
{
	const struct request *r = subscriber->request;
	const char *bundle = table_bundle(t->table);
	struct tap tap = {.subscriber = subscriber};
	bool never = false;

	if (!request_wants_event(r, table_event(t->table)) || (bundle && !request_wants_bundle(r, bundle)))
		return 0;
	if (!bundle && r->bundle_count)
		tap.bundle = table_find(t->table, "bundle");
	if (t->tap_count == t->tap_room) {
		struct tap *grown = realloc(t->taps, (t->tap_room + 8) * sizeof(*grown));
		if (!grown)
			return err_errno(e, ERR_NOMEM, "taps");
		t->taps = grown;
		t->tap_room += 8;
	}
	if (!t->exempt && filter_compile(r, t->table, &tap.filter, &never, e))
		return -1;
	if (!never)
		t->taps[t->tap_count++] = tap;
	return 0;
}

static void tap_remove(struct stream_type *t, const struct subscriber *subscriber)
{
	for (size_t i = 0; i < t->tap_count; i++) {
		if (t->taps[i].subscriber != subscriber)
			continue;
		filter_free(&t->taps[i].filter);
		t->taps[i] = t->taps[--t->tap_count];
		return;
	}
}

static bool tap_matches(const struct tap *tap, uint64_t seq, const uint8_t *record, size_t size)
{
	if (tap->bundle) {
		char name[2 * MANIFEST_NAME_MAX + 2];
		const uint8_t *at = record + tap->bundle->offset;
		size_t bytes = value_bytes(tap->bundle, record, size, at);
		if (bytes >= sizeof(name))
			return false;
		memcpy(name, at, bytes);
		name[bytes] = '\0';
		if (!request_wants_bundle(tap->subscriber->request, name))
			return false;
	}
	return !tap->filter || filter_matches(tap->filter, seq, record, size);
}

int stream_type_add(struct stream *s, struct table **table, struct losses *losses, bool exempt,
		    struct stream_type **out, struct err *e)
{
	struct stream_type **grown = realloc(s->types, (s->type_count + 1) * sizeof(struct stream_type *));
	struct stream_type *t = NULL;

	if (!grown)
		return err_errno(e, ERR_NOMEM, "types");
	s->types = grown;
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_errno(e, ERR_NOMEM, "type");
	t->table = *table;
	t->losses = losses;
	t->exempt = exempt;
	for (size_t i = 0; i < s->subscriber_count; i++) {
		if (tap_add(t, s->subscribers[i], e)) {
			t->table = NULL;
			type_free(t);
			return -1;
		}
	}
	*table = NULL;
	s->types[s->type_count++] = t;
	*out = t;
	return 0;
}

/* ---- publishing ---- */

static size_t format(struct stream *s, const struct stream_type *t, uint64_t seq, const uint8_t *record, size_t size)
{
	return (size_t)(table_format(t->table, &s->env, seq, record, size, s->line) - s->line);
}

/* The subscriber gets no line of the record. What an obs.lost tells is no event of its own, and still to be told. */
static void lose(struct subscriber *sub, const struct stream_type *t, const uint8_t *record)
{
	struct lost_record lost;

	if (!t->exempt) {
		sub->lost++;
		t->losses->stats->lost[LOSS_SUBSCRIBER]++;
		return;
	}
	memcpy(&lost, record, sizeof(lost));
	held_add(&sub->held, table_bundle(t->table), &lost);
}

static bool sampled_out(struct subscriber *sub, struct losses *losses)
{
	if (sub->request->sample == 1 || ++sub->sample_at == sub->request->sample) {
		sub->sample_at = 0;
		return false;
	}
	sub->sampled++;
	losses->stats->lost[LOSS_SAMPLING]++;
	return true;
}

void stream_publish(struct stream *s, struct stream_type *t, const uint8_t *record, uint32_t size)
{
	uint64_t seq = ++s->stats->sequence;
	size_t line = 0;

	/* obs.lost is no record of the bundle. */
	if (!t->exempt) {
		t->losses->stats->events++;
		t->losses->stats->bytes += size;
	}
	/* Here, once for a record, whoever asks for its line and how often. */
	if (!table_makes_sense(t->table, record, size))
		losses_add(t->losses, LOSS_PARSER, 1);
	history_add(s->history, t, seq, record, size);
	for (size_t i = 0; i < t->tap_count; i++) {
		const struct tap *tap = &t->taps[i];
		struct subscriber *sub = tap->subscriber;
		if (sub->replaying || sub->state != SUBSCRIBER_LIVE || !tap_matches(tap, seq, record, size))
			continue;
		if (!t->exempt && sampled_out(sub, t->losses))
			continue;
		/* A queue that is full needs no line to be told so. */
		if (!line && !subscriber_in_gap(sub))
			line = format(s, t, seq, record, size);
		if (subscriber_offer(sub, s->line, line))
			s->stats->sent_events++;
		else
			lose(sub, t, record);
	}
}

/* ---- replay ---- */

static const struct tap *tap_find(const struct stream_type *t, const struct subscriber *sub)
{
	for (size_t i = 0; i < t->tap_count; i++)
		if (t->taps[i].subscriber == sub)
			return &t->taps[i];
	return NULL;
}

static bool entry_matches(const struct history_entry *entry, const struct subscriber *sub)
{
	const struct tap *tap = entry->type ? tap_find(entry->type, sub) : NULL;

	return tap && tap_matches(tap, entry->seq, entry->record, entry->size);
}

/* Not one that is refused meanwhile: its error is the last line. */
static bool replays(const struct subscriber *sub)
{
	return sub->replaying && sub->state == SUBSCRIBER_LIVE;
}

/* "sample" is about what came after the request. */
static bool entry_sampled_out(struct subscriber *sub, const struct history_entry *entry)
{
	const struct stream_type *t = entry->type;

	return entry->seq > sub->replay_seq && !t->exempt && sampled_out(sub, t->losses);
}

/* An entry goes that a replaying subscriber has not had yet: its loss. */
static void lose_entry(struct subscriber *sub, const struct history_entry *entry)
{
	if (entry_matches(entry, sub) && !entry_sampled_out(sub, entry))
		lose(sub, entry->type, entry->record);
}

static void on_evict(void *ctx, uint64_t place, const struct history_entry *entry)
{
	struct stream *s = ctx;

	for (size_t i = 0; s->replaying && i < s->subscriber_count; i++) {
		struct subscriber *sub = s->subscribers[i];
		if (!replays(sub) || sub->cursor != place)
			continue;
		sub->cursor = history_after(s->history, place);
		lose_entry(sub, entry);
	}
}

static void forget(struct stream *s, const struct stream_type *t)
{
	struct history *h = s->history;

	for (size_t i = 0; s->replaying && i < s->subscriber_count; i++) {
		struct subscriber *sub = s->subscribers[i];
		if (!replays(sub))
			continue;
		for (uint64_t at = sub->cursor; at != history_end(h); at = history_after(h, at))
			if (history_at(h, at)->type == t)
				lose_entry(sub, history_at(h, at));
	}
	history_forget(h, t);
}

void stream_type_remove(struct stream *s, struct stream_type **type)
{
	if (!*type)
		return;
	forget(s, *type);
	for (size_t i = 0; i < s->type_count; i++) {
		if (s->types[i] == *type) {
			s->types[i] = s->types[--s->type_count];
			break;
		}
	}
	type_free(*type);
	*type = NULL;
}

/* Goes back until as many entries match as are wanted, or there are no older ones. False: it is not there yet. */
static bool replay_seek(const struct stream *s, struct subscriber *sub, int *most)
{
	const struct history *h = s->history;

	while (sub->wanted && sub->seek > history_oldest(h)) {
		if ((*most)-- == 0)
			return false;
		sub->seek = history_before(h, sub->seek);
		if (entry_matches(history_at(h, sub->seek), sub)) {
			sub->cursor = sub->seek;
			sub->wanted--;
		}
	}
	sub->wanted = 0;
	return true;
}

static void replay_start(struct stream *s, struct subscriber *sub)
{
	int most = REPLAY_ENTRIES;

	if (sub->request->last == 0)
		return;
	sub->wanted = sub->request->last;
	sub->seek = sub->cursor = history_end(s->history);
	sub->replay_seq = s->stats->sequence;
	sub->replaying = true;
	s->replaying++;
	replay_seek(s, sub, &most);
}

/* One entry; false: no room for it now. */
static bool replay_entry(struct stream *s, struct subscriber *sub, const struct history_entry *entry)
{
	struct stream_type *t = (struct stream_type *)entry->type;

	if (!entry_matches(entry, sub))
		return true;
	if (subscriber_in_gap(sub) || queue_room(&sub->queue) < table_line_max(t->table))
		return false;
	if (entry_sampled_out(sub, entry))
		return true;
	if (subscriber_offer(sub, s->line, format(s, t, entry->seq, entry->record, entry->size)))
		s->stats->sent_events++;
	return true;
}

/* True: there is more to do at once. */
static bool replay_one(struct stream *s, struct subscriber *sub)
{
	int most = REPLAY_ENTRIES;

	if (!replay_seek(s, sub, &most))
		return true;
	for (; most > 0; most--) {
		if (sub->cursor == history_end(s->history)) {
			sub->replaying = false;
			s->replaying--;
			return false;
		}
		const struct history_entry *entry = history_at(s->history, sub->cursor);
		if (!replay_entry(s, sub, entry))
			return false;
		sub->cursor = history_after(s->history, sub->cursor);
	}
	return true;
}

bool stream_replay(struct stream *s)
{
	bool more = false;

	for (size_t i = 0; s->replaying && i < s->subscriber_count; i++)
		if (replays(s->subscribers[i]))
			more |= replay_one(s, s->subscribers[i]);
	return more;
}

bool stream_is_replaying(const struct stream *s)
{
	for (size_t i = 0; s->replaying && i < s->subscriber_count; i++)
		if (replays(s->subscribers[i]))
			return true;
	return false;
}

/* ---- subscribers ---- */

int stream_subscribe(struct stream *s, struct subscriber *sub, struct err *e)
{
	struct subscriber **grown = realloc(s->subscribers, (s->subscriber_count + 1) * sizeof(struct subscriber *));

	if (!grown)
		return err_errno(e, ERR_NOMEM, "subscribers");
	s->subscribers = grown;
	for (size_t i = 0; i < s->type_count; i++) {
		if (tap_add(s->types[i], sub, e)) {
			while (i-- > 0)
				tap_remove(s->types[i], sub);
			return -1;
		}
	}
	s->subscribers[s->subscriber_count++] = sub;
	replay_start(s, sub);
	return 0;
}

void stream_unsubscribe(struct stream *s, struct subscriber *sub)
{
	for (size_t i = 0; i < s->type_count; i++)
		tap_remove(s->types[i], sub);
	for (size_t i = 0; i < s->subscriber_count; i++) {
		if (s->subscribers[i] != sub)
			continue;
		s->subscribers[i] = s->subscribers[--s->subscriber_count];
		if (sub->replaying)
			s->replaying--;
		sub->replaying = false;
		return;
	}
}
