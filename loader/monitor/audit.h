/* <state>/audit.log: one JSON object a line for each decision, each with the SHA-256 of the line before it, so that a
 * changed or missing line shows. Written and on the disk before what it tells takes effect. */
#ifndef OBS_MONITOR_AUDIT_H
#define OBS_MONITOR_AUDIT_H

#include <stdbool.h>
#include <sys/types.h>

#include "bundles/digest.h"
#include "keys/gate.h"

enum { AUDIT_LINE_BYTES = 16384, AUDIT_MAX_ENTRIES = 10000 };

struct audit {
	int fd;
	struct digest last; /* of the newest line, without its newline; all zero: none yet */
};

#define AUDIT_INIT                                                                                                     \
	{                                                                                                              \
		.fd = -1                                                                                               \
	}

struct audit_who {
	bool known; /* false: the daemon itself */
	uid_t uid;
	pid_t pid;
	char comm[64];
};

struct audit_entry {
	const char *action;  /* install, upgrade, remove, verify, trust_add, trust_remove, set, start, adopt, recover */
	const char *verdict; /* done, refused, failed */
	const struct audit_who *who;
	const char *name; /* bundle, or NULL */
	uint64_t serial;  /* 0: not known */
	const struct digest *digest;
	const struct digest *signers;
	size_t signer_count;
	const struct gate_aside *aside; /* signatures that did not count: by whom, and why */
	size_t aside_count;
	const char *detail;    /* free text, or NULL */
	const struct err *err; /* of a refusal or failure, or NULL */
};

/* Opens or makes the log. A last line that a crash cut off is ended and noted. */
MUST_CHECK int audit_open(int dir_fd, struct audit *out, struct err *e);
void audit_close(struct audit *audit);
/* ERR_STATE_IO; then nothing may be done. */
MUST_CHECK int audit_append(struct audit *audit, const struct audit_entry *entry, struct err *e);

/* Checks the whole chain and gives the newest `most` entries as {"entries": [...]}, oldest first; the caller frees
 * *out. ERR_AUDIT_BROKEN names the first line that does not follow from the one before it. */
MUST_CHECK int audit_read(const struct audit *audit, size_t most, char **out, struct err *e);

#endif
