#include "loader/monitor/audit_impl.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"

void audit_file_name(uint64_t number, char dst[static AUDIT_NAME_BYTES])
{
	if (number)
		snprintf(dst, AUDIT_NAME_BYTES, AUDIT_LOG ".%0*" PRIu64, AUDIT_NUMBER_DIGITS, number);
	else
		snprintf(dst, AUDIT_NAME_BYTES, "%s", AUDIT_LOG);
}

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
	if (entry->newest_seen) {
		text_time(entry->newest_seen, now);
		put_text(f, "newest_seen", now);
	}
	if (entry->detail)
		put_text(f, "detail", entry->detail);
	if (entry->err)
		put_text(f, "message", err_text(entry->err, text, sizeof(text)));
	fprintf(f, ",\"prev\":\"%s\"}", prev);
}

static int format_line(const struct audit *audit, const struct audit_entry *entry, char **out, size_t *out_size,
		       struct err *e)
{
	OWN_TEXT_STREAM struct text_stream s = {0};
	char prev[DIGEST_HEX_BYTES];

	if (text_stream_open(&s))
		return err_errno(e, ERR_NOMEM, "audit entry");
	digest_hex(&audit->mark.last, prev);
	put_entry(s.f, entry, prev);
	if (text_stream_end(&s, out, out_size))
		return err_errno(e, ERR_NOMEM, "audit entry");
	(*out)[*out_size] = '\n'; /* in place of the NUL */
	return 0;
}

/* Only a rename whose folder could not be synced leaves a new mark behind a failure; on a full disk nothing can be written
 * back, and need not be. */
static int keep_mark(const struct audit *audit)
{
	struct audit_mark found;
	bool there;

	if (audit_mark_read(audit->dir_fd, &found, &there, NULL) == 0 && there && found.lines == audit->mark.lines &&
	    digest_equal(&found.last, &audit->mark.last))
		return 0;
	return audit_mark_write(audit->dir_fd, &audit->mark, NULL);
}

int audit_write(struct audit *audit, const struct audit_entry *entry, struct err *e)
{
	OWN_FREE char *line = NULL;
	size_t size = 0;
	struct audit_mark next = audit->mark;
	struct err io = ERR_INIT;
	struct stat st;

	if (format_line(audit, entry, &line, &size, e) || digest_of(line, size, &next.last, e))
		return -1;
	next.lines++;
	if (fstat(audit->fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	bool written = file_write_fd(audit->fd, line, size + 1, &io) == 0;
	if (written && fsync(audit->fd) == 0 && audit_mark_write(audit->dir_fd, &next, &io) == 0) {
		audit->mark = next;
		return 0;
	}
	errno = io.code == ERR_NONE ? errno : io.errnum;
	err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	/* In this order: a line that the mark does not count is a crash, a mark that counts a line too many looks like a
	 * line that somebody removed. */
	audit->stuck = keep_mark(audit) || ftruncate(audit->fd, st.st_size) || fsync(audit->fd);
	return audit->stuck ? err_wrap(e, "the line may have stayed") : -1;
}

/* ---- rotation ---- */

static int sync_folder(const struct audit *audit, struct err *e)
{
	return fsync(audit->dir_fd) ? err_errno(e, ERR_STATE_IO, "fsync of the state folder") : 0;
}

int audit_log_open(const struct audit *audit, int *out_fd, struct err *e)
{
	struct stat st;
	OWN_FD int fd = openat(audit->dir_fd, AUDIT_LOG, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || fstat(fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		return err_set(e, ERR_AUDIT_BROKEN, "%s must be a regular file of root, writable for root only",
			       AUDIT_LOG);
	if (sync_folder(audit, e))
		return -1;
	*out_fd = TAKE_FD(fd);
	return 0;
}

static int put_away(struct audit *audit, struct err *e)
{
	char name[AUDIT_NAME_BYTES];
	int fd;

	audit_file_name(audit->next, name);
	if (renameat2(audit->dir_fd, AUDIT_LOG, audit->dir_fd, name, RENAME_NOREPLACE))
		return err_errno(e, ERR_STATE_IO, "renaming %s to %s", AUDIT_LOG, name);
	if (audit_log_open(audit, &fd, e)) {
		audit->stuck = renameat(audit->dir_fd, name, audit->dir_fd, AUDIT_LOG) != 0;
		return -1;
	}
	close(audit->fd);
	audit->fd = fd;
	audit->next++;
	return 0;
}

/* The oldest file, first out of the mark. */
static int drop_oldest(struct audit *audit, struct err *e)
{
	OWN_AUDIT_WALK struct audit_walk w = {0};
	struct audit_mark mark = audit->mark;
	char name[AUDIT_NAME_BYTES];
	bool found, more;

	audit_file_name(mark.first, name);
	if (audit_walk_open(audit->dir_fd, mark.first, &w, &found, e))
		return -1;
	if (!found)
		return err_set(e, ERR_AUDIT_BROKEN, "%s is missing", name);
	for (;;) {
		if (audit_walk_next(&w, &more, e))
			return -1;
		if (!more)
			break;
		mark.before = w.digest;
	}
	mark.dropped += w.number;
	mark.first++;
	if (audit_mark_write(audit->dir_fd, &mark, e))
		return -1;
	audit->mark = mark;
	/* One that stays is swept at the next start. */
	if (unlinkat(audit->dir_fd, name, 0))
		return err_errno(e, ERR_STATE_IO, "removing %s", name);
	return 0;
}

static int rotate(struct audit *audit, struct err *e)
{
	char full[AUDIT_NAME_BYTES], gone[AUDIT_NAME_BYTES], detail[256];
	struct err why = ERR_INIT;
	uint64_t number = audit->next, oldest = audit->mark.first, dropped = audit->mark.dropped;

	if (put_away(audit, e))
		return -1;
	audit_file_name(number, full);
	audit_file_name(oldest, gone);
	snprintf(detail, sizeof(detail), "%s is full", full);
	/* Too many files are no reason to refuse what is asked: it is told here, and tried again the next time. */
	if (audit->next - oldest > audit->keep) {
		if (drop_oldest(audit, &why))
			snprintf(detail, sizeof(detail), "%s is full; %s should go, but: %.100s", full, gone,
				 why.frame[0]);
		else
			snprintf(detail, sizeof(detail), "%s is full; %s was removed, %" PRIu64 " lines", full, gone,
				 audit->mark.dropped - dropped);
	}
	const struct audit_entry entry = {.action = "rotate", .verdict = "done", .detail = detail};
	return audit_write(audit, &entry, e);
}

int audit_append(struct audit *audit, const struct audit_entry *entry, struct err *e)
{
	struct stat st;

	if (audit->stuck)
		return err_set(e, ERR_STATE_IO, "%s could not be written a while ago: start the daemon again",
			       AUDIT_LOG);
	if (fstat(audit->fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	if (st.st_size >= audit->file_bytes && rotate(audit, e))
		return err_wrap(e, "rotating the audit log");
	return audit_write(audit, entry, e);
}
