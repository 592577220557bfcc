#include "loader/monitor/audit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"
#include "bundles/base/text.h"

static const char log_name[] = "audit.log";

static void time_text(char *dst, size_t size)
{
	struct timespec now;
	struct tm tm;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(dst, size, "%s.%06ldZ", seconds, now.tv_nsec / 1000);
}

static void put_text(FILE *f, const char *key, const char *text)
{
	fprintf(f, ",\"%s\":", key);
	text_json(f, text);
}

static void put_aside(FILE *f, const struct audit_entry *entry)
{
	char hex[DIGEST_HEX_BYTES];

	if (entry->aside_count == 0)
		return;
	fputs(",\"aside\":[", f);
	for (size_t i = 0; i < entry->aside_count; i++) {
		digest_hex(&entry->aside[i].signer, hex);
		fprintf(f, "%s{\"signer\":\"%s\",\"code\":\"%s\"}", i ? "," : "", hex, err_name(entry->aside[i].code));
	}
	fputc(']', f);
}

static void put_entry(FILE *f, const struct audit_entry *entry, const char *prev)
{
	char now[64], hex[DIGEST_HEX_BYTES], text[ERR_FRAMES * ERR_FRAME_BYTES];

	time_text(now, sizeof(now));
	fprintf(f, "{\"time\":\"%s\",\"action\":\"%s\",\"verdict\":\"%s\"", now, entry->action, entry->verdict);
	if (entry->err)
		fprintf(f, ",\"code\":\"%s\"", err_name(entry->err->code));
	if (entry->name)
		put_text(f, "bundle", entry->name);
	if (entry->serial)
		fprintf(f, ",\"serial\":%" PRIu64, entry->serial);
	if (entry->digest) {
		digest_hex(entry->digest, hex);
		fprintf(f, ",\"digest\":\"%s\"", hex);
	}
	if (entry->signers) {
		fputs(",\"signers\":[", f);
		for (size_t i = 0; i < entry->signer_count; i++) {
			digest_hex(&entry->signers[i], hex);
			fprintf(f, "%s\"%s\"", i ? "," : "", hex);
		}
		fputc(']', f);
	}
	put_aside(f, entry);
	if (entry->who && entry->who->known) {
		fprintf(f, ",\"uid\":%u,\"pid\":%d", entry->who->uid, entry->who->pid);
		put_text(f, "comm", entry->who->comm);
	}
	if (entry->detail)
		put_text(f, "detail", entry->detail);
	if (entry->err)
		put_text(f, "message", err_text(entry->err, text, sizeof(text)));
	fprintf(f, ",\"prev\":\"%s\"}", prev);
}

