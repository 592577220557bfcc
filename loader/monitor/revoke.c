#include "loader/monitor/revoke.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "loader/ipc/log.h"
#include "loader/monitor/revoked.h"
#include "loader/monitor/trust.h"

enum { PREFIX_LEAST = 8 };

/* ---- what is meant ---- */

struct match {
	const char *prefix;
	size_t length, count;
	struct revoke_result *out;
};

static void consider(struct match *m, const struct digest *digest, const char *kind, const char *name)
{
	char hex[DIGEST_HEX_BYTES];

	digest_hex(digest, hex);
	if (strncmp(hex, m->prefix, m->length) != 0 || (m->count && digest_equal(digest, &m->out->digest)))
		return;
	m->count++;
	m->out->digest = *digest;
	snprintf(m->out->what, sizeof(m->out->what), "%s %s", kind, name);
}

static void consider_known(struct match *m, const struct bundles *b, const struct trust *trust)
{
	for (size_t i = 0; i < trust_count(trust); i++) {
		struct cert_info info;
		cert_info(trust_at(trust, i), &info);
		consider(m, &info.signer, "signer", info.subject);
	}
	for (size_t i = 0; i < b->count; i++) {
		const struct bundle *bundle = b->bundle[i];
		for (size_t k = 0; k < bundle->signer_count; k++)
			consider(m, &bundle->signers[k].signer, "signer", bundle->signers[k].cert.subject);
	}
	for (size_t i = 0; i < b->state->count; i++) {
		const struct state_bundle *stored = &b->state->bundles[i];
		for (size_t k = 0; stored->installed && k < stored->signer_count; k++)
			consider(m, &stored->signers[k], "signer", "");
		if (stored->installed)
			consider(m, &stored->digest, "bundle", stored->name);
	}
}

static int take_match(const struct match *m, struct err *e)
{
	if (m->count > 1)
		return err_set(e, ERR_TRUST_UNKNOWN, "%s stands for %zu things: give more digits", m->prefix, m->count);
	if (m->count == 0 && m->length < DIGEST_HEX_BYTES - 1)
		return err_set(e, ERR_TRUST_UNKNOWN, "nothing that is known here starts with %s: give all 64 digits",
			       m->prefix);
	return 0;
}

static int check_digits(const char *text, struct err *e)
{
	size_t length = strlen(text);

	if (length < PREFIX_LEAST || length > DIGEST_HEX_BYTES - 1 || strspn(text, "0123456789abcdef") != length)
		return err_set(e, ERR_USAGE, "\"%s\": at least %d of 64 lower-case hex digits", text, PREFIX_LEAST);
	return 0;
}

static int from_certificate(int pem_fd, struct revoke_result *out, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	struct cert_info info;

	if (trust_read_certificate(pem_fd, &cert, e))
		return -1;
	cert_info(cert, &info);
	out->digest = info.signer;
	snprintf(out->what, sizeof(out->what), "signer %s", info.subject);
	return 0;
}

/* What is in no way known here may be revoked all the same, before anybody tries it. */
static int find_known(const struct bundles *b, const char *text, struct revoke_result *out, struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	struct match m = {.prefix = text, .length = strlen(text), .out = out};

	if (check_digits(text, e) || admit_trust(b->admit.config_dir, &trust, &policy, e))
		return -1;
	snprintf(out->what, sizeof(out->what), "not known here");
	if (!digest_parse(text, &out->digest))
		out->digest = (struct digest){{0}};
	consider_known(&m, b, trust);
	return take_match(&m, e);
}

static int find_revoked(const struct revoked *revoked, const char *text, struct revoke_result *out, struct err *e)
{
	struct match m = {.prefix = text, .length = strlen(text), .out = out};

	if (check_digits(text, e))
		return -1;
	for (size_t i = 0; i < revoked->count; i++)
		consider(&m, &revoked->one[i].digest, "", revoked->one[i].note);
	if (m.count == 0)
		return err_set(e, ERR_TRUST_UNKNOWN, "%s is not revoked: obsload revoke --list", text);
	return take_match(&m, e);
}

/* ---- what it changes ---- */

static void add_effect(struct revoke_result *out, const struct bundle *bundle, bool runs)
{
	struct revoke_effect *effect = &out->effect[out->effect_count++];

	snprintf(effect->name, sizeof(effect->name), "%s", bundle->name);
	effect->runs = runs;
}

static bool saw_revoked(const struct gate_seen *seen, const struct err *why)
{
	bool revoked = why->code == ERR_CERTIFICATE_REVOKED || why->code == ERR_POLICY_REVOKED;

	for (size_t i = 0; i < seen->aside_count; i++)
		revoked |= seen->aside[i].code == ERR_CERTIFICATE_REVOKED;
	return revoked;
}

/* Of one that waits, state.json alone tells. */
static bool waits_as_part(const struct bundle *bundle, const struct state_bundle *stored, const struct digest *identity)
{
	if (bundle->condition != BUNDLE_WAITING)
		return false;
	bool part = digest_equal(&stored->digest, identity);
	for (size_t i = 0; i < stored->signer_count; i++)
		part |= digest_equal(&stored->signers[i], identity);
	return part;
}

/* Threat: a signature that did not count, or not below this authority, when the bundle was verified to run may do so since
 * trust.d changed. So the gate is asked about every bundle. Of one that nobody knows to be part of this, trouble says nothing,
 * nor does a refusal that no revocation is a reason of; one that is part of it must not stay attached because the judgement
 * cannot be made. */
static int judge(struct bundles *b, const struct bundles_request *request, struct bundle *bundle,
		 struct revoke_result *out, struct err *e)
{
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct state_bundle *stored = state_find(b->state, bundle->name);
	struct err why = ERR_INIT, io = ERR_INIT;
	struct gate_seen seen;
	bool known = bundle_part_of(bundle, &out->digest) || waits_as_part(bundle, stored, &out->digest);

