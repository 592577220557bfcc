/* Between the files of audit.h. */
#ifndef OBS_MONITOR_AUDIT_IMPL_H
#define OBS_MONITOR_AUDIT_IMPL_H

#include "loader/monitor/audit.h"

enum { AUDIT_NAME_BYTES = 40, AUDIT_NUMBER_DIGITS = 6 };

#define AUDIT_LOG "audit.log"

/* "audit.log.000007"; number 0 is audit.log itself. */
void audit_file_name(uint64_t number, char dst[static AUDIT_NAME_BYTES]);

/* Opens audit.log, makes it if there is none. */
MUST_CHECK int audit_log_open(const struct audit *audit, int *out_fd, struct err *e);
/* Line, then mark, without a look at the size. If either fails both are as before; if that cannot be had, audit is stuck:
 * only a restart can tell what is. */
MUST_CHECK int audit_write(struct audit *audit, const struct audit_entry *entry, struct err *e);

/* *found is false if there is none. ERR_AUDIT_BROKEN if it cannot be understood. */
MUST_CHECK int audit_mark_read(int dir_fd, struct audit_mark *out, bool *found, struct err *e);
MUST_CHECK int audit_mark_write(int dir_fd, const struct audit_mark *mark, struct err *e);

/* One file, line by line. */
struct audit_walk {
	FILE *file;
	char *line;
	size_t room;
	size_t size; /* without the newline */
	bool ended;  /* the newline was there */
	uint64_t number;
	struct digest digest;
};

#define OWN_AUDIT_WALK __attribute__((cleanup(audit_walk_close)))

/* *found is false if there is no such file. */
MUST_CHECK int audit_walk_open(int dir_fd, uint64_t file, struct audit_walk *w, bool *found, struct err *e);
void audit_walk_close(struct audit_walk *w);
/* *more is false at the end. */
MUST_CHECK int audit_walk_next(struct audit_walk *w, bool *more, struct err *e);
/* The digest that the line says it follows from; false if it does not end as lines do. */
bool audit_walk_prev(const struct audit_walk *w, struct digest *out);

#endif
