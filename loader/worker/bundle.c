#include "loader/worker/bundle.h"

#include <string.h>
#include <sys/epoll.h>

#include "loader/ipc/log.h"
#include "loader/worker/ring.h"
#include "loader/worker/sample.h"

enum { DIRECT_IDS = 1024 };

struct output {
	struct bundle *bundle;
	const struct manifest_output *output;
	int fd; /* ring */
	struct ring *ring;
	struct sample *sample;
	struct stream_type *type;   /* SAMPLE; NULL: could not be compiled */
	struct stream_type **by_id; /* RING: types of its object's events by id */
	uint32_t id_count;
	uint64_t lost[LOSS_SOURCE_COUNT]; /* LOST: totals at the last sample */
};

struct bundle {
	uint32_t handle;
	int epoll_fd;
	struct stream *stream;
	struct manifest *manifest;
	struct losses losses;
	struct worker_bundle_stats own_stats;
	struct stream_type *lost_type;
	struct stream_type **event_types; /* as manifest->events */
	struct output *outputs;           /* as manifest->outputs */
	bool needs_kallsyms, has_kallsyms;
	bool held;                  /* rings are not read */
	uint64_t from_ns, until_ns; /* records of other times are another bundle's */
};

/* ---- types ---- */

/* *out stays NULL where the table makes no sense, which is logged. */
static int add_type(struct bundle *b, const char *event, const struct table_part *parts, size_t part_count,
		    struct stream_type **out, struct err *e)
{
	const struct table_source source = {
	    .event = event,
	    .bundle = b->manifest->name,
	    .host = stream_host(b->stream),
	    .enums = b->manifest->enums,
	    .enum_count = b->manifest->enum_count,
	    .parts = parts,
	    .part_count = part_count,
	};
	OWN(table) struct table *table = NULL;
	int bad;

	if (strncmp(event, "obs.", 4) == 0)
		bad = err_set(e, ERR_MANIFEST_VALUE, "event %s: names below \"obs.\" are the loader's own", event);
	else
		bad = table_compile(&source, &table, e);
	if (bad && e->code == ERR_MANIFEST_VALUE) {
		err_wrap(e, "%s", b->manifest->name);
		log_err(LOG_LEVEL_ERROR, e);
		return 0;
	}
	if (bad)
		return -1;
	b->needs_kallsyms |= table_needs_kallsyms(table);
	return stream_type_add(b->stream, &table, &b->losses, false, out, e);
}

static int add_lost_type(struct bundle *b, struct err *e)
{
	const struct table_part part = {
	    .fields = lost_fields, .count = lost_field_count, .size = sizeof(struct lost_record)};
	const struct table_source source = {
	    .event = "obs.lost",
	    .bundle = b->manifest->name,
	    .host = stream_host(b->stream),
	    .enums = &lost_enum,
	    .enum_count = 1,
	    .parts = &part,
	    .part_count = 1,
	};
	OWN(table) struct table *table = NULL;

	if (table_compile(&source, &table, e))
		return -1;
	return stream_type_add(b->stream, &table, &b->losses, true, &b->lost_type, e);
}

static int add_types(struct bundle *b, struct err *e)
{
	const struct manifest *m = b->manifest;

	for (size_t i = 0; i < m->event_count; i++) {
		const struct manifest_event *ev = &m->events[i];
		const struct table_part part = {.fields = ev->fields, .count = ev->field_count, .size = ev->size};
		if (add_type(b, ev->name, &part, 1, &b->event_types[i], e))
			return -1;
	}
	return add_lost_type(b, e);
}

int bundle_new(struct stream *stream, int epoll_fd, uint32_t handle, struct manifest **manifest,
	       struct worker_bundle_stats *stats, struct bundle **out, struct err *e)
{
	OWN(bundle) struct bundle *b = calloc(1, sizeof(*b));
	const struct manifest *m = *manifest;

