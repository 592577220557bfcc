#include <fcntl.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"
#include "loader/monitor/control.h"
#include "loader/monitor/recover.h"
#include "loader/monitor/revoke.h"
#include "loader/monitor/revoked.h"
#include "loader/monitor/show.h"
#include "loader/monitor/trust.h"

enum { AUDIT_DEFAULT = 100 };

typedef int request_fn(struct control_call *call, json_t **out, struct err *e);

static int check_file(const struct control_call *call, const char *what, struct err *e)
{
	int flags = call->fd < 0 ? -1 : fcntl(call->fd, F_GETFL);

	if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
		return err_set(e, ERR_DAEMON_PROTOCOL, "the request comes without its %s", what);
	/* Threat: a read, or a mere fstat, that never ends, of a file whose file system its sender serves. */
	if (!file_is_sealed(call->fd))
		return err_set(e, ERR_REQUEST_INVALID, "the %s does not come in a sealed memfd", what);
	return 0;
}

/* ---- bundles ---- */

static int request_install(struct control_call *call, json_t **out, struct err *e)
{
	struct bundles_result result;

	if (bundles_install(call->control->bundles, &call->as, call->fd, &result, e))
		return -1;
	*out = show_result(&result);
	bundles_result_free(&result);
	return 0;
}

static int request_verify(struct control_call *call, json_t **out, struct err *e)
{
	struct bundles_result result;

	if (bundles_verify(call->control->bundles, &call->as, call->fd, &result, e))
		return -1;
	*out = show_result(&result);
	bundles_result_free(&result);
	return 0;
}