int audit_append(struct audit *audit, const struct audit_entry *entry, struct err *e)
{
	OWN_FREE char *line = NULL;
	size_t size = 0;
	char prev[DIGEST_HEX_BYTES];
	struct digest digest;
	struct stat st;
	struct err io = ERR_INIT;
	FILE *f = open_memstream(&line, &size);

	if (!f)
		return err_errno(e, ERR_NOMEM, "audit entry");
	digest_hex(&audit->last, prev);
	put_entry(f, entry, prev);
	if (fclose(f))
		return err_errno(e, ERR_NOMEM, "audit entry");
	if (digest_of(line, size, &digest, e))
		return -1;
	line[size] = '\n'; /* in place of the NUL */
	if (fstat(audit->fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", log_name);
	if (file_write_fd(audit->fd, line, size + 1, &io) || fsync(audit->fd)) {
		errno = io.code == ERR_NONE ? errno : io.errnum;
		err_errno(e, ERR_STATE_IO, "%s", log_name);
		/* Half a line would spoil the next one. */
		if (ftruncate(audit->fd, st.st_size))
			err_wrap(e, "and cutting it back failed too");
		return -1;
	}
	audit->last = digest;
	return 0;
}

/* ---- reading ---- */

struct walk {
	FILE *file;
	char *line;
	size_t room;
	size_t size; /* without the newline */
	bool ended;  /* the newline was there */
	uint64_t number;
};

static void walk_close(struct walk *w)
{
	if (w->file)
		fclose(w->file);
	free(w->line);
}

#define OWN_WALK __attribute__((cleanup(walk_close)))

static int walk_open(const struct audit *audit, struct walk *w, struct err *e)
{
	char path[64];

	/* Another open file: the log's own is for appending. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", audit->fd);
	w->file = fopen(path, "re");
	if (!w->file)
		return err_errno(e, ERR_STATE_IO, "audit.log");
	return 0;
}

static bool walk_next(struct walk *w)
{
	ssize_t n = getline(&w->line, &w->room, w->file);

	if (n <= 0)
		return false;
	w->ended = w->line[n - 1] == '\n';
	if (w->ended)
		w->line[--n] = '\0';
	w->size = (size_t)n;
	w->number++;
	return true;
}

static int open_log(int dir_fd, int *out_fd, struct err *e)
{
	struct stat st;
	OWN_FD int fd = openat(dir_fd, log_name, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || fstat(fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", log_name);
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return err_set(e, ERR_AUDIT_BROKEN, "%s must be a regular file of root, writable for root only",
			       log_name);
	if (fsync(dir_fd))
		return err_errno(e, ERR_STATE_IO, "fsync of the state folder");
	*out_fd = TAKE_FD(fd);
	return 0;
}

int audit_open(int dir_fd, struct audit *out, struct err *e)
{
	struct audit audit = AUDIT_INIT;
	OWN_WALK struct walk w = {0};
	bool cut = false;
	int rc = 0;

	if (open_log(dir_fd, &audit.fd, e))
		return -1;
	rc = walk_open(&audit, &w, e);
	while (!rc && walk_next(&w)) {
		cut = !w.ended;
		rc = digest_of(w.line, w.size, &audit.last, e);
	}
	if (!rc && cut) {
		const struct audit_entry entry = {
		    .action = "recover", .verdict = "done", .detail = "the line before was cut off by a crash"};
		rc = file_write_fd(audit.fd, "\n", 1, e) || audit_append(&audit, &entry, e) ? -1 : 0;
	}
	if (rc) {
		audit_close(&audit);
		return -1;
	}
	*out = audit;
	return 0;
}

void audit_close(struct audit *audit)
{
	if (audit->fd >= 0)
		close(audit->fd);
	audit->fd = -1;
}

static int broken(uint64_t number, const char *what, struct err *e)
{
	return err_set(e, ERR_AUDIT_BROKEN, "audit.log, line %" PRIu64 ": %s", number, what);
}

/* A line that is no JSON may only stand before a "recover". */
static int check_line(const struct walk *w, const struct digest *before, bool *unreadable, json_t **out, struct err *e)
{
	char prev[DIGEST_HEX_BYTES];
	json_auto_t *entry = NULL;
	struct err why = ERR_INIT;

	if (json_read(w->line, w->size, ERR_AUDIT_BROKEN, &entry, &why)) {
		if (why.code == ERR_NOMEM) {
			*e = why;
			return -1;
		}
		if (*unreadable)
			return broken(w->number, "no JSON", e);
		*unreadable = true;
		return 0;
	}
	const char *stated = json_string_value(json_object_get(entry, "prev"));
	const char *action = json_string_value(json_object_get(entry, "action"));
	if (!stated || !action)
		return broken(w->number, "prev or action is missing", e);
	digest_hex(before, prev);
	if (strcmp(stated, prev) != 0)
		return broken(w->number, "does not follow from the line before it", e);
	if (*unreadable && strcmp(action, "recover") != 0)
		return broken(w->number - 1, "no JSON", e);
	*unreadable = false;
	*out = TAKE_PTR(entry);
	return 0;
}

int audit_read(const struct audit *audit, size_t most, char **out, struct err *e)
{
	OWN_WALK struct walk w = {0};
	unsigned long failures = json_failures();
	json_auto_t *root = json_object();
	json_t *entries = json_array();
	struct digest before = {{0}};
	bool unreadable = false;

	json_object_set_new(root, "entries", entries);
	if (most > AUDIT_MAX_ENTRIES)
		most = AUDIT_MAX_ENTRIES;
	if (walk_open(audit, &w, e))
		return -1;
	while (walk_next(&w)) {
		json_auto_t *entry = NULL;
		if (check_line(&w, &before, &unreadable, &entry, e) || digest_of(w.line, w.size, &before, e))
			return -1;
		if (!entry || !most)
			continue;
		if (json_array_size(entries) == most)
			json_array_remove(entries, 0);
		json_array_append(entries, entry);
	}
	if (unreadable)
		return broken(w.number, "no JSON", e);
	/* Lines that were cut off at the end are missed by this process alone, which remembers the newest. */
	if (!digest_equal(&before, &audit->last))
		return broken(w.number, "lines after it are missing", e);
	return json_write(root, JSON_COMPACT, failures, out, e) ? err_wrap(e, "audit entries") : 0;
}
