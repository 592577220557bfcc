/* <state>/audit.log: one JSON object a line for each decision, each with the SHA-256 of the line before it, so that a
 * changed, moved or missing line shows. Written and on the disk before what it tells takes effect.
 *
 * Invariants
 * 1. A full audit.log becomes audit.log.NNNNNN (numbers grow), and the chain goes on in the new one. The newest
 *    AUDIT_KEEP of them stay.
 * 2. audit.json holds what the chain cannot: how many lines there are, the newest one's digest, and where the kept ones
 *    begin. It is written after the line, so a crash leaves at most one line that it does not count; it is written before
 *    an old file is removed, so a crash leaves a file that it does not count.
 */
#ifndef OBS_MONITOR_AUDIT_H
#define OBS_MONITOR_AUDIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "bundles/digest.h"
#include "keys/gate.h"
#include "loader/ipc/control.h"

enum { AUDIT_MAX_ENTRIES = CONTROL_AUDIT_MOST, AUDIT_FILE_BYTES = 8 << 20, AUDIT_KEEP = 15 };

/* audit.json */
struct audit_mark {
	uint64_t lines;       /* in all, also those of files that were removed */
	struct digest last;   /* of the newest line, without its newline; all zero: none yet */
	uint64_t first;       /* number of the oldest file that is kept; 1 at the beginning */
	uint64_t dropped;     /* lines before it */
	struct digest before; /* of the last of those; all zero: none */
};

struct audit {
	int dir_fd; /* borrowed */
	int fd;
	off_t file_bytes; /* a longer audit.log is put away */
	uint64_t keep;    /* files that were put away */
	struct audit_mark mark;
	uint64_t next; /* number of the next file to be put away */
	bool changed;  /* audit_open found it other than it was left */
	bool stuck;    /* file and mark may differ: nothing may be done before a restart finds out */
};

#define AUDIT_INIT                                                                                                     \
	{                                                                                                              \
		.dir_fd = -1, .fd = -1, .file_bytes = AUDIT_FILE_BYTES, .keep = AUDIT_KEEP                             \
	}

struct audit_who {
	bool known; /* false: the daemon itself */
	uid_t uid;
	pid_t pid;
	char comm[64];
};

struct audit_entry {
	const char
	    *action; /* install, upgrade, remove, verify, trust_add, trust_remove, set, start, adopt, ...; of the log
			     * itself: begin, rotate, recover, broken */
	const char *verdict; /* done, refused, failed */
	const struct audit_who *who;
	const char *name; /* bundle, or NULL */
	uint64_t serial;  /* 0: not known */
	const struct digest *digest;
	const struct digest *signers;
	size_t signer_count;
	const struct gate_aside *aside; /* signatures that did not count: by whom, and why */
	size_t aside_count;
	int64_t newest_seen;   /* time, where the host's clock is in doubt; 0: it is not */
	const char *detail;    /* free text, or NULL */
	const struct err *err; /* of a refusal or failure, or NULL */
};

/* Opens or makes the log in dir_fd, which must stay open; *out is AUDIT_INIT, maybe with other limits. What a crash left
 * is mended and told by a line "recover"; a log that is not what audit.json says gets a line "broken", which audit_verify
 * finds for as long as it is kept. */
MUST_CHECK int audit_open(int dir_fd, struct audit *out, struct err *e);
void audit_close(struct audit *audit);
/* ERR_STATE_IO; then nothing may be done, and the log is as before. */
MUST_CHECK int audit_append(struct audit *audit, const struct audit_entry *entry, struct err *e);

/* ---- audit_read.c ---- */

struct audit_report {
	uint64_t lines, files; /* that are kept */
	uint64_t recovered;    /* crashes that were mended */
	char since[40];        /* time of the oldest line; "": none */
};

/* Checks every line that is kept. ERR_AUDIT_BROKEN names the first that does not follow from the one before it, that is
 * missing, or that tells of a break. */
MUST_CHECK int audit_verify(const struct audit *audit, struct audit_report *out, struct err *e);
/* The same, and gives the newest `most` entries as {"entries": [...]}, oldest first; the caller frees *out. */
MUST_CHECK int audit_read(const struct audit *audit, size_t most, char **out, struct err *e);

/* An install that the log tells was done. */
struct audit_install {
	const char *name;
	uint64_t serial;
	struct digest digest;
};

/* Calls each() for every line that is kept and tells of an installed bundle, whether the chain holds or not; what cannot be
 * understood is left out. */
MUST_CHECK int audit_each_install(const struct audit *audit,
				  int (*each)(void *ctx, const struct audit_install *install, struct err *e), void *ctx,
				  struct err *e);

#endif
