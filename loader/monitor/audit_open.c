/* What audit.c wrote before, and what a crash or somebody else left of it. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "loader/ipc/log.h"
#include "loader/monitor/audit_impl.h"

static uint64_t file_number(const char *name)
{
	static const char prefix[] = AUDIT_LOG ".";
	const char *digits = name + sizeof(prefix) - 1;

	if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 || strspn(digits, "0123456789") != strlen(digits) ||
	    strlen(digits) < AUDIT_NUMBER_DIGITS || strlen(digits) > 18)
		return 0;
	return strtoull(digits, NULL, 10);
}

/* Lowest and highest number of the files that were put away; 0: there is none. Files below `from` go: a crash left them. */
static int find_files(const struct audit *audit, uint64_t from, uint64_t *lowest, uint64_t *highest, struct err *e)
{
	int fd = openat(audit->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	int rc = 0;

	*lowest = *highest = 0;
	if (!dir) {
		err_errno(e, ERR_STATE_IO, "the state folder");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	while (!rc && (entry = readdir(dir))) {
		uint64_t number = file_number(entry->d_name);
		if (number && number < from && unlinkat(fd, entry->d_name, 0))
			rc = err_errno(e, ERR_STATE_IO, "%s", entry->d_name);
		if (!number || number < from)
			continue;
		*lowest = *lowest && *lowest < number ? *lowest : number;
		*highest = *highest > number ? *highest : number;
	}
	closedir(dir);
	return rc;
}

/* What lies in one file behind the newest line that the mark counts. */
struct tail {
	bool found;          /* that line is here */
	off_t at;            /* behind it */
	uint64_t lines;      /* whole ones after it */
	bool follows;        /* the first of them follows from it */
	struct digest first; /* digest of that one */
	uint64_t count;      /* whole lines of the file */
	struct digest last;  /* of the last whole one */
	off_t end;           /* behind that */
};

static int read_tail(const struct audit *audit, uint64_t file, const struct digest *newest, bool found, struct tail *t,
		     struct err *e)
{
	OWN_AUDIT_WALK struct audit_walk w = {0};
	struct digest prev;
	bool there, more = true;

	*t = (struct tail){.found = found, .last = *newest};
	if (audit_walk_open(audit->dir_fd, file, &w, &there, e))
		return -1;
	while (there) {
		if (audit_walk_next(&w, &more, e))
			return -1;
		if (!more || !w.ended)
			break;
		t->count++;
		t->end += (off_t)w.size + 1;
		t->last = w.digest;
		if (digest_equal(&w.digest, newest)) {
			*t = (struct tail){
			    .found = true, .at = t->end, .count = t->count, .last = t->last, .end = t->end};
		} else if (t->found && t->lines++ == 0) {
			t->follows = audit_walk_prev(&w, &prev) && digest_equal(&prev, newest);
			t->first = w.digest;
		}
	}
	return 0;
}

/* A line of the log about itself. */
static int tell(struct audit *audit, const char *action, const char *verdict, const char *detail, const struct err *why,
		struct err *e)
{
	const struct audit_entry entry = {.action = action, .verdict = verdict, .detail = detail, .err = why};

	return audit_write(audit, &entry, e);
}

static int cut(const struct audit *audit, off_t at, struct err *e)
{
	if (ftruncate(audit->fd, at) || fsync(audit->fd))
		return err_errno(e, ERR_STATE_IO, "cutting %s", AUDIT_LOG);
	return 0;
}

static int add_file(const struct audit *audit, uint64_t file, struct audit_mark *mark, struct tail *t, struct err *e)
{
	if (read_tail(audit, file, &mark->last, false, t, e))
		return -1;
	mark->lines += t->count;
	mark->last = t->last;
	return 0;
}

/* The log is not what the mark says, or there is no mark. The chain goes on from what is there, with a line that says
 * so. */
static int go_on(struct audit *audit, const struct err *why, struct err *e)
{
	struct audit_mark mark = audit->mark;
	struct tail t;

	mark.lines = mark.dropped;
	mark.last = mark.before;
	for (uint64_t file = mark.first; file < audit->next; file++)
		if (add_file(audit, file, &mark, &t, e))
			return -1;
	if (add_file(audit, 0, &mark, &t, e) || cut(audit, t.end, e))
		return -1;
	audit->mark = mark;
	audit->changed = true;
	log_err(LOG_LEVEL_ERROR, why);
	return tell(audit, "broken", "failed", NULL, why, e);
}

/* Without a mark, the oldest line that is there is taken for the beginning. */
static int find_beginning(struct audit *audit, uint64_t lowest, struct err *e)
{
	OWN_AUDIT_WALK struct audit_walk head = {0};
	bool found, more = false;

	audit->mark = (struct audit_mark){.first = lowest ? lowest : audit->next};
	if (audit_walk_open(audit->dir_fd, lowest, &head, &found, e) || (found && audit_walk_next(&head, &more, e)))
		return -1;
	if (more && !audit_walk_prev(&head, &audit->mark.before))
		audit->mark.before = (struct digest){{0}};
	return 0;
}

/* Behind the newest line that counts may lie what a crash left: one line, or a part of one. */
static int mend(struct audit *audit, const struct tail *t, off_t size, struct err *e)
{
	char detail[128];

	if (t->at == size)
		return 0;
	if (t->follows) {
		audit->mark.last = t->first;
		audit->mark.lines++;
		if (cut(audit, t->end, e))
			return -1;
		return tell(audit, "recover", "done",
			    "the line before was written last before a crash: what it tells may not have been done",
			    NULL, e);
	}
	if (cut(audit, t->at, e))
		return -1;
	snprintf(detail, sizeof(detail), "%lld bytes of a line that a crash cut off were removed",
		 (long long)(size - t->at));
	return tell(audit, "recover", "done", detail, NULL, e);
}

static int compare(struct audit *audit, uint64_t highest, struct err *e)
{
	struct digest *newest = &audit->mark.last;
	struct err why = ERR_INIT;
	struct tail t, before = {.last = audit->mark.before};
	struct stat st;

	if (fstat(audit->fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	/* A crash in a rotation leaves the newest line in the file before. */
	if (read_tail(audit, 0, newest, false, &t, e))
		return -1;
	if (!t.found) {
		if (highest && read_tail(audit, highest, newest, false, &before, e))
			return -1;
		if (read_tail(audit, 0, newest, digest_equal(&before.last, newest), &t, e))
			return -1;
	}
	if (t.found && t.lines <= 1)
		return mend(audit, &t, st.st_size, e);
	err_set(&why, ERR_AUDIT_BROKEN,
		t.found ? "audit.log has lines that this daemon did not write"
			: "the newest line is missing: lines were changed or removed");
	return go_on(audit, &why, e);
}

static int begin(struct audit *audit, struct err *e)
{
	audit->mark = (struct audit_mark){.first = 1};
	if (audit_mark_write(audit->dir_fd, &audit->mark, e))
		return -1;
	return tell(audit, "begin", "done", NULL, NULL, e);
}

static int reconcile(struct audit *audit, struct err *e)
{
	struct err why = ERR_INIT;
	uint64_t lowest, highest;
	struct stat st;
	bool marked = false;
	bool unreadable = audit_mark_read(audit->dir_fd, &audit->mark, &marked, &why) != 0;

	if (find_files(audit, marked ? audit->mark.first : 0, &lowest, &highest, e))
		return -1;
	if (fstat(audit->fd, &st))
		return err_errno(e, ERR_STATE_IO, "%s", AUDIT_LOG);
	audit->next = highest ? highest + 1 : marked ? audit->mark.first : 1;
	if (marked)
		return compare(audit, highest, e);
	if (!unreadable && !highest && st.st_size == 0)
		return begin(audit, e);
	if (!unreadable)
		err_set(&why, ERR_AUDIT_BROKEN, "audit.json is missing: nobody can tell whether lines are too");
	return find_beginning(audit, lowest, e) ? -1 : go_on(audit, &why, e);
}

int audit_open(int dir_fd, struct audit *out, struct err *e)
{
	struct audit audit = *out;

	audit.dir_fd = dir_fd;
	if (audit_log_open(&audit, &audit.fd, e))
		return -1;
	if (reconcile(&audit, e)) {
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