static int request_remove(struct control_call *call, json_t **out, struct err *e)
{
	uint64_t serial;

	if (bundles_remove(call->control->bundles, &call->as, call->request->name, &serial, e))
		return -1;
	*out = json_pack("{s:o,s:I}", "name", show_text(call->request->name), "serial", (json_int_t)serial);
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct bundle *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* The named bundle, or all of them by name. */
static int chosen(const struct control_call *call, struct bundle **list, size_t *count, struct err *e)
{
	const struct bundles *b = call->control->bundles;

	if (call->request->name[0]) {
		list[0] = bundles_find(b, call->request->name);
		*count = 1;
		return list[0] ? 0 : err_set(e, ERR_BUNDLE_UNKNOWN, "no bundle %s is installed", call->request->name);
	}
	memcpy((void *)list, (const void *)b->bundle, b->count * sizeof(*list));
	*count = b->count;
	qsort((void *)list, *count, sizeof(*list), by_name);
	return 0;
}

static int request_list(struct control_call *call, json_t **out, struct err *e)
{
	struct bundle *list[BUNDLES_MAX];
	json_t *bundles;
	size_t count;

	if (chosen(call, list, &count, e))
		return -1;
	bundles = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(bundles, show_listed(call->control->bundles, list[i]));
	*out = json_pack("{s:o}", "bundles", bundles);
	return 0;
}

static json_t *show_daemon(const struct control *c)
{
	const struct worker *w = c->bundles->worker;
	const struct worker_stats *s = w->stats;

	return json_pack("{s:s,s:i,s:I,s:i,s:i,s:I,s:I,s:I,s:I,s:I}", "version", OBS_VERSION, "pid", getpid(),
			 "uptime_s", (json_int_t)((loop_now_ms() - c->started_ms) / 1000), "worker_pid", w->pid,
			 "worker_restarts", (int)w->restarts, "subscribers", (json_int_t)(w->pid ? s->subscribers : 0),
			 "subscribers_total", (json_int_t)s->subscribers_total, "subscribers_refused",
			 (json_int_t)s->subscribers_refused, "sent_events", (json_int_t)s->sent_events, "sent_bytes",
			 (json_int_t)s->sent_bytes);
}

static void warn_bundle(const struct bundle *bundle, json_t *warnings)
{
	char text[STATE_NAME_BYTES + BUNDLE_REASON_BYTES + 96];

	if (bundle->condition == BUNDLE_RUNNING)
		return;
	if (bundle->condition == BUNDLE_PARTIAL)
		snprintf(text, sizeof(text), "%s runs without some of its programs: see their reasons", bundle->name);
	else if (bundle->condition == BUNDLE_WAITING)
		snprintf(text, sizeof(text), "%s is not read, what is attached of it stays, and it is tried again: %s",
			 bundle->name, bundle->reason);
	else
		snprintf(text, sizeof(text), "%s does not run: %s", bundle->name, bundle->reason);
	json_array_append_new(warnings, show_text(text));
}

/* What stays until somebody has looked at it. */
static void warn_host(const struct bundles *b, json_t *warnings)
{
	char note[RECOVER_NOTE_BYTES], text[RECOVER_NOTE_BYTES + 128];

	recover_note(b->state, note);
	if (note[0]) {
		snprintf(text, sizeof(text),
			 "%s: look at obsload list and obsload params, and then: obsload accept state", note);
		json_array_append_new(warnings, show_text(text));
	}
	if (b->audit->changed)
		json_array_append_new(warnings, show_text("the audit log was changed while this daemon did not run: "
							  "obsload audit --verify"));
	for (size_t i = 0; i < b->count; i++)
		if (b->bundle[i]->unaudited) {
			json_array_append_new(warnings,
					      show_text("the audit log cannot be written: that bundles were taken "
							"over is not in it yet"));
			break;
		}
	clock_text(b->clock, note, sizeof(note));
	if (note[0]) {
		snprintf(text, sizeof(text), "%s: set the clock right, or, if it is: obsload accept clock", note);
		json_array_append_new(warnings, show_text(text));
	}
}

static int request_status(struct control_call *call, json_t **out, struct err *e)
{
	struct bundle *list[BUNDLES_MAX];
	json_t *bundles, *warnings;
	size_t count;

	if (chosen(call, list, &count, e))
		return -1;
	bundles = json_array();
	warnings = json_array();
	warn_host(call->control->bundles, warnings);
	if (!call->control->bundles->worker->pid)
		json_array_append_new(warnings, show_text("no worker runs at this moment: nobody reads events"));
	for (size_t i = 0; i < count; i++) {
		warn_bundle(list[i], warnings);
		json_array_append_new(bundles, show_bundle(call->control->bundles, list[i], warnings));
	}
	*out =
	    json_pack("{s:o,s:o,s:o}", "daemon", show_daemon(call->control), "bundles", bundles, "warnings", warnings);
	return 0;
}

/* ---- parameters ---- */

static int request_set(struct control_call *call, json_t **out, struct err *e)
{
	const char *param = call->request->arg;
	OWN_FREE uint8_t *text = NULL;
	OWN_FREE char *value = malloc(PARAM_TEXT_MAX_BYTES), *previous = malloc(PARAM_TEXT_MAX_BYTES);
	size_t size;

	if (!value || !previous)
		return err_errno(e, ERR_NOMEM, "parameter %s", param);
	if (file_read_fd_again(call->fd, PARAM_TEXT_MAX_BYTES, ERR_PARAMETER_VALUE, &text, &size, e))
		return err_wrap(e, "the value of %s", param);
	if (strlen((char *)text) != size)
		return err_set(e, ERR_PARAMETER_VALUE, "parameter %s: its text has a NUL", param);
	if (bundles_set(call->control->bundles, &call->as, call->request->name, param, (char *)text, value, previous,
			PARAM_TEXT_MAX_BYTES, e))
		return -1;
	*out = json_pack("{s:o,s:o,s:o,s:o}", "name", show_text(call->request->name), "parameter", show_text(param),
			 "value", show_text(value), "previous", show_text(previous));
	return 0;
}

static int request_params(struct control_call *call, json_t **out, struct err *e)
{
	struct bundle *list[BUNDLES_MAX];
	json_t *bundles;
	size_t count;

	if (chosen(call, list, &count, e))
		return -1;
	bundles = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(bundles, show_params(list[i]));
	*out = json_pack("{s:o}", "bundles", bundles);
	return 0;
}

/* ---- trust ---- */

static int request_trust_add(struct control_call *call, json_t **out, struct err *e)
{
	char names[TRUST_NAMES_BYTES];
	struct cert_info info;

	if (trust_store_add(call->control->bundles, &call->as, call->fd, call->request->arg, &info, names, e))
		return -1;
	*out = show_certificate(&info, names);
	return 0;
}

static int request_trust_remove(struct control_call *call, json_t **out, struct err *e)
{
	const struct bundle *lonely[BUNDLES_MAX];
	struct cert_info info;
	size_t count;

	if (trust_store_remove(call->control->bundles, &call->as, call->request->arg, &info, lonely, &count, e))
		return -1;
	json_t *names = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(names, show_text(lonely[i]->name));
	*out = show_certificate(&info, "");
	json_object_set_new(*out, "refused_at_next_start", names);
	return 0;
}

static int request_trust_list(struct control_call *call, json_t **out, struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	json_t *list;

	if (admit_trust(call->control->bundles->admit.config_dir, &trust, &policy, e))
		return -1;
	list = json_array();
	for (size_t i = 0; i < trust_count(trust); i++) {
		char names[TRUST_NAMES_BYTES];
		struct cert_info info;
		cert_info(trust_at(trust, i), &info);
		policy_names_of(policy, &info.signer, names, sizeof(names));
		json_t *one = show_certificate(&info, names);
		json_object_set_new(one, "revoked", json_boolean(trust_revoked(trust, &info.signer)));
		json_array_append_new(list, one);
	}
	*out = json_pack("{s:o}", "signers", list);
	return 0;
}

/* ---- revocation ---- */

static json_t *show_effects(const struct revoke_result *r, bool runs)
{
	json_t *names = json_array();

	for (size_t i = 0; i < r->effect_count; i++)
		if (r->effect[i].runs == runs)
			json_array_append_new(names, show_text(r->effect[i].name));
	return names;
}

static int request_revoke(struct control_call *call, json_t **out, struct err *e)
{
	bool undo = call->request->op == CONTROL_REVOKE_UNDO;
	struct revoke_result r = {0};

	if (!call->request->arg[0] && check_file(call, "certificate", e))
		return -1;
	if ((undo ? revoke_undo : revoke_add)(call->control->bundles, &call->as, call->request->arg, call->fd, &r, e))
		return -1;
	*out =
	    json_pack("{s:o,s:o,s:s,s:o,s:o}", "identity", show_digest(&r.digest), "what", show_text(r.what), "action",
		      undo        ? "undone"
		      : r.changed ? "revoked"
				  : "already revoked",
		      "running", show_effects(&r, true), undo ? "refused" : "detached", show_effects(&r, false));
	return 0;
}

static int request_revoke_list(struct control_call *call, json_t **out, struct err *e)
{
	const char *config = call->control->bundles->admit.config_dir;
	OWN(revoked) struct revoked list = {0};
	OWN_FD int config_fd = open(config, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (config_fd < 0)
		return err_errno(e, ERR_IO, "%s", config);
	if (revoked_read(config_fd, &list, e))
		return -1;
	json_t *lines = json_array();
	for (size_t i = 0; i < list.count; i++)
		json_array_append_new(lines, json_pack("{s:o,s:o}", "identity", show_digest(&list.one[i].digest),
						       "note", show_text(list.one[i].note)));
	*out = json_pack("{s:o}", "revoked", lines);
	return 0;
}

/* ---- what an operator has seen ---- */

static int accept_state(struct control_call *call, struct err *e)
{
	struct bundles *b = call->control->bundles;
	char note[RECOVER_NOTE_BYTES];
	struct state_bundle about;

	memset(&about, 0, sizeof(about));
	recover_note(b->state, note);
	if (!note[0])
		return err_set(e, ERR_REQUEST_INVALID, "the state was not recovered: there is nothing to accept");
	if (bundles_audit(b, &call->as, "accept", "done", &about, "state", NULL, e))
		return -1;
	return recover_seen(b->state, e);
}

static int accept_clock(struct control_call *call, struct err *e)
{
	struct bundles *b = call->control->bundles;
	char doubt[256], detail[280];
	struct state_bundle about;

	memset(&about, 0, sizeof(about));
	clock_text(b->clock, doubt, sizeof(doubt));
	if (!doubt[0])
		return err_set(e, ERR_REQUEST_INVALID, "the clock is not in doubt: there is nothing to accept");
	snprintf(detail, sizeof(detail), "clock: %s", doubt);
	if (bundles_audit(b, &call->as, "accept", "done", &about, detail, NULL, e))
		return -1;
	return clock_accept(b->clock, e);
}

static int request_accept(struct control_call *call, json_t **out, struct err *e)
{
	const char *what = call->request->arg;
	bool clock = strcmp(what, "clock") == 0;

	if (!clock && strcmp(what, "state") != 0)
		return err_set(e, ERR_USAGE, "\"%s\": state or clock can be accepted", what);
	if (clock ? accept_clock(call, e) : accept_state(call, e))
		return -1;
	*out = json_pack("{s:s}", "accepted", what);
	return 0;
}

/* ---- audit ---- */

static int request_audit(struct control_call *call, char **out, struct err *e)
{
	const char *text = call->request->arg;
	size_t most = AUDIT_DEFAULT;

	if (text[0]) {
		if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 9)
			return err_set(e, ERR_USAGE, "\"%s\": how many entries?", text);
		most = strtoul(text, NULL, 10);
	}
	return audit_read(call->control->bundles->audit, most, out, e);
}

static int request_audit_verify(struct control_call *call, json_t **out, struct err *e)
{
	const struct audit *audit = call->control->bundles->audit;
	struct audit_report report;

	if (audit_verify(audit, &report, e))
		return -1;
	*out = json_pack("{s:I,s:I,s:I,s:s,s:o,s:I}", "lines", (json_int_t)report.lines, "files",
			 (json_int_t)report.files, "removed", (json_int_t)audit->mark.dropped, "since", report.since,
			 "last", show_digest(&audit->mark.last), "recovered", (json_int_t)report.recovered);
	return 0;
}

/* ---- all ---- */

static const struct {
	request_fn *fn;
	const char *file;   /* what its descriptor is, NULL: takes none */
	const char *action; /* in the audit log, where it also stands if it is refused; NULL: it changes nothing */
	bool root;          /* for root alone */
} requests[CONTROL_OP_COUNT] = {
    [CONTROL_INSTALL] = {request_install, "bundle", "install"},
    [CONTROL_VERIFY] = {request_verify, "bundle", "verify"},
    [CONTROL_REMOVE] = {request_remove, NULL, "remove"},
    [CONTROL_LIST] = {request_list, NULL, NULL},
    [CONTROL_STATUS] = {request_status, NULL, NULL},
    [CONTROL_TRUST_ADD] = {request_trust_add, "certificate", "trust_add"},
    [CONTROL_TRUST_LIST] = {request_trust_list, NULL, NULL},
    [CONTROL_TRUST_REMOVE] = {request_trust_remove, NULL, "trust_remove"},
    [CONTROL_SET] = {request_set, "value", "set"},
    [CONTROL_PARAMS] = {request_params, NULL, NULL},
    [CONTROL_REVOKE] = {request_revoke, NULL, "revoke"},
    [CONTROL_REVOKE_UNDO] = {request_revoke, NULL, "revoke_undo", .root = true},
    [CONTROL_REVOKE_LIST] = {request_revoke_list, NULL, NULL},
    [CONTROL_ACCEPT] = {request_accept, NULL, "accept", .root = true},
    [CONTROL_AUDIT_VERIFY] = {request_audit_verify, NULL, NULL},
};

static int answer(struct control_call *call, json_t **json, struct err *e)
{
	uint32_t op = call->request->op;

	if ((call->request->flags & CONTROL_ALLOW_DOWNGRADE) && !call->root)
		return err_set(e, ERR_DAEMON_DENIED, "only root may downgrade");
	if (requests[op].root && !call->root)
		return err_set(e, ERR_DAEMON_DENIED, "%s: only root may do that", requests[op].action);
	if (requests[op].file && check_file(call, requests[op].file, e))
		return -1;
	return requests[op].fn(call, json, e);
}

/* A refusal that was decided before anything looked at a bundle has no line yet. */
static void audit_refusal(struct control_call *call, const char *action, const struct err *why)
{
	struct state_bundle about;

	memset(&about, 0, sizeof(about));
	snprintf(about.name, sizeof(about.name), "%.*s", (int)sizeof(about.name) - 1, call->request->name);
	bundles_audit_failure(call->control->bundles, &call->as, action, &about, why);
}

int control_answer(struct control_call *call, char **out_json, struct err *e)
{
	uint32_t op = call->request->op;
	const struct audit *audit = call->control->bundles->audit;
	uint64_t lines = audit->mark.lines;
	unsigned long failures = json_failures();
	json_auto_t *json = NULL;

	if (op == CONTROL_AUDIT)
		return request_audit(call, out_json, e);
	if (answer(call, &json, e)) {
		if (requests[op].action && audit->mark.lines == lines)
			audit_refusal(call, requests[op].action, e);
		return -1;
	}
	return json_write(json, JSON_COMPACT, failures, out_json, e) ? err_wrap(e, "done, but its answer") : 0;
}
