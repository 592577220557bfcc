#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "loader/ipc/log.h"
#include "loader/monitor/bundles.h"

/* ---- gate ---- */

struct serial_check {
	const struct state *state;
	bool allow_downgrade;
};

/* Step 6. */
static int check_serial(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e)
{
	const struct serial_check *check = ctx;
	const struct state_bundle *known = state_find(check->state, m->name);
	unsigned long long serial = m->serial;

	if (!known)
		return 0;
	if (m->serial < known->highest && !check->allow_downgrade)
		return err_set(e, ERR_SERIAL_DOWNGRADE, "%s: serial %llu is below %llu, the highest that was installed",
			       m->name, serial, (unsigned long long)known->highest);
	/* One serial stands for one content, for ever. */
	if ((m->serial == known->highest && bundles_other_content(&known->highest_digest, manifest)) ||
	    (known->installed && m->serial == known->serial && bundles_other_content(&known->digest, manifest)))
		return err_set(e, ERR_SERIAL_REUSED, "%s: serial %llu was installed with other content", m->name,
			       serial);
	return 0;
}

/* What the gate had seen when it refused, for the audit log. */
static void about_seen(const struct gate_seen *seen, struct state_bundle *about)
{
	memset(about, 0, sizeof(*about));
	snprintf(about->name, sizeof(about->name), "%s", seen->name);
	about->serial = seen->serial;
	about->digest = seen->manifest;
	for (size_t i = 0; i < seen->signer_count && i < ARRAY_LEN(about->signers); i++)
		about->signers[about->signer_count++] = seen->signers[i].signer;
}

static int pass_gate(struct bundles *b, const struct bundles_request *request, int fd, const char *action, int *sealed,
		     size_t *size, struct gate_seen *seen, struct verified_bundle **out, struct err *e)
{
	struct serial_check check = {.state = b->state, .allow_downgrade = request->allow_downgrade};
	struct admit admit = b->admit;
	struct state_bundle about;

	memset(seen, 0, sizeof(*seen));
	admit.installed = false;
	admit.serial = check_serial;
	admit.serial_ctx = &check;
	request->progress(request->progress_ctx, "checking", 0, 0);
	if (admit_seal(fd, sealed, size, e) == 0 && admit_verify(&admit, *sealed, out, seen, e) == 0)
		return 0;
	about_seen(seen, &about);
	b->seen = seen;
	bundles_audit_failure(b, request, action, &about, e);
	b->seen = NULL;
	return -1;
}

/* ---- install ---- */

struct installation {
	struct bundles *b;
	const struct bundles_request *request;
	struct verified_bundle *verified;
	struct kernel_bundle *kernel;
	struct state_bundle next; /* what state.json will say */
	struct bundle *fresh, *old;
	const uint8_t *tar;
	size_t size;
};

static int describe(struct installation *i, struct err *e)
{
	const struct manifest *m = verified_manifest(i->verified);
	const struct state_bundle *known = state_find(i->b->state, m->name);
	const struct cms_signer *signers;
	struct state_bundle *next = &i->next;
	size_t count = verified_signers(i->verified, &signers);

	if (known && state_bundle_copy(known, next, e))
		return -1;
	snprintf(next->name, sizeof(next->name), "%s", m->name);
	next->installed = true;
	next->serial = m->serial;
	next->digest = *verified_digest(i->verified);
	snprintf(next->version, sizeof(next->version), "%s", m->version);
	next->installed_at = time(NULL);
	next->signer_count = 0;
	for (size_t k = 0; k < count && k < ARRAY_LEN(next->signers); k++)
		next->signers[next->signer_count++] = signers[k].signer;
	if (m->serial >= next->highest) {
		next->highest = m->serial;
		next->highest_digest = next->digest;
	}
	return 0;
}

/* Everything beside the old serial, which still runs. */
static int build_up(struct installation *i, struct err *e)
{
	const struct manifest *m = verified_manifest(i->verified);

	if (!i->old && i->b->count == BUNDLES_MAX)
		return err_set(e, ERR_LIMIT, "more than %d bundles", BUNDLES_MAX);
	/* What an earlier change could not remove would be in the way of the new pins. */
	if (kernel_remove_pins(&i->b->host, m->name, m->serial, e))
		return -1;
	if (i->old && i->old->left_pinned == m->serial)
		i->old->left_pinned = 0;
	if (state_store(i->b->state, m->name, m->serial, i->tar, i->size, e) ||
	    kernel_load(&i->b->host, i->verified, &i->kernel, e) || bundle_apply_params(i->kernel, m, &i->next, e) ||
	    kernel_attach_beside(i->kernel, i->old ? i->old->kernel : NULL, e) || kernel_pin(i->kernel, e) ||
	    bundle_new(&i->verified, &i->kernel, &i->fresh, e))
		return -1;
	/* Last: what the new one counted is lost if anything fails from here on. */
	return kernel_take_over(i->fresh->kernel, e);
}