	if (!b)
		return err_errno(e, ERR_NOMEM, "bundle");
	b->handle = handle;
	b->epoll_fd = epoll_fd;
	b->stream = stream;
	b->until_ns = UINT64_MAX;
	losses_init(&b->losses, stats ? stats : &b->own_stats);
	b->event_types = calloc(m->event_count + 1, sizeof(struct stream_type *));
	b->outputs = calloc(m->output_count + 1, sizeof(*b->outputs));
	if (!b->event_types || !b->outputs)
		return err_errno(e, ERR_NOMEM, "bundle %s", m->name);
	b->manifest = TAKE_PTR(*manifest);
	for (size_t i = 0; i < m->output_count; i++)
		b->outputs[i] = (struct output){.bundle = b, .output = &m->outputs[i], .fd = -1};
	if (add_types(b, e)) {
		*manifest = TAKE_PTR(b->manifest);
		return err_wrap(e, "bundle %s", m->name);
	}
	*out = TAKE_PTR(b);
	return 0;
}

static void output_close(struct output *o)
{
	ring_free(&o->ring);
	sample_free(&o->sample);
	/* Closing is not enough: the monitor holds the same open file, so epoll would keep it. */
	if (o->fd >= 0) {
		epoll_ctl(o->bundle->epoll_fd, EPOLL_CTL_DEL, o->fd, NULL);
		close(o->fd);
	}
	o->fd = -1;
}

void bundle_free(struct bundle **bundle)
{
	struct bundle *b = *bundle;

	if (!b)
		return;
	/* The manifest is gone where bundle_new gave it back: outputs and types are counted by it. */
	for (size_t i = 0; b->manifest && i < b->manifest->output_count; i++) {
		stream_type_remove(b->stream, &b->outputs[i].type);
		free(b->outputs[i].by_id);
		output_close(&b->outputs[i]);
	}
	for (size_t i = 0; b->manifest && i < b->manifest->event_count; i++)
		stream_type_remove(b->stream, &b->event_types[i]);
	stream_type_remove(b->stream, &b->lost_type);
	manifest_free(&b->manifest);
	free(b->event_types);
	free(b->outputs);
	free(b);
	*bundle = NULL;
}

uint32_t bundle_handle(const struct bundle *b)
{
	return b->handle;
}

const char *bundle_name(const struct bundle *b)
{
	return b->manifest->name;
}

bool bundle_wants_kallsyms(struct bundle *b)
{
	bool wants = b->needs_kallsyms && !b->has_kallsyms;

	b->has_kallsyms |= wants;
	return wants;
}

/* ---- outputs ---- */

static int index_ids(struct output *o, struct err *e)
{
	struct bundle *b = o->bundle;
	const struct manifest *m = b->manifest;

	o->id_count = 0;
	for (size_t i = 0; i < m->event_count; i++)
		if (strcmp(m->events[i].object, o->output->object) == 0 && m->events[i].id < DIRECT_IDS &&
		    m->events[i].id >= o->id_count)
			o->id_count = m->events[i].id + 1;
	o->by_id = calloc(o->id_count + 1, sizeof(struct stream_type *));
	if (!o->by_id)
		return err_errno(e, ERR_NOMEM, "events of %s", o->output->object);
	for (size_t i = 0; i < m->event_count; i++)
		if (strcmp(m->events[i].object, o->output->object) == 0 && m->events[i].id < DIRECT_IDS)
			o->by_id[m->events[i].id] = b->event_types[i];
	return 0;
}

/* NULL: unknown, or it could not be compiled. */
static struct stream_type *type_of(const struct output *o, uint32_t id)
{
	const struct manifest *m = o->bundle->manifest;

	if (id < o->id_count)
		return o->by_id[id];
	for (size_t i = 0; id >= DIRECT_IDS && i < m->event_count; i++)
		if (m->events[i].id == id && strcmp(m->events[i].object, o->output->object) == 0)
			return o->bundle->event_types[i];
	return NULL;
}