	memset(&seen, 0, sizeof(seen));
	bool runs = bundles_verify_stored(b, stored, &seen, &verified, &why) == 0;
	if (!known && !runs && bundles_trouble(why.code)) {
		*e = why;
		return err_wrap(e, "revoked, but whether %s was signed by it is not known", bundle->name);
	}
	if (!known && (runs || !saw_revoked(&seen, &why)))
		return 0;
	add_effect(out, bundle, runs);
	b->seen = &seen;
	if (bundles_audit(b, request, runs ? "keep" : "detach", "done", stored, NULL, runs ? NULL : &why, &io))
		log_err(LOG_LEVEL_ERROR, &io);
	b->seen = NULL;
	if (runs)
		return 0;
	int rc = bundle_refuse(b, bundle, &why, e);
	log_line(LOG_LEVEL_WARNING, "%s: detached: %s", bundle->name, bundle->reason);
	bundle_notice(b, bundle->name, stored->serial, "refused", why.code);
	return rc ? err_wrap(e, "revoked, but not all of %s left the kernel", bundle->name) : 0;
}

static int judge_all(struct bundles *b, const struct bundles_request *request, struct revoke_result *out, struct err *e)
{
	struct err one = ERR_INIT;
	int rc = 0;

	for (size_t i = 0; i < b->count; i++) {
		struct bundle *bundle = b->bundle[i];
		if ((!bundle->verified && bundle->condition != BUNDLE_WAITING) ||
		    judge(b, request, bundle, out, &one) == 0)
			continue;
		log_err(LOG_LEVEL_ERROR, &one);
		*e = one;
		rc = -1;
	}
	return rc;
}

static int start_refused(struct bundles *b, struct revoke_result *out, struct err *e)
{
	for (size_t i = 0; i < b->count; i++) {
		struct bundle *fresh = NULL;
		if (b->bundle[i]->condition != BUNDLE_REFUSED)
			continue;
		if (bundles_bring_up(b, state_find(b->state, b->bundle[i]->name), &fresh, e))
			return err_wrap(e, "no longer revoked, but");
		bundle_free(&b->bundle[i]);
		b->bundle[i] = fresh;
		if (fresh->verified)
			bundle_enter(b, fresh);
		add_effect(out, fresh, fresh->verified != NULL);
	}
	return 0;
}

/* ---- commands ---- */

static int audit(struct bundles *b, const struct bundles_request *request, const char *action,
		 const struct revoke_result *r, struct err *e)
{
	struct state_bundle about;
	char detail[REVOKE_WHAT_BYTES + DIGEST_HEX_BYTES + 8], hex[DIGEST_HEX_BYTES];

	memset(&about, 0, sizeof(about));
	digest_hex(&r->digest, hex);
	snprintf(detail, sizeof(detail), "%s: %s", hex, r->what);
	return bundles_audit(b, request, action, "done", &about, detail, NULL, e);
}

static void audit_failure(struct bundles *b, const struct bundles_request *request, const char *action,
			  const struct err *why)
{
	struct state_bundle about;

	memset(&about, 0, sizeof(about));
	bundles_audit_failure(b, request, action, &about, why);
}

static void note_of(const struct bundles_request *request, const struct revoke_result *r,
		    char note[static REVOKED_NOTE_BYTES])
{
	char when[TEXT_TIME_BYTES];

	text_time(time(NULL), when);
	snprintf(note, REVOKED_NOTE_BYTES, "%s; %s by uid %u", r->what, when, request->who->uid);
}

static int open_list(const struct bundles *b, int *config_fd, struct revoked *list, struct err *e)
{
	OWN_FD int fd = open(b->admit.config_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", b->admit.config_dir);
	if (revoked_read(fd, list, e))
		return err_wrap(e, "%s", b->admit.config_dir);
	*config_fd = TAKE_FD(fd);
	return 0;
}

int revoke_add(struct bundles *b, const struct bundles_request *request, const char *text, int pem_fd,
	       struct revoke_result *out, struct err *e)
{
	OWN(revoked) struct revoked list = {0};
	OWN_FD int config_fd = -1;
	char note[REVOKED_NOTE_BYTES];

	memset(out, 0, sizeof(*out));
	if ((text[0] ? find_known(b, text, out, e) : from_certificate(pem_fd, out, e)) ||
	    open_list(b, &config_fd, &list, e))
		return -1;
	out->changed = !revoked_find(&list, &out->digest);
	if (audit(b, request, "revoke", out, e))
		return -1;
	note_of(request, out, note);
	if (out->changed && revoked_add(config_fd, &out->digest, note, e)) {
		audit_failure(b, request, "revoke", e);
		return -1;
	}
	return judge_all(b, request, out, e);
}

int revoke_undo(struct bundles *b, const struct bundles_request *request, const char *text, int pem_fd,
		struct revoke_result *out, struct err *e)
{
	OWN(revoked) struct revoked list = {0};
	OWN_FD int config_fd = -1;

	memset(out, 0, sizeof(*out));
	if (open_list(b, &config_fd, &list, e) ||
	    (text[0] ? find_revoked(&list, text, out, e) : from_certificate(pem_fd, out, e)))
		return -1;
	if (!revoked_find(&list, &out->digest))
		return err_set(e, ERR_TRUST_UNKNOWN, "%s is not revoked: obsload revoke --list", out->what);
	out->changed = true;
	if (audit(b, request, "revoke_undo", out, e))
		return -1;
	if (revoked_drop(config_fd, &out->digest, e)) {
		audit_failure(b, request, "revoke_undo", e);
		return -1;
	}
	return start_refused(b, out, e);
}
