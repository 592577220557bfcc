/* The whole worker but its sandbox, in a process of its own; the test is the monitor, the kernel's programs and the
 * subscribers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <jansson.h>
#include <obs/event.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/worker/loop.h"
#include "tests/unit/worker_feed.h"

enum { RING = 64 << 10, RECORD = 296, WAIT_MS = 3000, OUTPUT_RING_AT = 0, OUTPUT_SAMPLE_AT = 1, OUTPUT_LOST_AT = 2 };

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_clock_gettime(clockid_t clock, struct timespec *now);

/* With the worker. */
static struct shared {
	_Atomic time_t slept_s; /* how long the host slept, which only the clock of the day counts */
	_Atomic unsigned kallsyms_reads;
} * shared;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int bad = __real_clock_gettime(clock, now);

	if (clock == CLOCK_REALTIME && shared)
		now->tv_sec += shared->slept_s;
	return bad;
}

int __wrap_kallsyms_read(int fd, struct kallsyms **out, struct err *e);
int __real_kallsyms_read(int fd, struct kallsyms **out, struct err *e);

int __wrap_kallsyms_read(int fd, struct kallsyms **out, struct err *e)
{
	shared->kallsyms_reads++;
	return __real_kallsyms_read(fd, out, e);
}

struct world {
	int monitor; /* our end */
	int listener, stats_fd, kallsyms_fd;
	struct sockaddr_un address;
	socklen_t address_size;
	struct worker_stats *stats;
	pid_t pid;
	struct feed feed;
};

static void child(const struct world *w, int sock, unsigned max)
{
	const struct worker_config config = {.monitor_fd = sock,
					     .events_fd = w->listener,
					     .stats_fd = w->stats_fd,
					     .kallsyms_fd = w->kallsyms_fd,
					     .max_subscribers = max,
					     .host = "web-1"};
	OWN(worker) struct worker *worker = NULL;
	struct err e = ERR_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (worker_new(&config, &worker, &e) || worker_run(worker, &e)) {
		fprintf(stderr, "worker: %s\n", e.frame[0]);
		worker_free(&worker);
		_exit(e.code == ERR_DAEMON_PROTOCOL ? 3 : 4);
	}
	worker_free(&worker);
	_exit(0);
}

static void start(struct world *w, unsigned max)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	int pair[2], fds[MSG_MAX_FDS];

	assert_int_equal(msg_pair(pair, &e), 0);
	w->pid = fork();
	assert_true(w->pid >= 0);
	if (w->pid == 0) {
		close(pair[0]);
		child(w, pair[1], max);
	}
	close(pair[1]);
	w->monitor = pair[0];
	assert_int_equal(msg_recv(w->monitor, &msg, sizeof(msg), fds, 0, &e), MSG_OK);
	assert_int_equal(msg.op, WORKER_READY);
}

static int ended(struct world *w)
{
	int status;

	assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
	w->pid = 0;
	close(w->monitor);
	w->monitor = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int setup(void **state)
{
	static const char symbols[] = "ffffffff81000000 T _stext\n";
	struct world *w = calloc(1, sizeof(*w));
	struct err e = ERR_INIT;

	/* Abstract, so that nothing is left behind. */
	w->address.sun_family = AF_UNIX;
	snprintf(w->address.sun_path + 1, sizeof(w->address.sun_path) - 1, "obs-worker-test-%d", getpid());
	w->address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(w->address.sun_path + 1));
	w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(w->listener, (struct sockaddr *)&w->address, w->address_size), 0);
	assert_int_equal(listen(w->listener, 16), 0);
	w->stats_fd = memfd_create("stats", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->stats_fd, sizeof(struct worker_stats)), 0);
	w->stats = mmap(NULL, sizeof(struct worker_stats), PROT_READ, MAP_SHARED, w->stats_fd, 0);
	assert_true(w->stats != MAP_FAILED);
	w->feed = (struct feed){.map = -1, .prog = -1, .discard = -1};
	w->monitor = -1;
	assert_int_equal(file_sealed("kallsyms", symbols, sizeof(symbols) - 1, &w->kallsyms_fd, &e), 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	if (w->monitor >= 0)
		close(w->monitor);
	munmap(w->stats, sizeof(struct worker_stats));
	munmap(shared, sizeof(*shared));
	shared = NULL;
	close(w->kallsyms_fd);
	close(w->stats_fd);
	close(w->listener);
	feed_close(&w->feed);
	free(w);
	return 0;
}

