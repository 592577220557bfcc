#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <obs/event.h>
#include <sys/socket.h>
#include <time.h>

#include "loader/worker/filter.h"
#include "loader/worker/ring.h"
#include "loader/worker/stats.h"
#include "loader/worker/stream.h"
#include "tests/unit/worker_feed.h"

bool __wrap_filter_matches(const struct filter *f, uint64_t seq, const uint8_t *record, size_t size);
bool __real_filter_matches(const struct filter *f, uint64_t seq, const uint8_t *record, size_t size);

static unsigned compared;

bool __wrap_filter_matches(const struct filter *f, uint64_t seq, const uint8_t *record, size_t size)
{
	compared++;
	return __real_filter_matches(f, seq, record, size);
}

struct sample_event {
	struct obs_header header;
	uint32_t pid;
	uint16_t port;
	uint8_t address[16];
	char comm[16];
	uint8_t pad[10];
};

_Static_assert(sizeof(struct sample_event) == 64, "as in the goal: 64 bytes");

#define FIELD(n, member, k, f)                                                                                         \
	{                                                                                                              \
		.name = (char *)(n), .offset = offsetof(struct sample_event, member),                                  \
		.size = sizeof(((struct sample_event *)0)->member), .kind = (k), .format = (f), .enum_index = -1,      \
		.length_field = -1                                                                                     \
	}

static const struct manifest_field fields[] = {
    FIELD("process.pid", pid, FIELD_UINT, FORMAT_PLAIN),
    FIELD("network.peer.port", port, FIELD_UINT, FORMAT_PORT),
    FIELD("network.peer.address", address, FIELD_BYTES, FORMAT_IP),
    FIELD("process.executable.name", comm, FIELD_CHARS, FORMAT_PLAIN),
};

struct world {
	struct worker_stats *stats;
	struct worker_bundle_stats bundle_stats;
	struct losses losses;
	struct stream *stream;
	struct stream_type *type, *lost_type;
};