static int open_sample(struct output *o, uint32_t cpus, int fd, struct err *e)
{
	const struct manifest_output *out = o->output;
	const struct manifest_map *map = manifest_output_map(o->bundle->manifest, out);

	if (!map)
		return err_set(e, ERR_DAEMON_PROTOCOL, "object %s has no map %s", out->object, out->map);
	const struct sample_shape shape = {
	    .output = out,
	    .key_size = map->key_size,
	    .value_size = map->value_size,
	    .cpus = cpus,
	    .is_array = strstr(map->type, "array") != NULL,
	};
	const struct table_part parts[] = {
	    {.fields = out->key_fields,
	     .count = out->key_field_count,
	     .offset = sample_key_offset(),
	     .size = map->key_size},
	    {.fields = out->value_fields,
	     .count = out->value_field_count,
	     .offset = sample_value_offset(map->key_size),
	     .size = map->value_size},
	};
	if (sample_new(fd, &shape, &o->sample, e))
		return -1;
	if (out->kind == OUTPUT_LOST)
		return 0;
	return add_type(o->bundle, out->event, parts, ARRAY_LEN(parts), &o->type, e);
}

int bundle_output(struct bundle *b, const struct worker_msg *msg, int fd, struct err *e)
{
	struct epoll_event watch = {.events = EPOLLIN | EPOLLET};

	if (msg->output >= b->manifest->output_count)
		return err_set(e, ERR_DAEMON_PROTOCOL, "%s has no output %u", b->manifest->name, msg->output);
	struct output *o = &b->outputs[msg->output];
	/* Also where it was a ring that is broken, and read no more. */
	if (o->by_id || o->sample)
		return err_set(e, ERR_DAEMON_PROTOCOL, "output %u of %s was given before", msg->output,
			       b->manifest->name);
	if (o->output->kind != OUTPUT_RING) {
		if (open_sample(o, msg->cpus, fd, e))
			return -1;
		close(fd); /* mapped: no longer needed */
		return 0;
	}
	if (index_ids(o, e) || ring_open(fd, msg->ring_bytes, &o->ring, e))
		return err_wrap(e, "ring %s of %s", o->output->map, b->manifest->name);
	if (epoll_ctl(b->epoll_fd, EPOLL_CTL_ADD, fd, &watch)) {
		ring_free(&o->ring);
		return err_errno(e, ERR_IO, "wait for a ring of %s", b->manifest->name);
	}
	o->fd = fd;
	return 0;
}

/* ---- reading ---- */

static void on_record(void *ctx, const uint8_t *record, uint32_t size)
{
	struct output *o = ctx;
	struct obs_header header;
	struct stream_type *type = NULL;

	if (size >= sizeof(header) && size <= EVENT_MAX_BYTES) {
		memcpy(&header, record, sizeof(header));
		if (header.time_ns < o->bundle->from_ns || header.time_ns >= o->bundle->until_ns)
			return;
		type = type_of(o, header.event);
	}
	if (!type || size < table_min_size(stream_type_table(type))) {
		losses_add(&o->bundle->losses, LOSS_PARSER, 1);
		return;
	}
	stream_publish(o->bundle->stream, type, record, size);
}

bool bundle_consume(struct bundle *b, uint64_t max_bytes)
{
	bool more = false;

	for (size_t i = 0; i < b->manifest->output_count && !b->held; i++) {
		struct output *o = &b->outputs[i];
		struct err e = ERR_INIT;
		uint64_t most = max_bytes;
		int64_t bytes;

		if (!o->ring)
			continue;
		/* The room that is read is free only when the lines are sent. */
		if (most != UINT64_MAX && most > ring_bytes(o->ring) / 4)
			most = ring_bytes(o->ring) / 4;
		bytes = ring_consume(o->ring, most, on_record, o, &e);
		if (bytes < 0) {
			err_wrap(&e, "ring %s of %s is read no more", o->output->map, b->manifest->name);
			log_err(LOG_LEVEL_ERROR, &e);
			losses_add(&b->losses, LOSS_PARSER, 1);
			output_close(o);
			continue;
		}
		more |= (uint64_t)bytes >= most;
	}
	return more;
}

void bundle_hold(struct bundle *b, bool on)
{
	b->held = on;
}

void bundle_span(struct bundle *b, uint64_t from_ns, uint64_t until_ns)
{
	b->from_ns = from_ns;
	b->until_ns = until_ns;
}

/* ---- the quietest moment ---- */

enum { SLOTS = 4096 };

struct window {
	uint64_t since_ns, slot_ns;
	bool used[SLOTS];
};