static void say(const struct world *w, struct worker_msg msg, int fd)
{
	struct err e = ERR_INIT;

	assert_int_equal(msg_send(w->monitor, &msg, sizeof(msg), &fd, fd >= 0, 0, &e), 0);
}

static void give_manifest(const struct world *w, uint32_t handle, const uint8_t *json, size_t size)
{
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;

	assert_int_equal(file_sealed("manifest", json, size, &fd, &e), 0);
	say(w, (struct worker_msg){.op = WORKER_BUNDLE, .bundle = handle}, fd);
}

static size_t read_manifest(uint8_t **json)
{
	struct err e = ERR_INIT;
	size_t size;

	assert_int_equal(file_read("tests/golden/manifest.json", 1 << 20, ERR_LIMIT, json, &size, &e), 0);
	return size;
}

static void give_bundle(const struct world *w, uint32_t handle)
{
	OWN_FREE uint8_t *json = NULL;
	size_t size = read_manifest(&json);

	give_manifest(w, handle, json, size);
}

static bool give_ring(struct world *w, uint32_t handle)
{
	if (w->feed.map < 0 && !feed_open(&w->feed, RING, RECORD, BPF_RB_NO_WAKEUP))
		return false;
	say(w,
	    (struct worker_msg){
		.op = WORKER_OUTPUT, .bundle = handle, .output = OUTPUT_RING_AT, .ring_bytes = RING, .cpus = 1},
	    w->feed.map);
	return true;
}

static void put(const struct world *w, uint32_t pid, uint32_t id, unsigned times)
{
	uint8_t record[RECORD] = {0};
	struct obs_header header = {.time_ns = 1, .event = id};

	memcpy(record, &header, sizeof(header));
	memcpy(record + 16, &pid, 4);
	memcpy(record + 20, "curl", 4);
	assert_int_equal(feed_put(&w->feed, record, times, false), 0);
}

static int dial(const struct world *w, const char *request)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval most = {.tv_sec = WAIT_MS / 1000};

	assert_int_equal(connect(fd, (const struct sockaddr *)&w->address, w->address_size), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	return fd;
}

/* The next line; NULL at the end. Fails where nothing comes in time. */
static json_t *line_of(int fd)
{
	static char line[64 << 10];
	size_t size = 0;

	for (;;) {
		ssize_t n = recv(fd, line + size, 1, 0);
		if (n < 0)
			fail_msg("no line within %d ms", WAIT_MS);
		if (n == 0)
			return NULL;
		if (line[size++] == '\n')
			break;
	}
	json_error_t where;
	json_t *json = json_loadb(line, size, JSON_REJECT_DUPLICATES, &where);
	if (!json)
		fail_msg("%s in: %.*s", where.text, (int)size, line);
	return json;
}

/* A value by dotted path. */
static json_t *at(json_t *json, const char *path)
{
	char part[64];

	for (;;) {
		size_t size = strcspn(path, ".");
		snprintf(part, sizeof(part), "%.*s", (int)size, path);
		json = json_object_get(json, part);
		if (!path[size])
			return json;
		path += size + 1;
	}
}

static void expect_text(int fd, const char *path, const char *value)
{
	json_t *json = line_of(fd);

	assert_non_null(json);
	if (!json_is_string(at(json, path)) || strcmp(json_string_value(at(json, path)), value) != 0)
		fail_msg("%s is not \"%s\" in %s", path, value, json_dumps(json, 0));
	json_decref(json);
}

static void expect_number(int fd, const char *path, int64_t value)
{
	json_t *json = line_of(fd);

	assert_non_null(json);
	if (!json_is_integer(at(json, path)) || json_integer_value(at(json, path)) != value)
		fail_msg("%s is not %lld in %s", path, (long long)value, json_dumps(json, 0));
	json_decref(json);
}

/* The worker has taken in everything that was said before: a request is answered, which comes after in its loop. */
static void settle(const struct world *w)
{
	int fd = dial(w, "no request\n");

	expect_text(fd, "error.code", "request.invalid");
	assert_null(line_of(fd));
	close(fd);
}

