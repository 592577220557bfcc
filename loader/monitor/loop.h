/* A single-threaded epoll loop. One event is taken at a time, so that a handler may remove any source. */
#ifndef OBS_MONITOR_LOOP_H
#define OBS_MONITOR_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "bundles/base/err.h"

struct source {
	int fd;
	void (*ready)(void *ctx, uint32_t events);
	void *ctx;
};

struct loop {
	int epoll_fd;
};

#define LOOP_INIT                                                                                                      \
	{                                                                                                              \
		.epoll_fd = -1                                                                                         \
	}

MUST_CHECK int loop_open(struct loop *loop, struct err *e);
void loop_close(struct loop *loop);
/* source stays the caller's and must outlive its registration. */
MUST_CHECK int loop_add(struct loop *loop, struct source *source, uint32_t events, struct err *e);
MUST_CHECK int loop_change(struct loop *loop, struct source *source, uint32_t events, struct err *e);
void loop_remove(struct loop *loop, const struct source *source);
/* Waits for one event or until timeout_ms (-1: for ever), and handles it. */
MUST_CHECK int loop_wait(struct loop *loop, int timeout_ms, struct err *e);

uint64_t loop_now_ms(void); /* CLOCK_MONOTONIC */

/* The sooner of two moments in ms, where UINT64_MAX is never. */
static inline uint64_t loop_sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When what is done each interval_ms is next due. At multiples of it, so that everything periodic shares its wake-ups, which
 * are most of what an idle daemon costs. */
static inline uint64_t loop_next(uint64_t now_ms, uint64_t interval_ms)
{
	return (now_ms / interval_ms + 1) * interval_ms;
}

#endif
