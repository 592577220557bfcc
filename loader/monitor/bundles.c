#include "loader/monitor/bundles.h"

#include <string.h>
#include <time.h>

#include "loader/ipc/log.h"
#include "loader/monitor/params.h"
#include "loader/monitor/recover.h"
#include "loader/monitor/trust.h"

enum { OWED_MS = 5000, RETRY_MS = 5000 };

/* ---- audit ---- */

int bundles_audit(struct bundles *b, const struct bundles_request *request, const char *action, const char *verdict,
		  const struct state_bundle *about, const char *detail, const struct err *why, struct err *e)
{
	static const struct digest unknown;
	bool in_doubt = clock_look(b->clock) != CLOCK_RIGHT;
	const struct audit_entry entry = {.action = action,
					  .verdict = verdict,
					  .who = request ? request->who : NULL,
					  .name = about->name[0] ? about->name : NULL,
					  .serial = about->serial,
					  .digest = digest_equal(&about->digest, &unknown) ? NULL : &about->digest,
					  .signers = about->signers,
					  .signer_count = about->signer_count,
					  .aside = b->seen ? b->seen->aside : NULL,
					  .aside_count = b->seen ? b->seen->aside_count : 0,
					  .newest_seen = in_doubt ? b->clock->newest : 0,
					  .detail = detail,
					  .err = why};

	return audit_append(b->audit, &entry, e);
}

bool bundles_trouble(enum err_code code)
{
	/* What the supervisor could not do; and the end of an unpacker, whatever an archive had to do with it, is no judgement. */
	if (code == ERR_DAEMON_FAILED || code == ERR_ARCHIVE_UNPACKER)
		return true;
	/* Exit statuses of system.* and state.*. */
	return err_status(code) == err_status(ERR_IO) || err_status(code) == err_status(ERR_STATE_IO);
}

void bundles_audit_failure(struct bundles *b, const struct bundles_request *request, const char *action,
			   const struct state_bundle *about, const struct err *why)
{
	struct err e = ERR_INIT;

	if (bundles_audit(b, request, action, bundles_trouble(why->code) ? "failed" : "refused", about, NULL, why, &e))
		log_err(LOG_LEVEL_ERROR, &e);
}

/* ---- the set ---- */

/* Kernel bundles keep their host for life, requests end: so progress goes by way of the set. */
static void progress(void *ctx, const char *what, unsigned step, unsigned steps)
{
	const struct bundles *b = ctx;

	if (b->current)
		b->current->progress(b->current->progress_ctx, what, step, steps);
}

void bundles_open(struct bundles *b)
{
	b->host.progress = progress;
	b->host.progress_ctx = b;
}

struct bundle *bundles_find(const struct bundles *b, const char *name)
{
	for (size_t i = 0; i < b->count; i++)
		if (strcmp(b->bundle[i]->name, name) == 0)
			return b->bundle[i];
	return NULL;
}

void bundles_close(struct bundles *b)
{
	while (b->count)
		bundle_free(&b->bundle[--b->count]);
}

/* The disk is full, or was: see bring_up. */
static void pay_audit(struct bundles *b, uint64_t now_ms, uint64_t *next_ms)
{
	bool due = now_ms >= b->owed_ms, owes = false;

	for (size_t i = 0; i < b->count; i++) {
		struct bundle *bundle = b->bundle[i];
		if (bundle->unaudited && due)
			bundle->unaudited =
			    bundles_audit(b, NULL, "adopt", "done", state_find(b->state, bundle->name),
					  "the audit log could not be written at the start", NULL, NULL) != 0;
		owes |= bundle->unaudited;
	}
	if (owes && due)
		b->owed_ms = loop_next(now_ms, OWED_MS);
	if (owes)
		*next_ms = loop_sooner(*next_ms, b->owed_ms);
}

