/* Which network interfaces changed, as rtnetlink tells. Only the index is taken from a message; what became of the
 * interface is for the reader to ask. Where messages were lost, or are more than is kept, every interface counts as changed. */
#ifndef OBS_MONITOR_INTERFACES_H
#define OBS_MONITOR_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>

#include "loader/monitor/loop.h"

enum { INTERFACES_QUEUE = 4096 };

struct interfaces {
	struct source source; /* fd -1: closed */
	bool all;             /* more changed than is in the queue; true after interfaces_open */
	int queue[INTERFACES_QUEUE];
	size_t head, count; /* each index at most once */
};

#define INTERFACES_INIT                                                                                                \
	{                                                                                                              \
		.source.fd = -1                                                                                        \
	}

/* i must stay where it is. */
MUST_CHECK int interfaces_open(struct interfaces *i, struct loop *loop, struct err *e);
void interfaces_close(struct interfaces *i);
/* False: the queue is full. */
bool interfaces_add(struct interfaces *i, int index);
/* The next one, or false. */
bool interfaces_next(struct interfaces *i, int *index);
/* Puts every interface that there is into the queue, as far as it goes, and clears all. */
MUST_CHECK int interfaces_list(struct interfaces *i, struct err *e);
/* Takes in what was received at once, less than 2 GiB and aligned as struct nlmsghdr. */
void interfaces_message(struct interfaces *i, const void *message, size_t size);

#endif
