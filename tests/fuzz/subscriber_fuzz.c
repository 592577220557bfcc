/* What anybody in the group may send to the event socket, in pieces, while events come and nobody, somebody or everybody
 * reads: the worker's answers are lines, each of them JSON. A step is a byte that says what is done and by which of the
 * subscribers, one of size, and bytes of that size. */
#include <jansson.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bundles/base/file.h"
#include "loader/worker/history.h"
#include "loader/worker/server.h"
#include "loader/worker/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_history_new(size_t bytes, struct history **out, struct err *e);
int __real_history_new(size_t bytes, struct history **out, struct err *e);
int __wrap_queue_init(struct queue *q, size_t bytes, struct err *e);
int __real_queue_init(struct queue *q, size_t bytes, struct err *e);

enum {
	SUBSCRIBERS = 4,
	SERVED = 3,
	RECORD_BYTES = 296,
	SECOND = 1000000000,
	LINES_MAX = 4 << 20,
	CHECKED = 4,
	OWN_LINE_MOST = 200
};
enum step { SEND, SEND_LINE, PUBLISH, PUBLISH_MANY, READ, END, CLOSE, TIME, SEND_LONG, STEPS };

static struct world {
	int listener, stats_fd;
	struct sockaddr_un address;
	socklen_t address_size;
	struct manifest *manifest;
	struct worker_stats *stats;
} world;

static struct session {
	int epoll_fd;
	struct stream *stream;
	struct stream_type *type, *lost_type;
	struct losses losses;
	struct worker_bundle_stats counts;
	struct server *server;
	uint64_t now;
	struct {
		int fd;
		char *text;
		size_t size;
	} reader[SUBSCRIBERS];
} s;

/* Smaller than in life, so that few records fill them. */
int __wrap_history_new(size_t bytes, struct history **out, struct err *e)
{
	return __real_history_new(bytes / 64, out, e);
}

int __wrap_queue_init(struct queue *q, size_t bytes, struct err *e)
{
	return __real_queue_init(q, bytes / 16, e);
}

static void need(int failed)
{
	if (failed)
		abort();
}

static void set_up(void)
{
	OWN_FREE uint8_t *json = NULL;
	struct err e = ERR_INIT;
	size_t size;

	need(file_read("tests/golden/manifest.json", 1 << 20, ERR_LIMIT, &json, &size, &e) ||
	     manifest_parse(json, size, &world.manifest, &e));
	world.address.sun_family = AF_UNIX;
	snprintf(world.address.sun_path + 1, sizeof(world.address.sun_path) - 1, "obs-subscriber-fuzz-%d", getpid());
	world.address_size =
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(world.address.sun_path + 1));
	world.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	need(bind(world.listener, (struct sockaddr *)&world.address, world.address_size) || listen(world.listener, 16));
	world.stats_fd = memfd_create("stats", MFD_CLOEXEC);
	need(ftruncate(world.stats_fd, sizeof(struct worker_stats)) || stats_map(world.stats_fd, &world.stats, &e));
}

static struct stream_type *add_type(const char *event, const struct manifest_field *fields, size_t count, uint32_t size,
				    const struct manifest_enum *enums, size_t enum_count, bool exempt)
{
	const struct table_part part = {.fields = fields, .count = count, .size = size};
	const struct table_source source = {.event = event,
					    .bundle = world.manifest->name,
					    .host = "h",
					    .enums = enums,
					    .enum_count = enum_count,
					    .parts = &part,
					    .part_count = 1};
	struct stream_type *type = NULL;
	struct table *table = NULL;
	struct err e = ERR_INIT;

	need(table_compile(&source, &table, &e) || stream_type_add(s.stream, &table, &s.losses, exempt, &type, &e));
	return type;
}

static void add_bundle(void)
{
	const struct manifest *m = world.manifest;
	const struct manifest_event *ev = &m->events[0];

	s.type = add_type(ev->name, ev->fields, ev->field_count, ev->size, m->enums, m->enum_count, false);
	s.lost_type =
	    add_type("obs.lost", lost_fields, lost_field_count, sizeof(struct lost_record), &lost_enum, 1, true);
}

static void remove_bundle(void)
{
	stream_type_remove(s.stream, &s.type);
	stream_type_remove(s.stream, &s.lost_type);
}

static void begin(void)
{
	struct err e = ERR_INIT;

	s = (struct session){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .now = 1000ULL * SECOND};
	memset(world.stats, 0, sizeof(*world.stats));
	s.losses.stats = &s.counts;
	need(s.epoll_fd < 0 || stream_new(world.stats, "h", &s.stream, &e) ||
	     server_new(world.listener, s.epoll_fd, SERVED, s.stream, world.stats, &s.server, &e));
	add_bundle();
	for (size_t i = 0; i < SUBSCRIBERS; i++)
		s.reader[i].fd = -1;
}