static void add_lost_type(struct world *w)
{
	const struct table_part part = {
	    .fields = lost_fields, .count = lost_field_count, .size = sizeof(struct lost_record)};
	const struct table_source source = {.event = "obs.lost",
					    .bundle = "obs/test",
					    .host = "web-1",
					    .enums = &lost_enum,
					    .enum_count = 1,
					    .parts = &part,
					    .part_count = 1};
	struct table *table = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(table_compile(&source, &table, &e), 0);
	assert_int_equal(stream_type_add(w->stream, &table, &w->losses, true, &w->lost_type, &e), 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err e = ERR_INIT;
	struct table *table = NULL;
	const struct table_part part = {
	    .fields = fields, .count = ARRAY_LEN(fields), .size = sizeof(struct sample_event)};
	const struct table_source source = {
	    .event = "tcp.connect", .bundle = "obs/test", .host = "web-1", .parts = &part, .part_count = 1};

	w->stats = calloc(1, sizeof(*w->stats));
	w->losses.stats = &w->bundle_stats;
	assert_int_equal(stream_new(w->stats, "web-1", &w->stream, &e), 0);
	assert_int_equal(table_compile(&source, &table, &e), 0);
	assert_int_equal(stream_type_add(w->stream, &table, &w->losses, false, &w->type, &e), 0);
	add_lost_type(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	stream_free(&w->stream);
	free(w->stats);
	free(w);
	return 0;
}

struct client {
	int fd;
	struct subscriber *subscriber;
};

static void client_connect(struct client *c, struct world *w, const char *request)
{
	struct err e = ERR_INIT;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	c->fd = pair[1];
	assert_int_equal(subscriber_new(pair[0], 0, &c->subscriber, &e), 0);
	assert_int_equal(send(c->fd, request, strlen(request), 0), strlen(request));
	assert_true(subscriber_read(c->subscriber, 0));
	assert_int_equal(stream_subscribe(w->stream, c->subscriber, &e), 0);
}

static void client_close(struct client *c, struct world *w)
{
	stream_unsubscribe(w->stream, c->subscriber);
	subscriber_free(&c->subscriber);
	close(c->fd);
}

/* The next line as JSON; NULL: none has come. */
static json_t *client_line(struct client *c, struct world *w)
{
	enum { PIECE = 512 };
	static char line[EVENT_LINE_MAX_BYTES + PIECE];
	size_t size = 0;
	json_error_t where;

	subscriber_flush(c->subscriber, stream_subscriber_env(w->stream));
	for (ssize_t n; (n = recv(c->fd, line + size, PIECE, MSG_DONTWAIT | MSG_PEEK)) > 0;) {
		const char *end = memchr(line + size, '\n', (size_t)n);
		n = recv(c->fd, line + size, end ? (size_t)(end + 1 - line) - size : (size_t)n, MSG_DONTWAIT);
		size += (size_t)n;
		if (!end)
			continue;
		json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
		if (!json)
			fail_msg("%s in: %.*s", where.text, (int)size, line);
		return json;
	}
	assert_int_equal(size, 0);
	return NULL;
}

static const char *text_at(json_t *json, const char *a, const char *b)
{
	json_t *item = json_object_get(json, a);

	return json_string_value(b ? json_object_get(item, b) : item);
}

static struct sample_event event_of(uint32_t pid, uint16_t port)
{
	struct timespec now;
	struct sample_event ev = {
	    .pid = pid, .port = port, .address = {[10] = 0xff, 0xff, 10, 0, 0, 7}, .comm = "curl"};

	clock_gettime(CLOCK_MONOTONIC, &now);
	ev.header.time_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	ev.header.event = 1;
	return ev;
}

static void put(struct world *w, uint32_t pid, uint16_t port)
{
	struct sample_event ev = event_of(pid, port);

	stream_publish(w->stream, w->type, (const uint8_t *)&ev, sizeof(ev));
}

static void put_lost(struct world *w, enum loss_source source, uint64_t count)
{
	const struct lost_record record = {.count = count, .source = source};

	stream_publish(w->stream, w->lost_type, (const uint8_t *)&record, sizeof(record));
}

/* What a client got, in order of seq. */
struct tally {
	uint64_t events, own, seq;
	uint64_t told[LOSS_SOURCE_COUNT]; /* of the bundle */
	uint64_t sampled;
};

static void count_lost(struct tally *t, json_t *line)
{
	uint64_t count = (uint64_t)json_integer_value(json_object_get(line, "count"));
	const char *source = text_at(line, "source", NULL), *bundle = text_at(line, "bundle", NULL);

	if (bundle) {
		assert_string_equal(bundle, "obs/test");
		for (unsigned i = 0; i < LOSS_SOURCE_COUNT; i++)
			t->told[i] += strcmp(loss_source_names[i], source) == 0 ? count : 0;
	} else if (strcmp(source, "sampling") == 0) {
		t->sampled += count;
	} else {
		assert_string_equal(source, "subscriber");
		t->own += count;
	}
}

/* Everything that there is, replays included. */
static struct tally drain(struct client *c, struct world *w)
{
	struct tally t = {0};
	uint64_t now = 0;
	bool quiet = false;

	while (!quiet) {
		quiet = !stream_replay(w->stream);
		subscriber_tick(c->subscriber, stream_subscriber_env(w->stream), now += 2000000000, false);
		c->subscriber->blocked = false;
		for (json_t *line; (line = client_line(c, w)) != NULL; quiet = false) {
			json_t *seq = json_object_get(line, "seq");
			c->subscriber->blocked = false;
			assert_true(!seq || (uint64_t)json_integer_value(seq) > t.seq);
			t.seq = seq ? (uint64_t)json_integer_value(seq) : t.seq;
			if (strcmp(text_at(line, "event", NULL), "obs.lost") == 0)
				count_lost(&t, line);
			else
				t.events++;
			json_decref(line);
		}
	}
	return t;
}

static void publish_each(void *ctx, const uint8_t *record, uint32_t size)
{
	struct world *w = ctx;

	stream_publish(w->stream, w->type, record, size);
}

static void record_of_a_kernel_ring_reaches_subscribers(void **state)
{
	struct world *w = *state;
	struct client a, b;
	struct feed feed;
	struct err e = ERR_INIT;
	OWN(ring) struct ring *ring = NULL;
	struct sample_event ev = event_of(4242, 443);

	if (!feed_open(&feed, 64 << 10, sizeof(ev), BPF_RB_NO_WAKEUP))
		skip();
	assert_int_equal(ring_open(feed.map, 64 << 10, &ring, &e), 0);
	client_connect(&a, w, "{}\n");
	client_connect(&b, w, "{\"where\":[{\"field\":\"network.peer.port\",\"op\":\"=\",\"value\":80}]}\n");
	assert_int_equal(feed_put(&feed, &ev, 1, false), 0);
	assert_true(ring_consume(ring, UINT64_MAX, publish_each, w, &e) > 0);

	json_t *line = client_line(&a, w);
	assert_non_null(line);
	assert_string_equal(text_at(line, "event", NULL), "tcp.connect");
	assert_string_equal(text_at(line, "bundle", NULL), "obs/test");
	assert_string_equal(text_at(line, "host", NULL), "web-1");
	assert_int_equal(json_integer_value(json_object_get(line, "seq")), 1);
	json_t *process = json_object_get(line, "process");
	assert_int_equal(json_integer_value(json_object_get(process, "pid")), 4242);
	assert_string_equal(text_at(process, "executable", "name"), "curl");
	json_t *network = json_object_get(line, "network");
	assert_string_equal(text_at(network, "peer", "address"), "10.0.0.7");

	char expected[32];
	time_t now = time(NULL);
	strftime(expected, sizeof(expected), "%Y-%m-%dT%H:", gmtime(&now));
	assert_int_equal(strncmp(text_at(line, "time", NULL), expected, strlen(expected)), 0);
	json_decref(line);
	assert_null(client_line(&a, w));
	assert_null(client_line(&b, w));
	client_close(&a, w);
	client_close(&b, w);
	feed_close(&feed);
}

static void sequence_goes_on_from_the_counters(void **state)
{
	struct world *w = *state;
	struct client a;

	w->stats->sequence = 41;
	client_connect(&a, w, "{}\n");
	put(w, 1, 1);
	json_t *line = client_line(&a, w);
	assert_int_equal(json_integer_value(json_object_get(line, "seq")), 42);
	json_decref(line);
	client_close(&a, w);
}

static void events_pattern_selects(void **state)
{
	struct world *w = *state;
	struct client a, b, c;

	client_connect(&a, w, "{\"events\":[\"udp.*\"]}\n");
	client_connect(&b, w, "{\"events\":[\"udp.*\",\"tcp.c*\"]}\n");
	client_connect(&c, w, "{\"bundles\":[\"other/*\"]}\n");
	put(w, 1, 1);
	assert_null(client_line(&a, w));
	json_t *line = client_line(&b, w);
	assert_non_null(line);
	json_decref(line);
	assert_null(client_line(&c, w));
	client_close(&a, w);
	client_close(&b, w);
	client_close(&c, w);
}

static void garbled_dns_is_lost_once_whoever_listens(void **state)
{
	const struct manifest_field message = {.name = (char *)"dns",
					       .offset = sizeof(struct obs_header),
					       .kind = FIELD_BYTES,
					       .format = FORMAT_DNS,
					       .enum_index = -1,
					       .length_field = -1};
	const struct table_part part = {.fields = &message, .count = 1, .size = sizeof(struct obs_header)};
	const struct table_source source = {
	    .event = "dns.lookup", .bundle = "obs/test", .host = "web-1", .parts = &part, .part_count = 1};
	const struct sample_event ev = event_of(1, 0); /* as a message: without a question */
	struct world *w = *state;
	struct stream_type *type = NULL;
	struct table *table = NULL;
	struct err e = ERR_INIT;
	struct client a, b;
	json_t *line;

	assert_int_equal(table_compile(&source, &table, &e), 0);
	assert_int_equal(stream_type_add(w->stream, &table, &w->losses, false, &type, &e), 0);
	stream_publish(w->stream, type, (const uint8_t *)&ev, sizeof(ev));
	assert_int_equal(w->bundle_stats.lost[LOSS_PARSER], 1);
	client_connect(&a, w, "{\"last\":10}\n");
	client_connect(&b, w, "{\"last\":10}\n");
	while (stream_replay(w->stream))
		;
	for (int i = 0; i < 2; i++) {
		line = client_line(i ? &b : &a, w);
		assert_string_equal(text_at(line, "event", NULL), "dns.lookup");
		json_decref(line);
	}
	assert_int_equal(w->bundle_stats.lost[LOSS_PARSER], 1);
	assert_int_equal(w->losses.pending[LOSS_PARSER], 1);
	client_close(&a, w);
	client_close(&b, w);
	stream_type_remove(w->stream, &type);
}

static void slow_subscriber_loses_its_own_and_is_told_how_many(void **state)
{
	struct world *w = *state;
	struct client slow, quick;
	const unsigned total = 30000;
	uint64_t got = 0, lost = 0, told = 0;
	json_t *line;

	client_connect(&slow, w, "{}\n");
	client_connect(&quick, w, "{}\n");
	for (unsigned i = 0; i < total; i++) {
		put(w, i, 1);
		line = client_line(&quick, w);
		assert_int_equal(json_integer_value(json_object_get(line, "seq")), i + 1);
		json_decref(line);
	}
	assert_true(slow.subscriber->lost > 0);
	slow.subscriber->blocked = false;
	while ((line = client_line(&slow, w)) != NULL) {
		slow.subscriber->blocked = false;
		if (strcmp(text_at(line, "event", NULL), "obs.lost") == 0) {
			assert_string_equal(text_at(line, "source", NULL), "subscriber");
			lost += (uint64_t)json_integer_value(json_object_get(line, "count"));
			told++;
		} else {
			got++;
			assert_int_equal(json_integer_value(json_object_get(line, "seq")), got);
		}
		json_decref(line);
	}
	assert_int_equal(told, 1);
	assert_int_equal(got + lost, total);
	assert_int_equal(w->bundle_stats.lost[LOSS_SUBSCRIBER], lost);
	put(w, 7, 1);
	line = client_line(&slow, w);
	assert_int_equal(json_integer_value(json_object_get(line, "seq")), total + 1);
	json_decref(line);
	client_close(&slow, w);
	client_close(&quick, w);
}

static void losses_that_a_full_queue_keeps_from_a_subscriber_are_told_later(void **state)
{
	struct world *w = *state;
	struct client slow;
	unsigned total = 0;

	client_connect(&slow, w, "{}\n");
	while (!slow.subscriber->lost)
		put(w, total++, 1);
	put_lost(w, LOSS_RING, 1000);
	put(w, total++, 1);
	put_lost(w, LOSS_MAP, 5);
	put_lost(w, LOSS_RING, 7);
	/* The bundle may be gone when there is room. */
	stream_type_remove(w->stream, &w->lost_type);
	put(w, total++, 1);
	struct tally t = drain(&slow, w);
	assert_int_equal(t.told[LOSS_RING], 1007);
	assert_int_equal(t.told[LOSS_MAP], 5);
	assert_int_equal(t.own, 3);
	assert_int_equal(t.events + t.own, total);
	assert_int_equal(w->bundle_stats.lost[LOSS_SUBSCRIBER], t.own);
	/* Told once. */
	put(w, total, 1);
	t = drain(&slow, w);
	assert_int_equal(t.events, 1);
	assert_int_equal(t.own + t.told[LOSS_RING], 0);
	client_close(&slow, w);
}

static void losses_that_the_history_forgets_during_replay_are_told(void **state)
{
	struct world *w = *state;
	struct client a;
	const unsigned during = 100000;

	put_lost(w, LOSS_RING, 1000);
	client_connect(&a, w, "{\"last\":10}\n");
	put_lost(w, LOSS_RING, 7);
	for (unsigned i = 0; i < during; i++)
		put(w, i, 1);
	struct tally t = drain(&a, w);
	assert_true(t.own > 0);
	assert_int_equal(t.told[LOSS_RING], 1007);
	assert_int_equal(t.events + t.own, during);
	client_close(&a, w);
}

static void losses_of_more_bundles_than_can_be_held_lose_only_the_name(void **state)
{
	const struct lost_record record = {.count = 3, .source = LOSS_TABLE};
	struct held held = {0};
	uint64_t named = 0, unnamed = 0;
	char name[32];

	(void)state;
	for (int i = 0; i < 80; i++) {
		snprintf(name, sizeof(name), "obs/x%d", i % 40);
		held_add(&held, name, &record);
	}
	for (size_t i = 0; i < held.count; i++)
		*(held.bundles[i].name[0] ? &named : &unnamed) += held.bundles[i].lost[LOSS_TABLE];
	assert_int_equal(held.count, HELD_BUNDLES);
	assert_int_equal(named, (HELD_BUNDLES - 1) * 2 * 3);
	assert_int_equal(named + unnamed, 80 * 3);
}

static void sample_sends_one_of_so_many_and_tells_the_rest(void **state)
{
	struct world *w = *state;
	struct client a;
	unsigned got = 0;
	json_t *line;

	client_connect(&a, w, "{\"sample\":10}\n");
	for (unsigned i = 0; i < 100; i++)
		put(w, i, 1);
	while ((line = client_line(&a, w)) != NULL) {
		got++;
		json_decref(line);
	}
	assert_int_equal(got, 10);
	subscriber_tick(a.subscriber, stream_subscriber_env(w->stream), 1, false);
	line = client_line(&a, w);
	assert_string_equal(text_at(line, "source", NULL), "sampling");
	assert_int_equal(json_integer_value(json_object_get(line, "count")), 90);
	json_decref(line);
	assert_int_equal(w->bundle_stats.lost[LOSS_SAMPLING], 90);
	client_close(&a, w);
}

static void last_sends_the_newest_matching_first(void **state)
{
	struct world *w = *state;
	struct client a;
	json_t *line;

	for (uint16_t i = 0; i < 100; i++)
		put(w, i, i % 2);
	client_connect(&a, w, "{\"last\":3,\"where\":[{\"field\":\"network.peer.port\",\"op\":\"=\",\"value\":1}]}\n");
	put(w, 100, 1); /* comes while the replay is under way */
	assert_false(stream_replay(w->stream));
	put(w, 101, 1);
	static const int expected[] = {96, 98, 100, 101, 102};
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		line = client_line(&a, w);
		assert_non_null(line);
		assert_int_equal(json_integer_value(json_object_get(line, "seq")), expected[i]);
		json_decref(line);
	}
	assert_null(client_line(&a, w));
	client_close(&a, w);
}

static void last_is_searched_for_in_steps(void **state)
{
	enum { RECORDS = 10000, STEP_MOST = 2048 };
	static const int expected[] = {2, 3, RECORDS + 1};
	struct world *w = *state;
	struct client a;
	bool more = true;

	for (unsigned i = 0; i < RECORDS; i++)
		put(w, i, i < 3);
	compared = 0;
	client_connect(&a, w, "{\"last\":2,\"where\":[{\"field\":\"network.peer.port\",\"op\":\"=\",\"value\":1}]}\n");
	put(w, RECORDS, 1);
	while (more) {
		assert_true(compared <= STEP_MOST);
		compared = 0;
		more = stream_replay(w->stream);
	}
	for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
		json_t *line = client_line(&a, w);
		assert_non_null(line);
		assert_int_equal(json_integer_value(json_object_get(line, "seq")), expected[i]);
		json_decref(line);
	}
	assert_null(client_line(&a, w));
	client_close(&a, w);
}

