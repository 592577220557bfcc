#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/json.h"
#include "bundles/manifest.h"
#include "loader/monitor/audit_impl.h"

void audit_walk_close(struct audit_walk *w)
{
	if (w->file)
		fclose(w->file);
	free(w->line);
	*w = (struct audit_walk){0};
}

int audit_walk_open(int dir_fd, uint64_t file, struct audit_walk *w, bool *found, struct err *e)
{
	char name[AUDIT_NAME_BYTES];

	*w = (struct audit_walk){0};
	audit_file_name(file, name);
	OWN_FD int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	*found = fd >= 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, ERR_STATE_IO, "%s", name);
	w->file = fdopen(fd, "r");
	if (!w->file)
		return err_errno(e, ERR_STATE_IO, "%s", name);
	TAKE_FD(fd);
	return 0;
}

int audit_walk_next(struct audit_walk *w, bool *more, struct err *e)
{
	errno = 0;
	ssize_t n = getline(&w->line, &w->room, w->file);

	*more = n > 0;
	if (n <= 0)
		return feof(w->file) ? 0 : err_errno(e, ERR_STATE_IO, "reading the audit log");
	w->ended = w->line[n - 1] == '\n';
	if (w->ended)
		w->line[--n] = '\0';
	w->size = (size_t)n;
	w->number++;
	return digest_of(w->line, w->size, &w->digest, e);
}

bool audit_walk_prev(const struct audit_walk *w, struct digest *out)
{
	static const char key[] = ",\"prev\":\"";
	const size_t tail = sizeof(key) - 1 + DIGEST_HEX_BYTES - 1 + 2;
	char hex[DIGEST_HEX_BYTES];

	if (!w->ended || w->size < tail)
		return false;
	const char *at = w->line + w->size - tail;
	if (memcmp(at, key, sizeof(key) - 1) != 0 || strcmp(w->line + w->size - 2, "\"}") != 0)
		return false;
	memcpy(hex, at + sizeof(key) - 1, DIGEST_HEX_BYTES - 1);
	hex[DIGEST_HEX_BYTES - 1] = '\0';
	return digest_parse(hex, out);
}

/* ---- the whole chain ---- */

struct check {
	const struct audit *audit;
	struct audit_report report;
	struct digest before;
	uint64_t file;   /* being read */
	struct err told; /* of the first line that tells of a break */
	/* the newest entries, where they are wanted */
	json_t *entries;
	size_t most;
};

static int broken(const struct check *c, uint64_t line, const char *what, struct err *e)
{
	char name[AUDIT_NAME_BYTES];

	audit_file_name(c->file, name);
	return err_set(e, ERR_AUDIT_BROKEN, "%s, line %" PRIu64 ": %s", name, line, what);
}

/* The daemon writes time and action first, and both are its own words. */
static bool is_action(const struct audit_walk *w, const char *action)
{
	char head[64];
	int n = snprintf(head, sizeof(head), "Z\",\"action\":\"%s\",", action);
	static const size_t at = sizeof("{\"time\":\"2026-11-22T10:00:00.123456") - 1;

	return w->size > at + (size_t)n && memcmp(w->line + at, head, (size_t)n) == 0;
}

static int take_entry(struct check *c, const struct audit_walk *w, struct err *e)
{
	json_t *entry = NULL;
	struct err why = ERR_INIT;

	if (json_read(w->line, w->size, ERR_AUDIT_BROKEN, &entry, &why)) {
		if (why.code != ERR_NOMEM)
			return broken(c, w->number, "no JSON", e);
		*e = why;
		return -1;
	}
	json_array_append_new(c->entries, entry);
	return 0;
}

static int check_line(struct check *c, const struct audit_walk *w, struct err *e)
{
	const struct audit_mark *mark = &c->audit->mark;
	struct digest prev;

	if (!audit_walk_prev(w, &prev))
		return broken(c, w->number, "it is not a line that the daemon wrote", e);
	if (!digest_equal(&prev, &c->before))
		return broken(c, w->number,
			      "it does not follow from the line before it: one was changed, moved or removed", e);
	if (c->report.lines == 0)
		snprintf(c->report.since, sizeof(c->report.since), "%.27s", w->line + strlen("{\"time\":\""));
	c->report.lines++;
	c->report.recovered += is_action(w, "recover");
	if (c->told.code == ERR_NONE && is_action(w, "broken"))
		broken(c, w->number, "the daemon found then that lines had been changed or removed", &c->told);
	c->before = w->digest;
	if (c->entries && mark->dropped + c->report.lines + c->most > mark->lines)
		return take_entry(c, w, e);
	return 0;
}

