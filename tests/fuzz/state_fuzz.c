/* The daemon's own files as a crash, a full disk or somebody with an editor left them. The first byte says which file it is;
 * what is read is either refused or understood, and what is written after that is whole again. */
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/manifest.h"
#include "loader/ipc/log.h"
#include "loader/monitor/audit.h"
#include "loader/monitor/clock.h"
#include "loader/monitor/revoked.h"
#include "loader/monitor/state.h"
#include "loader/monitor/state_json.h"
#include "tests/fuzz/need.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __wrap_log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void __wrap_log_err(enum log_level level, const struct err *e);

enum { STATE, CLOCK, REVOKED, AUDIT, CHAIN, FILES };

/* What befell a chain of lines that was whole. */
enum { MARK_BEHIND = 1, MARK_GONE = 2, CUT = 4, ROTATED = 8, FIRST_GONE = 16 };

static char folder[] = "/dev/shm/obs-state-fuzz.XXXXXX";
static int dir_fd = -1;

/* A line for each damage, which nobody reads. */
void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

void __wrap_log_err(enum log_level level, const struct err *e)
{
	(void)level, (void)e;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void clean_up(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const void *data, size_t size)
{
	OWN_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	need(fd < 0 || write(fd, data, size) != (ssize_t)size);
}

/* ---- state.json, clock, revoked ---- */

static void fuzz_state(const uint8_t *data, size_t size)
{
	struct state first = STATE_INIT, second = STATE_INIT;
	OWN_FREE char *text = NULL;
	OWN_FREE char *again = NULL;
	struct err e = ERR_INIT;

	put("state.json", data, size);
	if (state_open(folder, &first, &e)) {
		need(e.code != ERR_STATE_VERSION);
		return;
	}
	need(first.damage[0] && first.count);
	need(state_format(&first, &text, &e) || state_parse((uint8_t *)text, strlen(text), &second, &e));
	need(state_format(&second, &again, &e) || strcmp(text, again) != 0);
	state_free(&first);
	state_free(&second);
}

static void fuzz_clock(const uint8_t *data, size_t size)
{
	struct clock c = CLOCK_INIT;
	struct err e = ERR_INIT;
	char text[512];

	put("clock", data, size);
	need(clock_open(dir_fd, &c, &e) || c.newest < 0 || clock_judged(&c) < c.newest);
	clock_text(&c, text, sizeof(text));
}

static void fuzz_revoked(const uint8_t *data, size_t size)
{
	static const struct digest one = {{0xab, 0xcd}};
	struct revoked before = {0}, after = {0};
	struct err e = ERR_INIT;

	put("revoked", data, size);
	if (revoked_read(dir_fd, &before, &e)) {
		need(e.code != ERR_POLICY_MALFORMED);
		return;
	}
	if (revoked_add(dir_fd, &one, "note", &e) == 0) {
		need(revoked_read(dir_fd, &after, &e) || after.count != before.count + 1 ||
		     !revoked_find(&after, &one));
		revoked_free(&after);
		need(revoked_drop(dir_fd, &one, &e) || revoked_read(dir_fd, &after, &e) || revoked_find(&after, &one));
	}
	revoked_free(&before);
	revoked_free(&after);
}

/* ---- audit.log and audit.json ---- */

static int check_install(void *ctx, const struct audit_install *install, struct err *e)
{
	(void)ctx, (void)e;
	need(install->serial < 1 || !manifest_name_valid(install->name));
	return 0;
}

static bool whole(const struct audit *audit)
{
	struct audit_report report;
	OWN_FREE char *entries = NULL;
	struct err e = ERR_INIT;

	need(audit_each_install(audit, check_install, NULL, &e));
	if (audit_verify(audit, &report, &e)) {
		need(e.code != ERR_AUDIT_BROKEN);
		return false;
	}
	/* The chain holds whatever its lines are. */
	if (audit_read(audit, AUDIT_MAX_ENTRIES, &entries, &e)) {
		need(e.code != ERR_AUDIT_BROKEN);
		return true;
	}
	json_t *json = json_loads(entries, 0, NULL);
	need(json_array_size(json_object_get(json, "entries")) != report.lines);
	json_decref(json);
	return true;
}

static void check_audit(void)
{
	const struct audit_entry entry = {.action = "start", .verdict = "done", .name = "a/b", .serial = 1};
	struct err e = ERR_INIT;
	bool was_whole = false;

	/* Opened, and opened again: what was found once is told once, and what was written then is there. */
	for (int i = 0; i < 2; i++) {
		struct audit audit = AUDIT_INIT;
		need(audit_open(dir_fd, &audit, &e));
		need(i && (audit.changed || was_whole != whole(&audit)));
		uint64_t lines = audit.mark.lines;
		was_whole = whole(&audit);
		need(audit_append(&audit, &entry, &e) || audit.mark.lines != lines + 1 || whole(&audit) != was_whole);
		audit_close(&audit);
	}
}

static void clear_audit(void)
{
	static const char *const names[] = {"audit.log", "audit.json", "audit.log.000001", "audit.log.000002"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlinkat(dir_fd, names[i], 0);
}

/* Two bytes of size, audit.json of that size, audit.log. */
static void fuzz_audit(const uint8_t *data, size_t size)
{
	clear_audit();
	if (size < 2)
		return;
	size_t mark = (size_t)data[0] << 8 | data[1];
	if (mark > size - 2)
		mark = size - 2;
	put("audit.json", data + 2, mark);
	put("audit.log", data + 2 + mark, size - 2 - mark);
	check_audit();
}

struct chain {
	FILE *log[2]; /* that was put away, that is written */
	unsigned lines;
	struct digest last, before_last;
};

static void add_line(struct chain *c, int log, const uint8_t *text, size_t size)
{
	char hex[DIGEST_HEX_BYTES];
	OWN_FREE char *line = NULL;
	size_t line_size;
	struct err e = ERR_INIT;
	FILE *f = open_memstream(&line, &line_size);

	need(!f);
	digest_hex(&c->last, hex);
	fprintf(f, "%.*s,\"prev\":\"%s\"}", (int)size, (const char *)text, hex);
	need(fclose(f));
	c->before_last = c->last;
	need(digest_of(line, line_size, &c->last, &e));
	c->lines++;
	need(fprintf(c->log[log], "%s\n", line) < 0);
}

/* What befell it, how many bytes were cut off, and lines without their ends: the digests are put behind them here. */
static void fuzz_chain(const uint8_t *data, size_t size)
{
	char *text[2] = {NULL, NULL};
	size_t text_size[2];
	struct chain c = {0};
	char mark[512], last[DIGEST_HEX_BYTES], zero[DIGEST_HEX_BYTES];

	clear_audit();
	if (size < 2)
		return;
	uint8_t fate = data[0], cut = data[1];
	for (int i = 0; i < 2; i++)
		need(!(c.log[i] = open_memstream(&text[i], &text_size[i])));
	for (size_t at = 2; at < size;) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t length = end ? (size_t)(end - data) - at : size - at;
		add_line(&c, !((fate & ROTATED) && at < size / 2), data + at, length);
		at += length + 1;
	}
	need(fclose(c.log[0]) || fclose(c.log[1]));
	digest_hex(fate & MARK_BEHIND ? &c.before_last : &c.last, last);
	digest_hex(&(struct digest){{0}}, zero);
	snprintf(mark, sizeof(mark),
		 "{\"schema\":1,\"lines\":%u,\"last\":\"%s\",\"first\":1,\"dropped\":0,\"before\":\"%s\"}\n",
		 c.lines - (c.lines && (fate & MARK_BEHIND)), last, zero);
	if (!(fate & MARK_GONE))
		put("audit.json", mark, strlen(mark));
	if ((fate & ROTATED) && !(fate & FIRST_GONE))
		put("audit.log.000001", text[0], text_size[0]);
	put("audit.log", text[1], text_size[1] - (fate & CUT && cut < text_size[1] ? cut : 0));
	free(text[0]);
	free(text[1]);
	check_audit();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (dir_fd < 0) {
		need(!mkdtemp(folder) || atexit(clean_up));
		dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (size < 1)
		return 0;
	switch (data[0] % FILES) {
	case STATE:
		fuzz_state(data + 1, size - 1);
		break;
	case CLOCK:
		fuzz_clock(data + 1, size - 1);
		break;
	case REVOKED:
		fuzz_revoked(data + 1, size - 1);
		break;
	case AUDIT:
		fuzz_audit(data + 1, size - 1);
		break;
	default:
		fuzz_chain(data + 1, size - 1);
		break;
	}
	return 0;
}