static void error_is_the_last_line_during_replay(void **state)
{
	struct world *w = *state;
	struct client a;

	for (unsigned i = 0; i < 10; i++)
		put(w, i, 1);
	client_connect(&a, w, "{\"last\":10}\n");
	assert_int_equal(send(a.fd, "x", 1, 0), 1);
	assert_false(subscriber_read(a.subscriber, 0));
	put(w, 10, 1);
	assert_false(stream_replay(w->stream));
	json_t *line = client_line(&a, w);
	assert_non_null(json_object_get(line, "error"));
	json_decref(line);
	assert_null(client_line(&a, w));
	client_close(&a, w);
}

static void history_overtaken_during_replay_is_counted_as_lost(void **state)
{
	struct world *w = *state;
	struct client a;
	const unsigned before = 1000, during = 100000;

	for (unsigned i = 0; i < before; i++)
		put(w, i, 1);
	client_connect(&a, w, "{\"last\":1000}\n");
	for (unsigned i = 0; i < during; i++)
		put(w, i, 1);
	assert_true(a.subscriber->replaying);
	struct tally t = drain(&a, w);
	assert_false(a.subscriber->replaying);
	assert_true(t.own > 0);
	assert_int_equal(t.events + t.own, before + during);
	client_close(&a, w);
}