static void mark(void *ctx, const uint8_t *record, uint32_t size)
{
	struct window *w = ctx;
	struct obs_header header;

	if (size < sizeof(header))
		return;
	memcpy(&header, record, sizeof(header));
	if (header.time_ns >= w->since_ns && (header.time_ns - w->since_ns) / w->slot_ns < SLOTS)
		w->used[(header.time_ns - w->since_ns) / w->slot_ns] = true;
}

uint64_t bundle_quiet_ns(const struct bundle *b, uint64_t since_ns, uint64_t until_ns)
{
	struct window w = {.since_ns = since_ns, .slot_ns = (until_ns - since_ns) / SLOTS + 1};
	size_t best = SLOTS / 2, longest = 0, run = 0;

	for (size_t i = 0; i < b->manifest->output_count; i++) {
		struct err e = ERR_INIT;
		if (b->outputs[i].ring && ring_peek(b->outputs[i].ring, mark, &w, &e))
			log_err(LOG_LEVEL_WARNING, &e);
	}
	for (size_t i = 0; i < SLOTS; i++) {
		run = w.used[i] ? 0 : run + 1;
		if (run > longest) {
			longest = run;
			best = i - run / 2;
		}
	}
	return since_ns + best * w.slot_ns;
}

void bundle_release(const struct bundle *b)
{
	for (size_t i = 0; i < b->manifest->output_count; i++)
		if (b->outputs[i].ring)
			ring_release(b->outputs[i].ring);
}

int bundle_sample(struct bundle *b, uint32_t output, struct err *e)
{
	if (output >= b->manifest->output_count || !b->outputs[output].sample)
		return err_set(e, ERR_DAEMON_PROTOCOL, "%s: a sample of output %u, which is none", b->manifest->name,
			       output);
	struct output *o = &b->outputs[output];
	if (sample_begin(o->sample, e))
		return err_wrap(e, "%s", b->manifest->name);
	if (sample_left_out(o->sample))
		losses_add(&b->losses, LOSS_MAP, sample_left_out(o->sample));
	return 0;
}

static void take_lost(struct output *o)
{
	struct bundle *b = o->bundle;
	uint64_t totals[LOSS_SOURCE_COUNT] = {0};

	sample_lost(o->sample, o->lost);
	for (size_t i = 0; i < b->manifest->output_count; i++)
		for (unsigned k = 0; k < LOSS_SOURCE_COUNT; k++)
			totals[k] += b->outputs[i].lost[k];
	losses_kernel(&b->losses, totals);
}

void bundle_missed(struct bundle *b, uint64_t total)
{
	const uint64_t totals[LOSS_SOURCE_COUNT] = {[LOSS_MISSED] = total};

	losses_kernel(&b->losses, totals);
}

/* True: the sample is at its end. */
static bool step(struct output *o, unsigned max_entries)
{
	uint32_t size;

	if (o->output->kind == OUTPUT_LOST) {
		take_lost(o);
		return true;
	}
	for (unsigned i = 0; i < max_entries; i++) {
		const uint8_t *record = sample_next(o->sample, &size);
		if (!record)
			return true;
		if (o->type)
			stream_publish(o->bundle->stream, o->type, record, size);
		else
			losses_add(&o->bundle->losses, LOSS_PARSER, 1);
	}
	return false;
}

bool bundle_step_samples(struct bundle *b, unsigned max_entries,
			 void (*done)(void *ctx, uint32_t handle, uint32_t output), void *ctx)
{
	bool more = false;

	for (size_t i = 0; i < b->manifest->output_count; i++) {
		struct output *o = &b->outputs[i];
		if (!o->sample || !sample_active(o->sample))
			continue;
		if (step(o, max_entries))
			done(ctx, b->handle, (uint32_t)i);
		else
			more = true;
	}
	return more;
}

void bundle_tell_losses(struct bundle *b, uint64_t now_ns, bool flush)
{
	struct lost_record record;

	while (losses_take(&b->losses, now_ns, flush, &record))
		stream_publish(b->stream, b->lost_type, (const uint8_t *)&record, sizeof(record));
}
