/* The bundles of this host: installing, upgrading, removing, and what runs of them. At any instant of a crash the host
 * has the old bundle or the new one:
 *
 *   install   store the bytes, load, attach, pin, audit, then state.json (the moment it counts), then undo the old one
 *   remove    audit, state.json, then detach, read a last time, unpin, delete the bytes
 *   start     what state.json names is verified again and adopted or attached; everything else that is found goes
 */
#ifndef OBS_MONITOR_BUNDLES_H
#define OBS_MONITOR_BUNDLES_H

#include "loader/monitor/admit.h"
#include "loader/monitor/audit.h"
#include "loader/monitor/interfaces.h"
#include "loader/monitor/kernel.h"
#include "loader/monitor/sample.h"
#include "loader/monitor/state.h"
#include "loader/monitor/worker.h"

enum { BUNDLES_MAX = 256, BUNDLE_REASON_BYTES = 1024 };

enum bundle_condition {
	BUNDLE_RUNNING,
	BUNDLE_PARTIAL, /* runs without some optional programs */
	BUNDLE_STOPPED, /* stored; the kernel refused it at start */
	BUNDLE_REFUSED, /* stored; the gate refuses it now */
	BUNDLE_WAITING, /* stored; this host could not bring it up, tries again, and left its pins as they were */
};

extern const char *const bundle_condition_names[];

/* An output that the monitor samples. */
struct bundle_sample {
	size_t output; /* index in the manifest */
	struct sampler *sampler;
	uint64_t due_ms;
	bool with_worker; /* the worker is taking it in: the memfd is not ours */
	bool failed;      /* said once */
};

/* One installed name. */
struct bundle {
	char name[STATE_NAME_BYTES];
	enum bundle_condition condition;
	char reason[BUNDLE_REASON_BYTES];
	struct verified_bundle *verified; /* NULL unless it runs */
	/* Whose signatures of what is stored counted when the gate saw them last: not those of verified, once the same content
	 * was installed again with others. None unless it runs. */
	struct cms_signer signers[BUNDLE_MAX_SIGNATURES];
	size_t signer_count;
	int manifest_fd; /* for the worker; -1 unless it runs */
	struct kernel_bundle *kernel;
	uint32_t handle; /* towards the worker */
	bool held;       /* its rings are read when it takes over from the serial before */
	struct bundle_sample *samples;
	size_t sample_count;
	uint64_t iterate_ms; /* next iterator; UINT64_MAX: never */
	uint64_t missed;     /* skipped runs that the worker was told of */
	uint64_t missed_due_ms;
	uint64_t retry_ms;    /* when one that waits is brought up again */
	uint64_t left_pinned; /* serial of one that waits, while its pins may stand; else 0 */
	bool unaudited;       /* taken over while the audit log could not be written: its line is owed */
};

struct bundles_request;

struct bundles {
	struct kernel_host host;
	struct state *state;
	struct audit *audit;
	struct worker *worker;
	struct clock *clock;
	struct admit admit; /* config_dir and unpacker; the rest is set for each use */
	struct bundle *bundle[BUNDLES_MAX];
	size_t count;
	struct interfaces interfaces;
	uint64_t refused_ms; /* when interfaces that refused are asked again */
	uint64_t owed_ms;    /* when lines that are owed to the audit log are tried again */
	uint32_t last_handle;
	const struct bundles_request *current; /* in progress, or NULL */
	const struct gate_seen *seen; /* by the gate, of the install or start in progress, for the audit; or NULL */
};

/* Who asks, and with which right. */
struct bundles_request {
	const struct audit_who *who;
	bool allow_downgrade;
	void (*progress)(void *ctx, const char *what, unsigned step, unsigned steps);
	void *progress_ctx;
};

enum bundles_action { BUNDLES_INSTALLED, BUNDLES_UPGRADED, BUNDLES_ALREADY, BUNDLES_VERIFIED };

/* What install or verify has to show. */
struct bundles_result {
	enum bundles_action action;
	const struct verified_bundle *verified;
	const struct kernel_bundle *kernel;
	/* of a verify: freed by bundles_result_free */
	struct verified_bundle *own_verified;
	struct kernel_bundle *own_kernel;
};

/* After the members down to admit are set; b must stay where it is. */
void bundles_open(struct bundles *b);
/* Reconciles disk, pins and kernel. A bundle that does not come up is no error: its condition says why. */
MUST_CHECK int bundles_start(struct bundles *b, struct err *e);
/* Lets go of everything; what is pinned goes on. */
void bundles_close(struct bundles *b);

MUST_CHECK int bundles_install(struct bundles *b, const struct bundles_request *request, int fd,
			       struct bundles_result *out, struct err *e);
MUST_CHECK int bundles_verify(struct bundles *b, const struct bundles_request *request, int fd,
			      struct bundles_result *out, struct err *e);
void bundles_result_free(struct bundles_result *result);
MUST_CHECK int bundles_remove(struct bundles *b, const struct bundles_request *request, const char *name,
			      uint64_t *out_serial, struct err *e);
