/* The time at which certificates are judged: this host's clock, but never before the newest time that it has durably seen,
 * which is in <state>/clock as seconds since the epoch. Whoever sets the clock back makes no certificate valid again.
 *
 * The other way round, a clock that is far ahead for a moment (a battery that is empty, before the time service speaks)
 * must not be remembered for ever: a time more than a day after the newest counts as seen only when the clock has gone on
 * from there for ten minutes without a step. One that was wrong for longer is for an operator: clock_accept. */
#ifndef OBS_MONITOR_CLOCK_H
#define OBS_MONITOR_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

struct clock {
	int dir_fd;           /* borrowed */
	int64_t newest;       /* seconds since the epoch; 0: none yet */
	int64_t offset;       /* of the clock from the time since boot, when it was last set */
	int64_t steady_since; /* time since boot, in seconds */
	uint64_t due_ms;
	bool failed; /* said once */
};

#define CLOCK_INIT                                                                                                     \
	{                                                                                                              \
		.dir_fd = -1                                                                                           \
	}

enum clock_view {
	CLOCK_RIGHT,  /* as far as can be told */
	CLOCK_BEHIND, /* more than five minutes before the newest time: that one counts */
	CLOCK_AHEAD,  /* more than a day after it, and not for ten minutes yet */
};

/* Before anything is written to dir_fd: a clock file that is missing or damaged is taken from when state.json and audit.log
 * were written last. */
MUST_CHECK int clock_open(int dir_fd, struct clock *out, struct err *e);
/* Remembers the time, once an hour; *next_ms is lowered to the next look. */
void clock_tick(struct clock *c, uint64_t now_ms, uint64_t *next_ms);

/* NULL: the host's clock. */
int64_t clock_judged(const struct clock *c);
enum clock_view clock_look(const struct clock *c);
/* What clock_look sees, for people; "" if it is right. */
void clock_text(const struct clock *c, char *dst, size_t size);

/* The host's clock is right, an operator says: what was seen before does not count. */
MUST_CHECK int clock_accept(struct clock *c, struct err *e);

#endif