static int check_file(struct check *c, struct err *e)
{
	OWN_AUDIT_WALK struct audit_walk w = {0};
	bool found, more = true;

	if (audit_walk_open(c->audit->dir_fd, c->file, &w, &found, e))
		return -1;
	if (!found)
		return broken(c, 1, "the file is missing", e);
	c->report.files++;
	for (;;) {
		if (audit_walk_next(&w, &more, e))
			return -1;
		if (!more)
			return 0;
		if (check_line(c, &w, e))
			return -1;
	}
}

static int check_all(struct check *c, struct err *e)
{
	const struct audit_mark *mark = &c->audit->mark;

	c->before = mark->before;
	for (c->file = mark->first; c->file < c->audit->next; c->file++)
		if (check_file(c, e))
			return -1;
	c->file = 0;
	if (check_file(c, e))
		return -1;
	if (!digest_equal(&c->before, &mark->last) || mark->dropped + c->report.lines != mark->lines)
		return err_set(e, ERR_AUDIT_BROKEN,
			       "%s ends with line %" PRIu64 " of all: %" PRIu64
			       " were written, and the newest is another",
			       AUDIT_LOG, mark->dropped + c->report.lines, mark->lines);
	if (c->told.code == ERR_NONE)
		return 0;
	*e = c->told;
	return -1;
}

int audit_verify(const struct audit *audit, struct audit_report *out, struct err *e)
{
	struct check c = {.audit = audit};

	if (check_all(&c, e))
		return -1;
	*out = c.report;
	return 0;
}

int audit_read(const struct audit *audit, size_t most, char **out, struct err *e)
{
	unsigned long failures = json_failures();
	json_auto_t *root = json_object();
	struct check c = {
	    .audit = audit, .most = most < AUDIT_MAX_ENTRIES ? most : AUDIT_MAX_ENTRIES, .entries = json_array()};

	json_object_set_new(root, "entries", c.entries);
	if (!c.entries)
		return err_set(e, ERR_NOMEM, "audit entries");
	if (check_all(&c, e))
		return -1;
	return json_write(root, JSON_COMPACT, failures, out, e) ? err_wrap(e, "audit entries") : 0;
}

/* ---- what was installed ---- */

/* A dry run has name, serial and digest too. */
static bool tells_install(const json_t *entry)
{
	static const char *const actions[] = {"install", "upgrade", "start", "adopt"};
	const char *action = json_string_value(json_object_get(entry, "action"));
	const char *verdict = json_string_value(json_object_get(entry, "verdict"));

	for (size_t i = 0; action && verdict && i < ARRAY_LEN(actions); i++)
		if (strcmp(action, actions[i]) == 0)
			return strcmp(verdict, "done") == 0;
	return false;
}

static int tell_install(const struct audit_walk *w,
			int (*each)(void *ctx, const struct audit_install *install, struct err *e), void *ctx,
			struct err *e)
{
	struct audit_install install;
	json_auto_t *entry = NULL;
	struct err why = ERR_INIT;

	if (json_read(w->line, w->size, ERR_AUDIT_BROKEN, &entry, &why)) {
		if (why.code != ERR_NOMEM)
			return 0;
		*e = why;
		return -1;
	}
	json_int_t serial = json_integer_value(json_object_get(entry, "serial"));
	const char *digest = json_string_value(json_object_get(entry, "digest"));
	install.name = json_string_value(json_object_get(entry, "bundle"));
	install.serial = (uint64_t)serial;
	if (!tells_install(entry) || serial < 1 || !install.name || !manifest_name_valid(install.name) || !digest ||
	    !digest_parse(digest, &install.digest))
		return 0;
	return each(ctx, &install, e);
}

int audit_each_install(const struct audit *audit,
		       int (*each)(void *ctx, const struct audit_install *install, struct err *e), void *ctx,
		       struct err *e)
{
	for (uint64_t file = audit->mark.first; file <= audit->next; file++) {
		OWN_AUDIT_WALK struct audit_walk w = {0};
		bool more;
		if (audit_walk_open(audit->dir_fd, file < audit->next ? file : 0, &w, &more, e))
			return -1;
		while (more) {
			if (audit_walk_next(&w, &more, e) || (more && tell_install(&w, each, ctx, e)))
				return -1;
		}
	}
	return 0;
}