static int subscribe(const struct world *w, const char *request)
{
	uint64_t before = w->stats->subscribers_total;
	int fd = dial(w, request);

	for (int i = 0; i < 100 && w->stats->subscribers_total == before; i++)
		poll(NULL, 0, 10);
	settle(w);
	return fd;
}

static void record_of_a_real_ring_is_streamed_and_goes_on_after_half_close(void **state)
{
	struct world *w = *state;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{\"events\":[\"tcp.*\"]}\n");
	shutdown(fd, SHUT_WR);
	put(w, 4242, 1, 1);
	json_t *json = line_of(fd);
	assert_string_equal(json_string_value(at(json, "event")), "tcp.close");
	assert_string_equal(json_string_value(at(json, "bundle")), "obs/demo");
	assert_int_equal(json_integer_value(at(json, "seq")), 1);
	assert_int_equal(json_integer_value(at(json, "process.pid")), 4242);
	assert_string_equal(json_string_value(at(json, "process.executable.name")), "curl");
	json_decref(json);
	put(w, 4243, 1, 1);
	expect_number(fd, "process.pid", 4243);
	assert_int_equal(w->stats->bundle[7].events, 2);
	assert_int_equal(w->stats->bundle[7].bytes, 2 * RECORD);
	close(fd);
}

static void event_after_a_sleep_of_the_host_has_the_time_of_the_day(void **state)
{
	struct world *w = *state;
	struct timespec mono, real;
	struct tm shown = {0};

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{}\n");
	/* The worker waits, until it looks again by itself. */
	poll(NULL, 0, 250);
	shared->slept_s = 36000;
	put(w, 4242, 1, 1);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &real);
	json_t *json = line_of(fd);
	assert_non_null(strptime(json_string_value(at(json, "time")), "%Y-%m-%dT%H:%M:%S", &shown));
	/* put() stamps records with the first moment of the kernel's clock. */
	assert_in_range(timegm(&shown) - (real.tv_sec - mono.tv_sec) + 60, 0, 120);
	json_decref(json);
	close(fd);
}

static void unknown_event_is_counted_and_told(void **state)
{
	struct world *w = *state;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{}\n");
	put(w, 1, 99, 3);
	json_t *json = line_of(fd);
	assert_string_equal(json_string_value(at(json, "event")), "obs.lost");
	assert_string_equal(json_string_value(at(json, "source")), "parser");
	assert_string_equal(json_string_value(at(json, "bundle")), "obs/demo");
	assert_int_equal(json_integer_value(at(json, "count")), 3);
	json_decref(json);
	assert_int_equal(w->stats->bundle[7].lost[LOSS_PARSER], 3);
	close(fd);
}

/* The ring's room is given back after the line was sent: who kills before gets the line once more. */
static void wait_released(const struct world *w)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const uint64_t *consumer = mmap(NULL, page, PROT_READ, MAP_SHARED, w->feed.map, 0);
	const uint64_t *producer = mmap(NULL, page, PROT_READ, MAP_SHARED, w->feed.map, (off_t)page);

	assert_true(consumer != MAP_FAILED && producer != MAP_FAILED);
	for (int i = 0; i < WAIT_MS / 10 && __atomic_load_n(consumer, __ATOMIC_ACQUIRE) != *producer; i++)
		poll(NULL, 0, 10);
	assert_int_equal(*consumer, *producer);
	munmap((void *)consumer, page);
	munmap((void *)producer, page);
}

static void crash_and_restart_goes_on_with_ring_and_sequence(void **state)
{
	struct world *w = *state;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{}\n");
	put(w, 1, 1, 1);
	expect_number(fd, "seq", 1);
	wait_released(w);
	kill(w->pid, SIGKILL);
	assert_int_equal(ended(w), 100 + SIGKILL);
	close(fd);
	put(w, 2, 1, 2);
	start(w, 0);
	fd = subscribe(w, "{}\n");
	give_bundle(w, 7);
	give_ring(w, 7);
	expect_number(fd, "seq", 2);
	expect_number(fd, "process.pid", 2);
	assert_int_equal(w->stats->sequence, 3);
	close(fd);
}