static void try_again(struct bundles *b, struct bundle **bundle)
{
	struct bundle *fresh = NULL;
	struct err e = ERR_INIT;

	if (bundles_bring_up(b, state_find(b->state, (*bundle)->name), &fresh, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		(*bundle)->retry_ms = loop_next(loop_now_ms(), RETRY_MS);
		return;
	}
	bundle_free(bundle);
	*bundle = fresh;
	if (!fresh->verified)
		return;
	bundle_enter(b, fresh);
	b->interfaces.all = true; /* they changed meanwhile */
}

/* One at a turn: it may take as long as an unpacker that does not end, and requests are served in between. */
static void bring_up_waiting(struct bundles *b, uint64_t now_ms, uint64_t *next_ms)
{
	bool tried = false;

	for (size_t i = 0; i < b->count; i++) {
		struct bundle **bundle = &b->bundle[i];
		if ((*bundle)->condition == BUNDLE_WAITING && !tried && now_ms >= (*bundle)->retry_ms) {
			tried = true;
			try_again(b, bundle);
		}
		if ((*bundle)->condition == BUNDLE_WAITING)
			*next_ms = loop_sooner(*next_ms, (*bundle)->retry_ms);
	}
}

void bundles_tick(struct bundles *b, uint64_t now_ms, uint64_t *next_ms)
{
	bring_up_waiting(b, now_ms, next_ms);
	for (size_t i = 0; i < b->count; i++)
		bundle_sample(b, b->bundle[i], now_ms, next_ms);
	pay_audit(b, now_ms, next_ms);
}

void bundles_worker_started(void *ctx)
{
	struct bundles *b = ctx;

	for (size_t i = 0; i < b->count; i++)
		bundle_hand_over(b, b->bundle[i]);
}

void bundles_sample_done(void *ctx, uint32_t handle, uint32_t output)
{
	struct bundles *b = ctx;

	for (size_t i = 0; i < b->count; i++)
		for (size_t k = 0; k < b->bundle[i]->sample_count; k++)
			if (b->bundle[i]->handle == handle && b->bundle[i]->samples[k].output == output)
				b->bundle[i]->samples[k].with_worker = false;
}

/* ---- start ---- */

bool bundles_other_content(const struct digest *known, const struct digest *manifest)
{
	static const struct digest unknown;

	return !digest_equal(known, &unknown) && !digest_equal(known, manifest);
}

/* Step 6 for what is already installed: it must be exactly what state.json says. */
static int check_stored_serial(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e)
{
	const struct state_bundle *stored = ctx;

	if (strcmp(m->name, stored->name) != 0 || m->serial != stored->serial ||
	    bundles_other_content(&stored->digest, manifest))
		return err_set(e, ERR_STATE_CORRUPT, "the stored file is not %s, serial %llu", stored->name,
			       (unsigned long long)stored->serial);
	return 0;
}

int bundles_verify_fd(struct bundles *b, int fd,
		      int (*serial)(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e),
		      void *serial_ctx, struct gate_seen *seen, struct verified_bundle **out, struct err *e)
{
	struct admit admit = b->admit;
	OWN_FD int sealed = -1;
	size_t size;

	admit.installed = true;
	admit.serial = serial;
	admit.serial_ctx = serial_ctx;
	return admit_seal(fd, &sealed, &size, e) || admit_verify(&admit, sealed, out, seen, e) ? -1 : 0;
}

int bundles_verify_stored(struct bundles *b, struct state_bundle *stored, struct gate_seen *seen,
			  struct verified_bundle **out, struct err *e)
{
	OWN_FD int fd = -1;

	if (state_stored(b->state, stored->name, stored->serial, &fd, e) ||
	    bundles_verify_fd(b, fd, check_stored_serial, stored, seen, out, e))
		return err_wrap(e, "stored bundle %s", stored->name);
	return 0;
}

/* What ran all the while goes on where only this host was at fault; else nothing of it is left. */
static void give_up(struct kernel_bundle **kernel, bool adopted, const struct err *why, enum bundle_condition *down)
{
	struct err undo = ERR_INIT;

	if (adopted && bundles_trouble(why->code)) {
		*down = BUNDLE_WAITING;
		kernel_close(kernel);
	} else if (kernel_remove(kernel, &undo)) {
		log_err(LOG_LEVEL_ERROR, &undo);
	}
}

/* What an earlier process left attached, or the programs anew. */
static int adopt_or_attach(struct bundles *b, struct state_bundle *stored, const struct verified_bundle *verified,
			   bool *adopted, struct kernel_bundle **out, enum bundle_condition *down, struct err *e)
{
	struct kernel_bundle *kernel = NULL;

	if (kernel_adopt(&b->host, verified, adopted, &kernel, e)) {
		*down = BUNDLE_WAITING;
		return -1;
	}
	if (!*adopted && (kernel_remove_pins(&b->host, stored->name, stored->serial, e) ||
			  kernel_load(&b->host, verified, &kernel, e)))
		return -1;
	if (bundle_apply_params(kernel, verified_manifest(verified), stored, e) ||
	    (!*adopted && (kernel_attach_again(kernel, e) || kernel_pin(kernel, e)))) {
		give_up(&kernel, *adopted, e, down);
		return -1;
	}
	*out = kernel;
	return 0;
}

/* What is not verified does not run, also when it was running a moment ago. That it could not be looked at is no reason: the
 * gate let it in. */
static int verify_or_drop(struct bundles *b, struct state_bundle *stored, struct gate_seen *seen,
			  struct verified_bundle **out, enum bundle_condition *down, struct err *e)
{
	struct err undo = ERR_INIT;

	if (bundles_verify_stored(b, stored, seen, out, e) == 0)
		return 0;
	if (bundles_trouble(e->code) && e->code != ERR_STATE_CORRUPT)
		*down = BUNDLE_WAITING;
	else if (kernel_remove_pins(&b->host, stored->name, stored->serial, &undo))
		log_err(LOG_LEVEL_ERROR, &undo);
	return -1;
}

static int bring_up(struct bundles *b, struct state_bundle *stored, struct gate_seen *seen, struct bundle **out,
		    enum bundle_condition *down, struct err *e)
{
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct kernel_bundle *kernel = NULL;
	bool adopted = false;

	*down = BUNDLE_REFUSED;
	if (verify_or_drop(b, stored, seen, &verified, down, e))
		return -1;
	/* Of one that was recovered nothing may have been known. */
	stored->digest = *verified_digest(verified);
	if (stored->serial == stored->highest)
		stored->highest_digest = stored->digest;
	*down = BUNDLE_STOPPED;
	if (adopt_or_attach(b, stored, verified, &adopted, &kernel, down, e))
		return -1;
	bool failed = bundle_new(&verified, &kernel, out, e) ||
		      bundles_audit(b, NULL, adopted ? "adopt" : "start", "done", stored, NULL, NULL, e);
	/* What was attached all the while has the line of its install. A disk that is full for an hour must not take it, its maps
	 * and what they counted away: the line that tells of the taking over is owed, and nothing else depends on it. */
	if (failed && *out && adopted) {
		log_err(LOG_LEVEL_ERROR, e);
		(*out)->unaudited = true;
		failed = false;
	}
	if (failed) {
		if (*out)
			kernel = TAKE_PTR((*out)->kernel);
		give_up(&kernel, adopted, e, down);
		bundle_free(out);
		return -1;
	}
	log_line(LOG_LEVEL_INFO, "%s, serial %llu: %s", stored->name, (unsigned long long)stored->serial,
		 adopted ? "programs were attached all the while" : "attached");
	return 0;
}

static void tell_down(struct bundles *b, const struct state_bundle *stored, enum bundle_condition down,
		      const struct err *why)
{
	const struct bundle *before = bundles_find(b, stored->name);

	if (down == BUNDLE_WAITING && before && before->condition == BUNDLE_WAITING)
		return; /* said once */
	log_err(LOG_LEVEL_ERROR, why);
	bundles_audit_failure(b, NULL, "start", stored, why);
	if (down == BUNDLE_WAITING)
		log_line(LOG_LEVEL_ERROR, "%s: is tried again; what of it is attached stays", stored->name);
	else
		bundle_notice(b, stored->name, stored->serial, "refused", why->code);
}

int bundles_bring_up(struct bundles *b, struct state_bundle *stored, struct bundle **out, struct err *e)
{
	enum bundle_condition down;
	struct err why = ERR_INIT;
	struct bundle *bundle = NULL;
	struct gate_seen seen;

	memset(&seen, 0, sizeof(seen));
	b->seen = &seen;
	int rc = bring_up(b, stored, &seen, &bundle, &down, &why);
	if (rc)
		tell_down(b, stored, down, &why);
	b->seen = NULL;
	if (rc && bundle_new_idle(stored->name, down, &why, &bundle, e))
		return -1;
	if (rc && down == BUNDLE_WAITING) {
		bundle->left_pinned = stored->serial;
		bundle->retry_ms = loop_next(loop_now_ms(), RETRY_MS);
	}
	*out = bundle;
	return 0;
}

static int start_one(struct bundles *b, struct state_bundle *stored, struct err *e)
{
	struct bundle *bundle = NULL;

	if (b->count == BUNDLES_MAX)
		return err_set(e, ERR_LIMIT, "more than %d bundles", BUNDLES_MAX);
	if (bundles_bring_up(b, stored, &bundle, e))
		return -1;
	b->bundle[b->count++] = bundle;
	if (bundle->verified)
		bundle_enter(b, bundle);
	return 0;
}

struct pinned {
	char name[STATE_NAME_BYTES];
	uint64_t serial;
};

struct pinned_list {
	const struct state *state;
	struct pinned *item;
	size_t count;
};

static int note_unknown_pin(void *ctx, const char *name, uint64_t serial, struct err *e)
{
	struct pinned_list *list = ctx;
	const struct state_bundle *stored = state_find(list->state, name);

	if (stored && stored->installed && stored->serial == serial)
		return 0;
	struct pinned *grown = reallocarray(list->item, list->count + 1, sizeof(*grown));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "pins");
	list->item = grown;
	snprintf(grown[list->count].name, sizeof(grown->name), "%s", name);
	grown[list->count++].serial = serial;
	return 0;
}