static void serve(void)
{
	struct epoll_event events[16];

	server_accept(s.server, s.now);
	int count = epoll_wait(s.epoll_fd, events, ARRAY_LEN(events), 0);
	for (int i = 0; i < count; i++)
		server_ready(s.server, events[i].data.ptr, events[i].events, s.now);
	stream_replay(s.stream);
	server_flush(s.server);
}

/* ---- steps ---- */

static int reader(size_t who)
{
	if (s.reader[who].fd < 0) {
		s.reader[who].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		need(connect(s.reader[who].fd, (struct sockaddr *)&world.address, world.address_size));
	}
	return s.reader[who].fd;
}

static void put(size_t who, const uint8_t *data, size_t size)
{
	if (size && send(reader(who), data, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		need(errno != EPIPE && errno != EAGAIN && errno != ECONNRESET);
}

static void put_blanks(size_t who)
{
	uint8_t blanks[REQUEST_MAX_BYTES / 2];

	memset(blanks, ' ', sizeof(blanks));
	put(who, blanks, sizeof(blanks));
}

static void publish(const uint8_t *data, size_t size, unsigned count)
{
	uint8_t record[RECORD_BYTES] = {0};
	struct lost_record lost;

	memcpy(record + 16, data, size < sizeof(record) - 16 ? size : sizeof(record) - 16);
	for (unsigned i = 0; i < count; i++) {
		memcpy(record, &s.now, sizeof(s.now));
		stream_publish(s.stream, s.type, record, sizeof(record));
	}
	losses_add(&s.losses, LOSS_RING, size & 1);
	while (losses_take(&s.losses, s.now, true, &lost))
		stream_publish(s.stream, s.lost_type, (const uint8_t *)&lost, sizeof(lost));
}

/* Of many that are alike the first few; what the worker says of itself is short. */
static void check_line(const char *line, size_t size, unsigned number)
{
	need(size < 2 || line[0] != '{' || line[size - 1] != '}');
	if (number >= CHECKED && size > OWN_LINE_MOST)
		return;
	json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);

	if (!json_is_object(json)) {
		fprintf(stderr, "no JSON: %.*s\n", (int)size, line);
		abort();
	}
	json_decref(json);
}

static void take(size_t who)
{
	char bytes[65536];
	unsigned lines = 0;
	ssize_t n;

	while (s.reader[who].fd >= 0 && (n = recv(s.reader[who].fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		char *grown = realloc(s.reader[who].text, s.reader[who].size + (size_t)n);
		need(!grown || s.reader[who].size + (size_t)n > LINES_MAX);
		memcpy(grown + s.reader[who].size, bytes, (size_t)n);
		s.reader[who].text = grown;
		s.reader[who].size += (size_t)n;
		char *line = grown, *end;
		for (size_t left = s.reader[who].size; (end = memchr(line, '\n', left)); line = end + 1) {
			check_line(line, (size_t)(end - line), lines++);
			left -= (size_t)(end + 1 - line);
		}
		s.reader[who].size -= (size_t)(line - grown);
		memmove(grown, line, s.reader[who].size);
		serve();
	}
}

static void end(size_t who)
{
	if (s.reader[who].fd >= 0)
		close(s.reader[who].fd);
	s.reader[who].fd = -1;
	free(s.reader[who].text);
	s.reader[who].text = NULL;
	s.reader[who].size = 0;
}

static void step(enum step what, size_t who, const uint8_t *data, size_t size)
{
	switch (what) {
	case SEND:
		put(who, data, size);
		break;
	case SEND_LINE:
		put(who, data, size);
		put(who, (const uint8_t *)"\n", 1);
		break;
	case SEND_LONG:
		put_blanks(who);
		break;
	case PUBLISH:
		publish(data, size, 1);
		break;
	case PUBLISH_MANY:
		publish(data, size, 40);
		break;
	case READ:
		take(who);
		break;
	case END:
		shutdown(reader(who), SHUT_WR);
		break;
	case CLOSE:
		end(who);
		break;
	default:
		if (size > 1) { /* an upgrade */
			remove_bundle();
			add_bundle();
		}
		s.now += size ? (uint64_t)data[0] * SECOND / 10 : SECOND;
		server_tick(s.server, s.now, false);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!world.manifest)
		set_up();
	begin();
	while (size >= 2) {
		size_t bytes = data[1] < size - 2 ? data[1] : size - 2;
		step((enum step)(data[0] % STEPS), data[0] / STEPS % SUBSCRIBERS, data + 2, bytes);
		serve();
		data += 2 + bytes;
		size -= 2 + bytes;
	}
	for (size_t i = 0; i < SUBSCRIBERS; i++) {
		take(i);
		end(i);
	}
	serve();
	need(world.stats->subscribers != 0);
	server_free(&s.server);
	remove_bundle();
	stream_free(&s.stream);
	close(s.epoll_fd);
	return 0;
}