static void tear_down(struct installation *i)
{
	const struct state_bundle *known = state_find(i->b->state, i->next.name);
	struct err e = ERR_INIT;

	if (i->fresh)
		i->kernel = TAKE_PTR(i->fresh->kernel);
	if (i->kernel && kernel_remove(&i->kernel, &e))
		log_err(LOG_LEVEL_ERROR, &e);
	kernel_sweep(&i->b->host);
	bundle_free(&i->fresh);
	/* Links that were swapped run the old program again; should one not, it is seen now and attached anew. */
	i->b->interfaces.all = true;
	if (!(known && known->installed && known->serial == i->next.serial) &&
	    state_unstore(i->b->state, i->next.name, i->next.serial, &e))
		log_err(LOG_LEVEL_ERROR, &e);
}

/* The moment from which on the new serial counts. On failure state is as before. */
static int commit(struct installation *i, struct err *e)
{
	struct state_bundle *stored;
	bool known = state_find(i->b->state, i->next.name) != NULL;

	if (state_add(i->b->state, i->next.name, &stored, e))
		return -1;
	struct state_bundle before = *stored;
	*stored = i->next;
	if (state_save(i->b->state, e)) {
		*stored = before;
		if (!known)
			i->b->state->count--; /* it was added last */
		return -1;
	}
	state_bundle_clear(&before);
	i->next.params = NULL;
	i->next.param_count = 0;
	return 0;
}

/* While both serials are attached, each event is seen by both: the worker tells those of before one instant from the old one,
 * and those of after it from the new. False: it could not be so, and what both see comes twice. */
static bool take_over(struct installation *i)
{
	struct worker *w = i->b->worker;

	if (!i->old->kernel || !i->old->handle || !w->ready || kernel_has_taken_over(i->fresh->kernel))
		return false;
	i->fresh->held = true;
	bundle_enter(i->b, i->fresh);
	i->fresh->held = false;
	return worker_cut(w, i->old->handle, i->fresh->handle);
}

/* From here on only what is left of the old serial can fail, which a restart clears away. */
static void swap(struct installation *i, uint64_t old_serial)
{
	struct bundles *b = i->b;
	struct err e = ERR_INIT;

	unsigned life = b->worker->restarts;
	bool entered = i->old && take_over(i);
	kernel_settle(i->fresh->kernel);
	if (!i->old) {
		b->bundle[b->count++] = i->fresh;
		bundle_enter(b, i->fresh);
		return;
	}
	if (bundle_retire(b, i->old, &e))
		log_err(LOG_LEVEL_ERROR, &e);
	for (size_t k = 0; k < b->count; k++)
		if (b->bundle[k] == i->old)
			b->bundle[k] = i->fresh;
	/* A worker that was started meanwhile knows the old one only. */
	if (!entered || b->worker->restarts != life)
		bundle_enter(b, i->fresh);
	bundle_free(&i->old);
	if (old_serial != i->next.serial && state_unstore(b->state, i->next.name, old_serial, &e))
		log_err(LOG_LEVEL_ERROR, &e);
}

static int put_in_place(struct installation *i, const char *action, struct err *e)
{
	struct err undo;

	if (build_up(i, e) == 0) {
		if (bundles_audit(i->b, i->request, action, "done", &i->next, NULL, NULL, e) == 0 && commit(i, e) == 0)
			return 0;
	}
	undo = *e;
	tear_down(i);
	*e = undo;
	bundles_audit_failure(i->b, i->request, action, &i->next, e);
	bundle_notice(i->b, i->next.name, i->next.serial, "refused", e->code);
	return -1;
}

/* The same content runs: only its signatures may be others, which count when it is verified again. */
static int already(struct installation *i, struct err *e)
{
	const struct manifest *m = verified_manifest(i->verified);

	if (bundles_audit(i->b, i->request, "install", "done", &i->next, "already installed", NULL, e))
		return -1;
	if (state_store(i->b->state, m->name, m->serial, i->tar, i->size, e) == 0) {
		/* A revocation judges the stored bytes, whether state.json can name who signed them or not. */
		bundle_note_signers(i->old, i->verified);
		if (commit(i, e) == 0)
			return 0;
	}
	bundles_audit_failure(i->b, i->request, "install", &i->next, e);
	return -1;
}