static int make_sample(uint32_t key_size, uint32_t value_size, uint32_t cpus, uint32_t entries,
		       struct worker_sample **out)
{
	size_t size = sizeof(**out) + (size_t)entries * (key_size + (size_t)cpus * value_size);
	int fd = memfd_create("sample", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	*out = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(*out != MAP_FAILED);
	**out =
	    (struct worker_sample){.entries = entries, .key_size = key_size, .value_size = value_size, .cpus = cpus};
	return fd;
}

static void expect_done(const struct world *w, uint32_t handle, uint32_t output)
{
	struct worker_msg msg;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];
	struct pollfd ready = {.fd = w->monitor, .events = POLLIN};

	assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
	assert_int_equal(msg_recv(w->monitor, &msg, sizeof(msg), fds, 0, &e), MSG_OK);
	assert_int_equal(msg.op, WORKER_OUTPUT_DONE);
	assert_int_equal(msg.bundle, handle);
	assert_int_equal(msg.output, output);
}

static void sample_becomes_events_and_is_given_back(void **state)
{
	struct world *w = *state;
	struct worker_sample *sample;
	int memfd = make_sample(16, 264, 2, 2, &sample);

	start(w, 0);
	give_bundle(w, 7);
	say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_SAMPLE_AT, .cpus = 2}, memfd);
	int fd = subscribe(w, "{}\n");
	/* The first entry has 3 in slot 4 on CPU 0 and 2 on CPU 1; the second is all zero, and the map is cleared. */
	uint64_t *values = (uint64_t *)(sample->data + 16);
	values[4] = 3;
	values[33 + 4] = 2;
	sample->data[0] = 0x20;
	say(w, (struct worker_msg){.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_SAMPLE_AT}, -1);
	expect_done(w, 7, OUTPUT_SAMPLE_AT);
	json_t *json = line_of(fd);
	assert_string_equal(json_string_value(at(json, "event")), "tcp.rtt");
	assert_string_equal(json_string_value(at(json, "network.peer.address")), "2000::");
	assert_int_equal(json_integer_value(at(json, "tcp.rtt.slots.count")), 5);
	json_t *buckets = at(json, "tcp.rtt.slots.buckets");
	assert_int_equal(json_array_size(buckets), 1);
	assert_int_equal(json_integer_value(at(json_array_get(buckets, 0), "le")), 31);
	json_decref(json);
	assert_int_equal(w->stats->sequence, 1);
	close(fd);
	close(memfd);
}

/* A value may hold what differs between machines where nobody sees it: registers, padding. */
static void sample_has_the_sizes_of_the_hosts_architecture(void **state)
{
	struct world *w = *state;
	struct worker_sample *sample;
	OWN_FREE uint8_t *json = NULL;
	size_t size = read_manifest(&json);
	int memfd = make_sample(16, 264, 2, 1, &sample);

	for (uint8_t *object = json; (object = memmem(object, size - (size_t)(object - json), "\"arch\": \"", 9));) {
		object += 9;
		if (strncmp((char *)object, manifest_host_arch(), strlen(manifest_host_arch())) == 0)
			continue;
		uint8_t *rtt = memmem(object, size - (size_t)(object - json), "\"value_size\": 264", 17);
		assert_non_null(rtt);
		memcpy(rtt, "\"value_size\": 400", 17);
	}
	start(w, 0);
	give_manifest(w, 7, json, size);
	say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_SAMPLE_AT, .cpus = 2}, memfd);
	say(w, (struct worker_msg){.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_SAMPLE_AT}, -1);
	expect_done(w, 7, OUTPUT_SAMPLE_AT);
	close(memfd);
}

static void kernel_symbols_are_read_once_for_each_bundle(void **state)
{
	struct world *w = *state;
	struct worker_sample *sample;
	int memfd = make_sample(16, 264, 1, 1, &sample);

	start(w, 0);
	for (uint32_t handle = 7; handle < 9; handle++) {
		give_bundle(w, handle);
		for (uint32_t output = OUTPUT_SAMPLE_AT; output <= OUTPUT_LOST_AT; output++)
			say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = handle, .output = output, .cpus = 1},
			    memfd);
	}
	settle(w);
	assert_int_equal(shared->kallsyms_reads, 2);
	close(memfd);
}