/* Changes a parameter of a running bundle and remembers it. Both texts are the value's canonical form. */
MUST_CHECK int bundles_set(struct bundles *b, const struct bundles_request *request, const char *name,
			   const char *param, const char *text, char *value, char *previous, size_t text_size,
			   struct err *e);

/* Brings programs in line with the interfaces that changed, a few at a time; *next_ms as for bundles_tick. */
void bundles_follow(struct bundles *b, uint64_t now_ms, uint64_t *next_ms);

/* Steps 2 to 7 for the stored bytes of what is installed: certificates may have expired since. */
MUST_CHECK int bundles_verify_stored(struct bundles *b, struct state_bundle *stored, struct gate_seen *seen,
				     struct verified_bundle **out, struct err *e);
/* The same for a file, with another step 6. */
MUST_CHECK int bundles_verify_fd(struct bundles *b, int fd,
				 int (*serial)(void *ctx, const struct manifest *m, const struct digest *manifest,
					       struct err *e),
				 void *serial_ctx, struct gate_seen *seen, struct verified_bundle **out, struct err *e);
/* Whether this is another content than the one that is known; none is known of what was recovered without its state. */
bool bundles_other_content(const struct digest *known, const struct digest *manifest);
/* Verifies what is stored, and adopts its pins or attaches it; audited. A bundle that does not come up is no error: it is
 * idle then, and nothing of it is attached; but where this host had trouble, nothing that was attached is touched, and
 * bundles_tick tries again. The caller puts it into the set, and then enters it. */
MUST_CHECK int bundles_bring_up(struct bundles *b, struct state_bundle *stored, struct bundle **out, struct err *e);

/* NULL if no such name is installed. */
struct bundle *bundles_find(const struct bundles *b, const char *name);

/* Samples and iterators that are due, bundles that wait, and lines that the audit log is owed; *next_ms is lowered to the
 * next moment. */
void bundles_tick(struct bundles *b, uint64_t now_ms, uint64_t *next_ms);
/* For struct worker: a fresh worker, and a sample taken in. ctx is struct bundles. */
void bundles_worker_started(void *ctx);
void bundles_sample_done(void *ctx, uint32_t handle, uint32_t output);

/* Writes an audit entry about a bundle; err is NULL where it was done. */
MUST_CHECK int bundles_audit(struct bundles *b, const struct bundles_request *request, const char *action,
			     const char *verdict, const struct state_bundle *about, const char *detail,
			     const struct err *why, struct err *e);
/* Nobody was refused: this host could not, for lack of memory, a process, a file. */
bool bundles_trouble(enum err_code code);
/* The same after a failure, "failed" of trouble and else "refused": what cannot be written is logged. */
void bundles_audit_failure(struct bundles *b, const struct bundles_request *request, const char *action,
			   const struct state_bundle *about, const struct err *why);

/* ---- bundle.c: one bundle while it runs ---- */

/* Applies the remembered parameters, or drops with a log line those that this serial does not take. */
MUST_CHECK int bundle_apply_params(struct kernel_bundle *kernel, const struct manifest *m, struct state_bundle *stored,
				   struct err *e);
/* Takes verified and kernel over on success, and makes samplers. */
MUST_CHECK int bundle_new(struct verified_bundle **verified, struct kernel_bundle **kernel, struct bundle **out,
			  struct err *e);
/* One that does not run, and why. */
MUST_CHECK int bundle_new_idle(const char *name, enum bundle_condition condition, const struct err *why,
			       struct bundle **out, struct err *e);
/* What is pinned goes on. */
void bundle_free(struct bundle **bundle);
/* Gives it a handle and tells the worker. */
void bundle_enter(struct bundles *b, struct bundle *bundle);
/* Takes it out of the kernel, also one that waits, and away from the worker, which gets what maps and rings held at the end.
 * Within five seconds, also where no worker runs: what is lost then is logged. It must still be in the set, so that a worker
 * that starts meanwhile knows of it. Goes on over errors. */
MUST_CHECK int bundle_retire(struct bundles *b, struct bundle *bundle, struct err *e);
void bundle_note_signers(struct bundle *bundle, const struct verified_bundle *verified);
/* It runs, and this is the digest of its manifest, or a key in the chain of a signature that counted when the gate saw it
 * last. What trust.d holds may have changed since, so that the gate would find it to be so now where this says no. */
bool bundle_part_of(const struct bundle *bundle, const struct digest *identity);
/* Retires one that the gate refuses now; it stays in the set, idle, whatever fails. */
MUST_CHECK int bundle_refuse(struct bundles *b, struct bundle *bundle, const struct err *why, struct err *e);
void bundle_hand_over(const struct bundles *b, struct bundle *bundle);
void bundle_sample(struct bundles *b, struct bundle *bundle, uint64_t now_ms, uint64_t *next_ms);
/* An obs.bundle event: "installed", "removed", "refused", "upgraded". */
void bundle_notice(const struct bundles *b, const char *name, uint64_t serial, const char *action, enum err_code code);

#endif