static int install_verified(struct installation *i, struct bundles_result *out, struct err *e)
{
	const struct state_bundle *known = state_find(i->b->state, verified_manifest(i->verified)->name);
	uint64_t old_serial = known && known->installed ? known->serial : 0;

	i->old = bundles_find(i->b, verified_manifest(i->verified)->name);
	if (describe(i, e))
		return -1;
	if (known && i->old && i->old->kernel && old_serial == i->next.serial) {
		i->next.installed_at = known->installed_at;
		if (already(i, e))
			return -1;
		*out = (struct bundles_result){
		    .action = BUNDLES_ALREADY, .verified = i->old->verified, .kernel = i->old->kernel};
		return 0;
	}
	bool upgrade = i->old && old_serial != i->next.serial;
	if (put_in_place(i, upgrade ? "upgrade" : "install", e))
		return -1;
	struct bundle *fresh = i->fresh;
	swap(i, old_serial);
	i->fresh = NULL;
	bundle_notice(i->b, fresh->name, i->next.serial, upgrade ? "upgraded" : "installed", ERR_NONE);
	log_line(LOG_LEVEL_INFO, "%s, serial %llu: %s", fresh->name, (unsigned long long)i->next.serial,
		 upgrade ? "upgraded" : "installed");
	*out = (struct bundles_result){.action = upgrade ? BUNDLES_UPGRADED : BUNDLES_INSTALLED,
				       .verified = fresh->verified,
				       .kernel = fresh->kernel};
	return 0;
}

int bundles_install(struct bundles *b, const struct bundles_request *request, int fd, struct bundles_result *out,
		    struct err *e)
{
	struct installation i = {.b = b, .request = request};
	struct gate_seen seen;
	OWN_FD int sealed = -1;
	int rc = -1;

	if (pass_gate(b, request, fd, "install", &sealed, &i.size, &seen, &i.verified, e)) {
		bundle_notice(b, seen.name, seen.serial, "refused", e->code);
		return -1;
	}
	i.tar = mmap(NULL, i.size, PROT_READ, MAP_PRIVATE, sealed, 0);
	if (i.tar == MAP_FAILED) {
		err_errno(e, ERR_NOMEM, "mapping %zu bytes", i.size);
	} else {
		b->current = request;
		b->seen = &seen;
		rc = install_verified(&i, out, e);
		b->seen = NULL;
		b->current = NULL;
		munmap((void *)(uintptr_t)i.tar, i.size);
	}
	state_bundle_clear(&i.next);
	verified_bundle_free(&i.verified);
	return rc;
}

/* ---- verify ---- */

/* The kernel's word on what the gate let through, and the line about both. */
static int judge_load(struct bundles *b, const struct bundles_request *request, const struct verified_bundle *verified,
		      const struct gate_seen *seen, struct kernel_bundle **kernel, struct err *e)
{
	struct state_bundle about;
	int rc;

	about_seen(seen, &about);
	b->seen = seen;
	if (kernel_load(&b->host, verified, kernel, e)) {
		bundles_audit_failure(b, request, "verify", &about, e);
		rc = -1;
	} else {
		rc = bundles_audit(b, request, "verify", "done", &about, NULL, NULL, e);
	}
	b->seen = NULL;
	if (rc)
		kernel_close(kernel);
	return rc;
}

int bundles_verify(struct bundles *b, const struct bundles_request *request, int fd, struct bundles_result *out,
		   struct err *e)
{
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct kernel_bundle *kernel = NULL;
	struct gate_seen seen;
	OWN_FD int sealed = -1;
	size_t size;

	b->current = request;
	int rc = pass_gate(b, request, fd, "verify", &sealed, &size, &seen, &verified, e);
	if (!rc)
		rc = judge_load(b, request, verified, &seen, &kernel, e);
	b->current = NULL;
	if (rc)
		return -1;
	*out = (struct bundles_result){
	    .action = BUNDLES_VERIFIED, .verified = verified, .kernel = kernel, .own_kernel = kernel};
	out->own_verified = TAKE_PTR(verified);
	return 0;
}

void bundles_result_free(struct bundles_result *result)
{
	kernel_close(&result->own_kernel);
	verified_bundle_free(&result->own_verified);
}