static void drop_counters_are_told_as_deltas_over_a_restart(void **state)
{
	struct world *w = *state;
	struct worker_sample *sample;
	int memfd = make_sample(8, 8, 2, OBS_LOST_COUNT, &sample);
	const struct worker_msg fresh = {.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_LOST_AT};
	struct worker_msg output = {.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_LOST_AT, .cpus = 2};

	for (uint32_t i = 0; i < OBS_LOST_COUNT; i++)
		memcpy(sample->data + i * 24, &i, sizeof(i));
	start(w, 0);
	give_bundle(w, 7);
	say(w, output, memfd);
	int fd = subscribe(w, "{}\n");
	uint64_t *ring = (uint64_t *)(sample->data + OBS_LOST_RING * 24 + 8);
	ring[0] = 10;
	ring[1] = 2;
	say(w, fresh, -1);
	expect_done(w, 7, OUTPUT_LOST_AT);
	expect_number(fd, "count", 12);
	ring[1] = 3;
	say(w, fresh, -1);
	expect_done(w, 7, OUTPUT_LOST_AT);
	expect_number(fd, "count", 1);
	kill(w->pid, SIGKILL);
	ended(w);
	close(fd);

	start(w, 0);
	give_bundle(w, 7);
	say(w, output, memfd);
	fd = subscribe(w, "{}\n");
	ring[1] = 8;
	say(w, fresh, -1);
	expect_done(w, 7, OUTPUT_LOST_AT);
	expect_number(fd, "count", 5);
	close(fd);
	close(memfd);
}

static void losses_that_were_seen_and_not_told_are_told_by_the_next_worker(void **state)
{
	struct world *w = *state;
	struct worker_msg missed = {.op = WORKER_MISSED, .bundle = 7, .count = 3};

	start(w, 0);
	give_bundle(w, 7);
	int fd = subscribe(w, "{}\n");
	say(w, missed, -1);
	expect_number(fd, "count", 3);
	missed.count = 10; /* due a second later */
	say(w, missed, -1);
	settle(w);
	kill(w->pid, SIGKILL);
	ended(w);
	close(fd);

	start(w, 0);
	give_bundle(w, 7);
	fd = subscribe(w, "{}\n");
	say(w, missed, -1);
	expect_number(fd, "count", 7);
	close(fd);
}

static void skipped_runs_are_told_as_deltas_over_a_restart(void **state)
{
	struct world *w = *state;
	struct worker_msg missed = {.op = WORKER_MISSED, .bundle = 7, .count = 3};

	start(w, 0);
	give_bundle(w, 7);
	int fd = subscribe(w, "{}\n");
	say(w, missed, -1);
	json_t *json = line_of(fd);
	assert_string_equal(json_string_value(at(json, "event")), "obs.lost");
	assert_string_equal(json_string_value(at(json, "source")), "missed");
	assert_string_equal(json_string_value(at(json, "bundle")), "obs/demo");
	assert_int_equal(json_integer_value(at(json, "count")), 3);
	json_decref(json);
	/* What is told again is no news. */
	say(w, missed, -1);
	missed.count = 10;
	say(w, missed, -1);
	expect_number(fd, "count", 7);
	kill(w->pid, SIGKILL);
	ended(w);
	close(fd);

	start(w, 0);
	give_bundle(w, 7);
	fd = subscribe(w, "{}\n");
	say(w, missed, -1);
	missed.count = 11;
	say(w, missed, -1);
	expect_number(fd, "count", 1);
	close(fd);
}

static void notice_is_an_event(void **state)
{
	struct world *w = *state;

	start(w, 0);
	int fd = subscribe(w, "{\"events\":[\"obs.bundle\"],\"bundles\":[\"obs/*\"]}\n");
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "other/x", .action = "removed"}, -1);
	say(w,
	    (struct worker_msg){
		.op = WORKER_NOTICE, .name = "obs/x", .action = "refused", .code = "policy.name", .serial = 3},
	    -1);
	json_t *json = line_of(fd);
	assert_string_equal(json_string_value(at(json, "event")), "obs.bundle");
	assert_string_equal(json_string_value(at(json, "bundle")), "obs/x");
	assert_string_equal(json_string_value(at(json, "action")), "refused");
	assert_string_equal(json_string_value(at(json, "code")), "policy.name");
	assert_int_equal(json_integer_value(at(json, "serial")), 3);
	json_decref(json);
	close(fd);
}

