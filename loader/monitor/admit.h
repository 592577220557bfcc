/* The gate on a host, steps 1 to 7: the file is sealed, a child without privileges takes it apart, and gate_verify decides
 * with the trust, policy and memory of this host, read afresh each time. */
#ifndef OBS_MONITOR_ADMIT_H
#define OBS_MONITOR_ADMIT_H

#include "keys/gate.h"
#include "loader/monitor/clock.h"

/* Starts an unpacker that talks over sock and reads file_fd; both stay the caller's. */
struct admit_unpacker {
	int (*spawn)(void *ctx, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e);
	void (*kill)(void *ctx, pid_t pid);
	void *ctx;
	unsigned timeout_ms;
};

struct admit {
	const char *config_dir;
	struct admit_unpacker unpacker;
	const struct clock *clock; /* NULL: the host's */
	bool installed;            /* as struct gate */
	int (*serial)(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e);
	void *serial_ctx;
};

/* Step 1. The file (regular; else ERR_REQUEST_INVALID) is read to its end into a sealed memfd, from its start. */
MUST_CHECK int admit_seal(int fd, int *out_fd, size_t *out_size, struct err *e);

/* Step 2. What the unpacker sends is checked as if an attacker had sent it; it is gone when this returns. */
MUST_CHECK int admit_unpack(const struct admit_unpacker *unpacker, int sealed_fd, struct bundle_files **out,
			    struct err *e);

/* Steps 2 to 7. */
MUST_CHECK int admit_verify(const struct admit *admit, int sealed_fd, struct verified_bundle **out,
			    struct gate_seen *seen, struct err *e);

/* What the host trusts now: <config>/trust.d/(*).pem less what <config>/revoked lists, and <config>/policy.json. */
MUST_CHECK int admit_trust(const char *config_dir, struct trust **trust, struct policy **policy, struct err *e);

#endif