/* Pins that state.json does not name: an install or a remove that a crash cut short. */
static void drop_unknown_pins(struct bundles *b)
{
	struct pinned_list list = {.state = b->state};
	struct err e = ERR_INIT;

	if (kernel_each_pinned(&b->host, note_unknown_pin, &list, &e))
		log_err(LOG_LEVEL_ERROR, &e);
	for (size_t i = 0; i < list.count; i++) {
		struct err failed = ERR_INIT;
		log_line(LOG_LEVEL_NOTICE, "%s, serial %llu: pinned but not installed: removing it", list.item[i].name,
			 (unsigned long long)list.item[i].serial);
		if (kernel_remove_pins(&b->host, list.item[i].name, list.item[i].serial, &failed))
			log_err(LOG_LEVEL_ERROR, &failed);
	}
	free(list.item);
}

int bundles_start(struct bundles *b, struct err *e)
{
	char boot_id[BOOT_ID_BYTES];
	struct err sweep = ERR_INIT, unsaved = ERR_INIT;

	if (state_boot_id(boot_id, e) || recover_state(b, e))
		return -1;
	if (state_sweep(b->state, &sweep) || trust_store_sweep(b->admit.config_dir, &sweep))
		log_err(LOG_LEVEL_WARNING, &sweep);
	drop_unknown_pins(b);
	kernel_forget_interfaces(&b->host);
	for (size_t i = 0; i < b->state->count; i++)
		if (b->state->bundles[i].installed && start_one(b, &b->state->bundles[i], e))
			return -1;
	kernel_sweep(&b->host);
	if (strcmp(boot_id, b->state->boot_id) == 0)
		return 0;
	memcpy(b->state->boot_id, boot_id, sizeof(boot_id));
	/* Nothing depends on it: a full disk is no reason to run nothing. */
	if (state_save(b->state, &unsaved))
		log_err(LOG_LEVEL_WARNING, &unsaved);
	return 0;
}

