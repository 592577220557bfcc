#include "loader/monitor/clock.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "loader/ipc/log.h"

enum {
	SLACK_S = 300, /* time services step a clock back by less */
	STEP_S = 60,
	STEADY_S = 600,
	DAY_S = 86400,
	WRITE_S = 3600,
	LOOK_MS = 60000,
	FILE_MAX_BYTES = 32,
};

#define TIME_MOST INT64_C(253402300799) /* the year 9999 */

static const char file_name[] = "clock";

static int64_t seconds_of(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec;
}

static int64_t host_now(void)
{
	return seconds_of(CLOCK_REALTIME);
}

static int read_file(struct clock *c, struct err *e)
{
	OWN_FREE uint8_t *text = NULL;
	OWN_FD int fd = openat(c->dir_fd, file_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *end;
	size_t size;

	if (fd < 0)
		return err_errno(e, errno == ENOENT ? ERR_STATE_CORRUPT : ERR_STATE_IO, "%s", file_name);
	if (file_read_fd(fd, FILE_MAX_BYTES, ERR_STATE_CORRUPT, &text, &size, e))
		return -1;
	long long newest = strtoll((char *)text, &end, 10);
	if (newest <= 0 || newest > TIME_MOST || strcmp(end, "\n") != 0)
		return err_set(e, ERR_STATE_CORRUPT, "%s: seconds since the epoch are due", file_name);
	c->newest = newest;
	return 0;
}

static int64_t written_last(int dir_fd)
{
	static const char *const names[] = {"state.json", "audit.log"};
	int64_t newest = 0;
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (fstatat(dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime > newest &&
		    st.st_mtime <= TIME_MOST)
			newest = st.st_mtime;
	return newest;
}

int clock_open(int dir_fd, struct clock *out, struct err *e)
{
	struct clock c = {.dir_fd = dir_fd, .steady_since = seconds_of(CLOCK_BOOTTIME)};
	struct err why = ERR_INIT;

	c.offset = host_now() - c.steady_since;
	if (read_file(&c, &why)) {
		if (why.code != ERR_STATE_CORRUPT) {
			if (e)
				*e = why;
			return -1;
		}
		c.newest = written_last(dir_fd);
		if (why.errnum != ENOENT)
			log_err(LOG_LEVEL_WARNING, &why);
	}
	*out = c;
	return 0;
}

static bool stepped(const struct clock *c, int64_t now, int64_t boot)
{
	int64_t step = now - boot - c->offset;

	return step > STEP_S || step < -STEP_S;
}

static bool steady(const struct clock *c, int64_t now, int64_t boot)
{
	return !stepped(c, now, boot) && boot - c->steady_since >= STEADY_S;
}

/* Ahead by so much that it may be a mistake, and not for long enough to be believed. */
static bool unsettled(const struct clock *c, int64_t now, int64_t boot)
{
	return now - c->newest > DAY_S && !steady(c, now, boot);
}

static int write_down(struct clock *c, int64_t now, struct err *e)
{
	char text[FILE_MAX_BYTES];
	int n = snprintf(text, sizeof(text), "%" PRId64 "\n", now);

	if (file_replace_at(c->dir_fd, file_name, text, (size_t)n, 0600, e)) {
		if (e)
			e->code = ERR_STATE_IO;
		return -1;
	}
	c->newest = now;
	return 0;
}

void clock_tick(struct clock *c, uint64_t now_ms, uint64_t *next_ms)
{
	struct err e = ERR_INIT;

	if (now_ms >= c->due_ms) {
		int64_t now = host_now(), boot = seconds_of(CLOCK_BOOTTIME);
		if (stepped(c, now, boot)) {
			c->offset = now - boot;
			c->steady_since = boot;
		}
		bool due = now - c->newest >= WRITE_S && now <= TIME_MOST && !unsettled(c, now, boot);
		bool failed = due && write_down(c, now, &e);
		if (failed && !c->failed)
			log_err(LOG_LEVEL_ERROR, &e);
		c->failed = failed;
		c->due_ms = now_ms + LOOK_MS;
	}
	if (c->due_ms < *next_ms)
		*next_ms = c->due_ms;
}

int64_t clock_judged(const struct clock *c)
{
	int64_t now = host_now();

	return c && c->newest > now ? c->newest : now;
}

enum clock_view clock_look(const struct clock *c)
{
	int64_t now = host_now();

	if (c->newest - now > SLACK_S)
		return CLOCK_BEHIND;
	return c->newest && unsettled(c, now, seconds_of(CLOCK_BOOTTIME)) ? CLOCK_AHEAD : CLOCK_RIGHT;
}

void clock_text(const struct clock *c, char *dst, size_t size)
{
	char now[TEXT_TIME_BYTES], newest[TEXT_TIME_BYTES];

	text_time(host_now(), now);
	text_time(c->newest, newest);
	switch (clock_look(c)) {
	case CLOCK_RIGHT:
		dst[0] = '\0';
		break;
	case CLOCK_BEHIND:
		snprintf(dst, size,
			 "this host's clock says %s, but it has seen %s already, at which certificates are judged", now,
			 newest);
		break;
	case CLOCK_AHEAD:
		snprintf(dst, size, "this host's clock says %s, more than a day after the newest time seen here, %s",
			 now, newest);
		break;
	}
}

int clock_accept(struct clock *c, struct err *e)
{
	return write_down(c, host_now(), e);
}