static void history_overtaken_during_replay_is_sampled_before_it_is_counted(void **state)
{
	enum { DURING = 100000, SAMPLE = 100 };
	struct world *w = *state;
	struct client a;

	put(w, 0, 1);
	client_connect(&a, w, "{\"last\":1,\"sample\":100}\n");
	for (unsigned i = 0; i < DURING; i++)
		put(w, i, 1);
	struct tally t = drain(&a, w);
	assert_int_equal(t.events + t.own, 1 + DURING / SAMPLE);
	assert_int_equal(t.sampled, DURING - DURING / SAMPLE);
	assert_true(t.own > 0);
	client_close(&a, w);
}

static void removed_type_is_sent_no_more_and_leaves_the_history(void **state)
{
	struct world *w = *state;
	struct client a;

	put(w, 1, 1);
	stream_type_remove(w->stream, &w->type);
	client_connect(&a, w, "{\"last\":10}\n");
	assert_false(stream_replay(w->stream));
	assert_null(client_line(&a, w));
	client_close(&a, w);
}

static void removed_type_is_lost_by_who_replays_it(void **state)
{
	static const struct manifest_field none = {0};
	const struct table_part part = {.fields = &none, .size = sizeof(struct sample_event)};
	const struct table_source source = {
	    .event = "tcp.close", .bundle = "obs/other", .host = "web-1", .parts = &part, .part_count = 1};
	const struct sample_event ev = event_of(1, 1);
	struct world *w = *state;
	struct stream_type *other = NULL;
	struct table *table = NULL;
	struct err e = ERR_INIT;
	struct client a;

	assert_int_equal(table_compile(&source, &table, &e), 0);
	assert_int_equal(stream_type_add(w->stream, &table, &w->losses, false, &other, &e), 0);
	for (unsigned i = 0; i < 10; i++) {
		put(w, i, 1);
		stream_publish(w->stream, other, (const uint8_t *)&ev, sizeof(ev));
	}
	client_connect(&a, w, "{\"last\":10}\n");
	put(w, 10, 1);
	put_lost(w, LOSS_RING, 1000);
	stream_publish(w->stream, other, (const uint8_t *)&ev, sizeof(ev));
	/* Of the last ten and the three that came since, these leave: five, one, and an obs.lost. */
	stream_type_remove(w->stream, &w->type);
	stream_type_remove(w->stream, &w->lost_type);
	struct tally t = drain(&a, w);
	assert_int_equal(t.own, 6);
	assert_int_equal(t.told[LOSS_RING], 1000);
	assert_int_equal(t.events, 6);
	assert_int_equal(w->bundle_stats.lost[LOSS_SUBSCRIBER], 6);
	client_close(&a, w);
	stream_type_remove(w->stream, &other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    TEST(record_of_a_kernel_ring_reaches_subscribers),
	    TEST(sequence_goes_on_from_the_counters),
	    TEST(events_pattern_selects),
	    TEST(garbled_dns_is_lost_once_whoever_listens),
	    TEST(slow_subscriber_loses_its_own_and_is_told_how_many),
	    TEST(losses_that_a_full_queue_keeps_from_a_subscriber_are_told_later),
	    TEST(losses_that_the_history_forgets_during_replay_are_told),
	    TEST(losses_of_more_bundles_than_can_be_held_lose_only_the_name),
	    TEST(sample_sends_one_of_so_many_and_tells_the_rest),
	    TEST(last_sends_the_newest_matching_first),
	    TEST(last_is_searched_for_in_steps),
	    TEST(error_is_the_last_line_during_replay),
	    TEST(history_overtaken_during_replay_is_counted_as_lost),
	    TEST(history_overtaken_during_replay_is_sampled_before_it_is_counted),
	    TEST(removed_type_is_sent_no_more_and_leaves_the_history),
	    TEST(removed_type_is_lost_by_who_replays_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