static void removed_bundle_frees_its_handle(void **state)
{
	struct world *w = *state;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{}\n");
	put(w, 5, 1, 1);
	say(w, (struct worker_msg){.op = WORKER_REMOVE, .bundle = 7}, -1);
	expect_number(fd, "process.pid", 5); /* what was in the ring still comes */
	give_bundle(w, 7);
	give_ring(w, 7);
	put(w, 6, 1, 1);
	expect_number(fd, "process.pid", 6);
	close(fd);
}

/* Entries of one slot each. */
static int make_counts(uint32_t entries)
{
	struct worker_sample *sample;
	int memfd = make_sample(16, 264, 2, entries, &sample);

	for (uint32_t i = 0; i < entries; i++) {
		uint64_t *values = (uint64_t *)(sample->data + (size_t)i * (16 + 2 * 264) + 16);
		values[i % 8] = 1;
	}
	munmap(sample, sizeof(*sample) + (size_t)entries * (16 + 2 * 264));
	return memfd;
}

static void removed_bundle_is_read_to_its_end_before_what_comes_next(void **state)
{
	struct world *w = *state;
	enum { ENTRIES = 3000, RECORDS = 200 };
	OWN_FD int memfd = make_counts(ENTRIES);

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_SAMPLE_AT, .cpus = 2}, memfd);
	int fd = subscribe(w, "{}\n");
	put(w, 5, 1, RECORDS);
	say(w, (struct worker_msg){.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_SAMPLE_AT}, -1);
	say(w, (struct worker_msg){.op = WORKER_MISSED, .bundle = 7, .count = 4}, -1);
	say(w, (struct worker_msg){.op = WORKER_REMOVE, .bundle = 7}, -1);
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "obs/demo", .action = "removed"}, -1);
	give_bundle(w, 7);
	unsigned records = 0, entries = 0, missed = 0;
	for (bool end = false; !end;) {
		json_t *json = line_of(fd);
		const char *event = json_string_value(at(json, "event"));
		records += strcmp(event, "tcp.close") == 0;
		entries += strcmp(event, "tcp.rtt") == 0;
		missed += strcmp(event, "obs.lost") == 0 ? (unsigned)json_integer_value(at(json, "count")) : 0;
		end = strcmp(event, "obs.bundle") == 0;
		json_decref(json);
	}
	assert_int_equal(records, RECORDS);
	assert_int_equal(entries, ENTRIES);
	assert_int_equal(missed, 4);
	/* The next of that handle has counters of its own. */
	give_ring(w, 7);
	put(w, 6, 1, 1);
	expect_number(fd, "process.pid", 6);
	close(fd);
}

/* As fast as can be: how many lines come before the one with the text. */
static unsigned lines_before(int fd, const char *text)
{
	static char bytes[256 << 10];
	size_t size = 0;
	unsigned lines = 0;

	for (;;) {
		ssize_t n = recv(fd, bytes + size, sizeof(bytes) - size, 0);
		if (n <= 0)
			fail_msg("no \"%s\" behind %u lines", text, lines);
		size += (size_t)n;
		char *line = bytes, *end;
		for (; (end = memchr(line, '\n', size)); line = end + 1) {
			if (memmem(line, (size_t)(end - line), text, strlen(text)))
				return lines;
			lines++;
			size -= (size_t)(end + 1 - line);
		}
		memmove(bytes, line, size);
	}
}

static void removed_bundle_stays_until_a_slow_reader_has_its_history(void **state)
{
	enum { ROUNDS = 20, RECORDS = 200 }; /* more than queue and socket take as lines */
	struct world *w = *state;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int other = subscribe(w, "{\"events\":[\"none\"]}\n"); /* so that the worker looks often */
	for (int i = 0; i < ROUNDS; i++) {
		put(w, 5, 1, RECORDS);
		wait_released(w);
	}
	int fd = subscribe(w, "{\"last\":100000}\n");
	say(w, (struct worker_msg){.op = WORKER_REMOVE, .bundle = 7}, -1);
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "obs/demo", .action = "removed"}, -1);
	settle(w);
	assert_int_equal(lines_before(fd, "\"obs.bundle\""), ROUNDS * RECORDS);
	assert_int_equal(w->stats->bundle[7].lost[LOSS_SUBSCRIBER], 0);
	close(fd);
	close(other);
}