/* ---- remove ---- */

static void take_out(struct bundles *b, const struct bundle *bundle)
{
	for (size_t i = 0; i < b->count; i++) {
		if (b->bundle[i] == bundle) {
			b->bundle[i] = b->bundle[--b->count];
			return;
		}
	}
}

/* state.json without the bundle; on failure as before. */
static int forget(struct bundles *b, struct state_bundle *stored, struct err *e)
{
	struct state_bundle before = *stored;

	stored->installed = false;
	stored->params = NULL;
	stored->param_count = 0;
	if (state_save(b->state, e)) {
		*stored = before;
		return -1;
	}
	state_bundle_clear(&before);
	return 0;
}

int bundles_remove(struct bundles *b, const struct bundles_request *request, const char *name, uint64_t *out_serial,
		   struct err *e)
{
	struct state_bundle *stored = state_find(b->state, name);
	struct bundle *bundle = bundles_find(b, name);
	int rc = 0;

	if (!stored || !stored->installed || !bundle)
		return err_set(e, ERR_BUNDLE_UNKNOWN, "no bundle %s is installed", name);
	if (bundles_audit(b, request, "remove", "done", stored, NULL, NULL, e))
		return -1;
	if (forget(b, stored, e)) {
		bundles_audit_failure(b, request, "remove", stored, e);
		return -1;
	}
	*out_serial = stored->serial;
	if (bundle_retire(b, bundle, e))
		rc = err_wrap(e, "%s is removed, but not all of it left the kernel", name);
	take_out(b, bundle);
	bundle_free(&bundle);
	if (state_unstore(b->state, name, stored->serial, rc ? NULL : e))
		rc = rc ? rc : err_wrap(e, "%s is removed, but not its file", name);
	bundle_notice(b, name, stored->serial, "removed", ERR_NONE);
	return rc;
}