static void stop_finishes_the_sample_and_ends(void **state)
{
	struct world *w = *state;
	enum { ENTRIES = 600 }; /* several turns, and lines that the socket takes without a reader */
	OWN_FD int memfd = make_counts(ENTRIES);

	start(w, 0);
	give_bundle(w, 7);
	say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_SAMPLE_AT, .cpus = 2}, memfd);
	int fd = subscribe(w, "{\"events\":[\"tcp.rtt\"]}\n");
	say(w, (struct worker_msg){.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_SAMPLE_AT}, -1);
	say(w, (struct worker_msg){.op = WORKER_STOP}, -1);
	for (int i = 0; i < ENTRIES; i++)
		expect_text(fd, "event", "tcp.rtt");
	assert_null(line_of(fd));
	assert_int_equal(ended(w), 0);
	close(fd);
}

static void stop_tells_what_sampling_left_out(void **state)
{
	struct world *w = *state;
	int64_t seen = 0, left_out = 0;

	start(w, 0);
	give_bundle(w, 7);
	if (!give_ring(w, 7))
		skip();
	int fd = subscribe(w, "{\"sample\":10}\n");
	put(w, 5, 1, 100);
	wait_released(w);
	for (bool stopped = false;;) {
		json_t *json = line_of(fd);
		if (!json)
			break;
		bool lost = strcmp(json_string_value(at(json, "event")), "obs.lost") == 0;
		left_out += lost ? json_integer_value(at(json, "count")) : 0;
		seen += !lost;
		json_decref(json);
		if (!lost || stopped)
			continue;
		/* Told once: the next time is a second away. */
		put(w, 5, 1, 100);
		wait_released(w);
		say(w, (struct worker_msg){.op = WORKER_STOP}, -1);
		stopped = true;
	}
	assert_int_equal(seen, 20);
	assert_int_equal(left_out, 180);
	assert_int_equal(ended(w), 0);
	close(fd);
}

static void stop_sends_what_is_queued_and_ends(void **state)
{
	struct world *w = *state;

	start(w, 0);
	int fd = subscribe(w, "{}\n");
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "a/b", .action = "installed"}, -1);
	say(w, (struct worker_msg){.op = WORKER_STOP}, -1);
	expect_text(fd, "action", "installed");
	assert_null(line_of(fd));
	assert_int_equal(ended(w), 0);
	close(fd);
}

static void monitor_gone_ends_the_worker(void **state)
{
	struct world *w = *state;

	start(w, 0);
	shutdown(w->monitor, SHUT_RDWR);
	assert_int_equal(ended(w), 4);
}

static void unexpected_message_is_fatal(void **state)
{
	struct world *w = *state;
	const struct worker_msg bad[] = {
	    {.op = 0},
	    {.op = WORKER_READY},
	    {.op = WORKER_OPENED, .pid = 1, .kind = WORKER_OPEN_MAPS},
	    {.op = WORKER_BUNDLE, .bundle = 1}, /* without a descriptor */
	    {.op = WORKER_SAMPLE, .bundle = 1},
	    {.op = WORKER_REMOVE, .bundle = 1},
	    {.op = WORKER_MISSED, .bundle = 1},
	    {.op = 4711},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		start(w, 0);
		say(w, bad[i], -1);
		assert_int_equal(ended(w), 3);
	}
}

static void garbled_sample_is_fatal(void **state)
{
	struct world *w = *state;
	struct worker_sample *sample;
	int memfd = make_sample(16, 264, 2, 2, &sample);

	sample->entries = 1 << 20;
	start(w, 0);
	give_bundle(w, 7);
	say(w, (struct worker_msg){.op = WORKER_OUTPUT, .bundle = 7, .output = OUTPUT_SAMPLE_AT, .cpus = 2}, memfd);
	say(w, (struct worker_msg){.op = WORKER_SAMPLE, .bundle = 7, .output = OUTPUT_SAMPLE_AT}, -1);
	assert_int_equal(ended(w), 3);
	close(memfd);
}