/* ---- set ---- */

/* text is NULL for none: the default counts. */
static int save_param(struct bundles *b, struct state_bundle *stored, const char *param, const char *text,
		      struct err *e)
{
	const char *before = state_param_get(stored, param);
	OWN_FREE char *copy = before ? strdup(before) : NULL;
	struct err undo = ERR_INIT;

	if (before && !copy)
		return err_errno(e, ERR_NOMEM, "parameter %s", param);
	if (state_param_set(stored, param, text, e) == 0 && state_save(b->state, e) == 0)
		return 0;
	if (state_param_set(stored, param, copy, &undo))
		log_err(LOG_LEVEL_ERROR, &undo);
	return -1;
}

static int change_param(struct bundles *b, const struct bundles_request *request, struct state_bundle *stored,
			struct bundle *bundle, const struct manifest_param *param, const uint8_t *bytes,
			const char *value, const char *previous, struct err *e)
{
	const char *set = state_param_get(stored, param->name);
	OWN_FREE char *before = set ? strdup(set) : NULL, *detail = NULL;
	struct err undo = ERR_INIT;

	if (set && !before)
		return err_errno(e, ERR_NOMEM, "parameter %s", param->name);
	if (asprintf(&detail, "%s=%s, was %s", param->name, value, previous) < 0) {
		detail = NULL;
		return err_errno(e, ERR_NOMEM, "parameter %s", param->name);
	}
	if (bundles_audit(b, request, "set", "done", stored, detail, NULL, e))
		return -1;
	bool saved = save_param(b, stored, param->name, value, e) == 0;
	if (saved && param_apply(bundle->kernel, param, bytes, e) == 0)
		return 0;
	bundles_audit_failure(b, request, "set", stored, e);
	if (saved && save_param(b, stored, param->name, before, &undo))
		log_err(LOG_LEVEL_ERROR, &undo);
	return -1;
}

/* The parameter is in force, whatever comes of this. */
static void look_again(struct bundle *bundle, const char *name, const char *param)
{
	struct err e = ERR_INIT;

	bundle->iterate_ms = 0;
	if (kernel_iterate_again(bundle->kernel, &e)) {
		err_wrap(&e, "%s: after %s was set", name, param);
		log_err(LOG_LEVEL_WARNING, &e);
	}
}

int bundles_set(struct bundles *b, const struct bundles_request *request, const char *name, const char *param,
		const char *text, char *value, char *previous, size_t text_size, struct err *e)
{
	struct state_bundle *stored = state_find(b->state, name);
	struct bundle *bundle = bundles_find(b, name);

	if (!stored || !bundle)
		return err_set(e, ERR_BUNDLE_UNKNOWN, "no bundle %s is installed", name);
	if (!bundle->kernel)
		return err_set(e, ERR_BUNDLE_UNKNOWN, "%s does not run: %s", name, bundle->reason);
	const struct manifest *m = verified_manifest(bundle->verified);
	const struct manifest_param *p = manifest_param_find(m, param);
	if (!p)
		return err_set(e, ERR_PARAMETER_UNKNOWN, "%s has no parameter %s", name, param);
	OWN_FREE uint8_t *bytes = calloc(2, param_bytes(p) + 1);
	if (!bytes)
		return err_errno(e, ERR_NOMEM, "parameter %s", param);
	uint8_t *old = bytes + param_bytes(p) + 1;
	if (param_parse(m, p, text, bytes, e) || param_read(bundle->kernel, p, old, e))
		return err_wrap(e, "%s", name);
	param_format(m, p, bytes, value, text_size);
	param_format(m, p, old, previous, text_size);
	if (change_param(b, request, stored, bundle, p, bytes, value, previous, e))
		return -1;
	look_again(bundle, name, p->name);
	return 0;
}