static void malformed_request_gets_one_line_and_the_end(void **state)
{
	struct world *w = *state;
	static const char *const bad[] = {
	    "\n", "[]\n", "{}x\n", "{\"event\":[]}\n", "{\"events\":[]}\n", "{\"sample\":0}\n", "{}\n{}\n",
	};

	start(w, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int fd = dial(w, bad[i]);
		expect_text(fd, "error.code", "request.invalid");
		assert_null(line_of(fd));
		close(fd);
	}
	assert_int_equal(w->stats->subscribers_total, ARRAY_LEN(bad));
}

static void request_without_newline_is_taken_at_the_end_of_input(void **state)
{
	struct world *w = *state;

	start(w, 0);
	int fd = dial(w, "{\"events\":[\"obs.*\"]}");
	shutdown(fd, SHUT_WR);
	settle(w);
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "a/b", .action = "installed"}, -1);
	expect_text(fd, "action", "installed");
	close(fd);
}

static void request_that_is_too_long_is_refused(void **state)
{
	struct world *w = *state;
	OWN_FREE char *request = malloc((64 << 10) + 3);

	memset(request, ' ', (64 << 10) + 1);
	memcpy(request + (64 << 10) + 1, "\n", 2);
	start(w, 0);
	int fd = dial(w, request);
	expect_text(fd, "error.code", "request.too_large");
	assert_null(line_of(fd));
	close(fd);
}

static void half_open_request_times_out(void **state)
{
	struct world *w = *state;
	struct timeval most = {.tv_sec = 10};

	start(w, 0);
	int fd = dial(w, "{\"events\":");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof(most));
	expect_text(fd, "error.code", "request.timeout");
	assert_null(line_of(fd));
	close(fd);
}

static void wait_for_subscribers(const struct world *w, uint64_t count)
{
	for (int i = 0; i < 300 && w->stats->subscribers != count; i++)
		poll(NULL, 0, 10);
	assert_int_equal(w->stats->subscribers, count);
}

static void one_subscriber_too_many_is_told_so(void **state)
{
	struct world *w = *state;
	int first, second, over;

	start(w, 2);
	first = dial(w, "{}\n");
	second = dial(w, "{}\n");
	wait_for_subscribers(w, 2);
	over = dial(w, "{}\n");
	expect_text(over, "error.code", "request.busy");
	assert_null(line_of(over));
	assert_int_equal(w->stats->subscribers_refused, 1);
	close(over);
	close(second);
	wait_for_subscribers(w, 1);
	second = dial(w, "{}\n");
	wait_for_subscribers(w, 2);
	say(w, (struct worker_msg){.op = WORKER_NOTICE, .name = "a/b", .action = "installed"}, -1);
	expect_text(first, "action", "installed");
	expect_text(second, "action", "installed");
	close(first);
	close(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    TEST(record_of_a_real_ring_is_streamed_and_goes_on_after_half_close),
	    TEST(event_after_a_sleep_of_the_host_has_the_time_of_the_day),
	    TEST(unknown_event_is_counted_and_told),
	    TEST(crash_and_restart_goes_on_with_ring_and_sequence),
	    TEST(sample_becomes_events_and_is_given_back),
	    TEST(sample_has_the_sizes_of_the_hosts_architecture),
	    TEST(kernel_symbols_are_read_once_for_each_bundle),
	    TEST(drop_counters_are_told_as_deltas_over_a_restart),
	    TEST(losses_that_were_seen_and_not_told_are_told_by_the_next_worker),
	    TEST(skipped_runs_are_told_as_deltas_over_a_restart),
	    TEST(notice_is_an_event),
	    TEST(removed_bundle_frees_its_handle),
	    TEST(removed_bundle_is_read_to_its_end_before_what_comes_next),
	    TEST(removed_bundle_stays_until_a_slow_reader_has_its_history),
	    TEST(stop_finishes_the_sample_and_ends),
	    TEST(stop_tells_what_sampling_left_out),
	    TEST(stop_sends_what_is_queued_and_ends),
	    TEST(monitor_gone_ends_the_worker),
	    TEST(unexpected_message_is_fatal),
	    TEST(garbled_sample_is_fatal),
	    TEST(malformed_request_gets_one_line_and_the_end),
	    TEST(request_without_newline_is_taken_at_the_end_of_input),
	    TEST(request_that_is_too_long_is_refused),
	    TEST(half_open_request_times_out),
	    TEST(one_subscriber_too_many_is_told_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
