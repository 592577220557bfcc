#include "loader/monitor/recover.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "loader/ipc/log.h"

static const char note_name[] = "recovered", damaged_name[] = "state.json.damaged";

/* What was found of one stored bundle or pin; the best of a name becomes the installed one. */
struct found {
	char name[STATE_NAME_BYTES];
	uint64_t serial;
	bool stored, pinned;
};

struct recovery {
	struct bundles *b;
	struct found *found;
	size_t count;
};

static int raise(struct state *state, const char *name, uint64_t serial, const struct digest *digest, struct err *e)
{
	struct state_bundle *known;

	if (state_add(state, name, &known, e))
		return -1;
	if (serial < known->highest)
		return 0;
	if (serial > known->highest || digest)
		known->highest_digest = digest ? *digest : (struct digest){{0}};
	known->highest = serial;
	return 0;
}

static int note_found(struct recovery *r, const char *name, uint64_t serial, bool stored, struct err *e)
{
	struct found *at = r->found, *end = r->found + r->count;

	while (at != end && !(at->serial == serial && strcmp(at->name, name) == 0))
		at++;
	if (at == end) {
		struct found *grown = reallocarray(r->found, r->count + 1, sizeof(*grown));
		if (!grown)
			return err_errno(e, ERR_NOMEM, "recovering state");
		r->found = grown;
		at = &grown[r->count++];
		*at = (struct found){.serial = serial};
		snprintf(at->name, sizeof(at->name), "%s", name);
	}
	at->stored |= stored;
	at->pinned |= !stored;
	return raise(r->b->state, name, serial, NULL, e);
}

static int note_stored(void *ctx, const char *name, uint64_t serial, struct err *e)
{
	return note_found(ctx, name, serial, true, e);
}

static int note_pinned(void *ctx, const char *name, uint64_t serial, struct err *e)
{
	return note_found(ctx, name, serial, false, e);
}

static int note_audited(void *ctx, const struct audit_install *install, struct err *e)
{
	const struct recovery *r = ctx;

	return raise(r->b->state, install->name, install->serial, &install->digest, e);
}

/* Step 6 of the gate, where only the file's own place says what it must be. */
static int take_identity(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *e)
{
	struct state_bundle *stored = ctx;

	(void)manifest;
	if (strcmp(m->name, stored->name) != 0 || m->serial != stored->serial)
		return err_set(e, ERR_STATE_CORRUPT, "the stored file is not %s, serial %llu", stored->name,
			       (unsigned long long)stored->serial);
	snprintf(stored->version, sizeof(stored->version), "%s", m->version);
	return 0;
}

/* What the gate refuses is installed all the same, as it would be with a state: the start refuses it, and says why. */
static int install_stored(struct bundles *b, struct state_bundle *stored, uint64_t serial, struct err *e)
{
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct gate_seen seen;
	struct err why = ERR_INIT;
	OWN_FD int fd = -1;
	struct stat st;

	memset(&seen, 0, sizeof(seen));
	stored->installed = true;
	stored->serial = serial;
	if (state_stored(b->state, stored->name, serial, &fd, e))
		return -1;
	stored->installed_at = fstat(fd, &st) ? 0 : st.st_mtime;
	/* Threat: a file that nobody signed, in place of the stored one, would have its digest kept for the serial. */
	bool refused = bundles_verify_fd(b, fd, take_identity, stored, &seen, &verified, &why) != 0;
	if (refused)
		log_err(LOG_LEVEL_WARNING, &why);
	else
		stored->digest = seen.manifest;
	if (refused && serial == stored->highest)
		stored->digest = stored->highest_digest;
	for (size_t i = 0; i < seen.signer_count && i < ARRAY_LEN(stored->signers); i++)
		stored->signers[stored->signer_count++] = seen.signers[i].signer;
	return raise(b->state, stored->name, serial, refused ? NULL : &stored->digest, e);
}

static int choose(struct recovery *r, struct state_bundle *stored, struct err *e)
{
	const struct found *best = NULL;

	for (size_t i = 0; i < r->count; i++) {
		const struct found *one = &r->found[i];
		if (!one->stored || strcmp(one->name, stored->name) != 0)
			continue;
		if (!best || one->pinned > best->pinned || (one->pinned == best->pinned && one->serial > best->serial))
			best = one;
	}
	return best ? install_stored(r->b, stored, best->serial, e) : 0;
}

static int gather(struct recovery *r, struct err *e)
{
	struct state *state = r->b->state;

	if (kernel_each_pinned(&r->b->host, note_pinned, r, e) || state_each_stored(state, note_stored, r, e) ||
	    audit_each_install(r->b->audit, note_audited, r, e))
		return -1;
	for (size_t i = 0; i < state->count; i++)
		if (choose(r, &state->bundles[i], e))
			return -1;
	return 0;
}

static int keep_damaged(const struct state *state, struct err *e)
{
	OWN_FREE uint8_t *bytes = NULL;
	OWN_FD int fd = openat(state->dir_fd, "state.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t size;

	if (fd < 0)
		return err_errno(e, ERR_STATE_IO, "state.json");
	/* One that is too large to be read is too large to be kept. */
	if (file_read_fd(fd, STATE_MAX_BYTES, ERR_LIMIT, &bytes, &size, e))
		return e->code == ERR_LIMIT ? 0 : -1;
	return file_replace_at(state->dir_fd, damaged_name, bytes, size, 0600, e);
}

static void say(const struct state *state, const char *what, char note[static RECOVER_NOTE_BYTES])
{
	char when[TEXT_TIME_BYTES];
	size_t installed = 0;

	for (size_t i = 0; i < state->count; i++)
		installed += state->bundles[i].installed;
	text_time(time(NULL), when);
	snprintf(
	    note, RECOVER_NOTE_BYTES,
	    "at %s state.json was %.600s. From stored bundles, pins and audit log, %zu names were recovered, %zu of "
	    "them installed; serials below theirs stay refused. Their parameters are back at their defaults",
	    when, what, state->count, installed);
}

/* The new state is written last: a crash before it begins here once more. */
static int write_down(struct bundles *b, const char *what, struct err *e)
{
	char note[RECOVER_NOTE_BYTES];
	struct state_bundle about;
	struct err why = ERR_INIT;

	memset(&about, 0, sizeof(about));
	say(b->state, what, note);
	err_set(&why, ERR_STATE_CORRUPT, "state.json was %.200s", what);
	if (bundles_audit(b, NULL, "recover_state", "done", &about, note, &why, e))
		return -1;
	log_line(LOG_LEVEL_ERROR, "%s. Look at obsload list and obsload params, and then: obsload accept state", note);
	if ((b->state->damage[0] && keep_damaged(b->state, e)) ||
	    file_replace_at(b->state->dir_fd, note_name, note, strlen(note), 0600, e))
		return -1;
	return state_save(b->state, e);
}

int recover_state(struct bundles *b, struct err *e)
{
	struct recovery r = {.b = b};
	char what[STATE_DAMAGE_BYTES + 32];

	if (!b->state->missing && !b->state->damage[0])
		return 0;
	int rc = gather(&r, e);
	free(r.found);
	if (rc)
		return err_wrap(e, "state.json is %s, and recovering it", b->state->missing ? "missing" : "damaged");
	if (b->state->missing && b->state->count == 0)
		return 0;
	snprintf(what, sizeof(what), b->state->missing ? "missing" : "damaged (%s)", b->state->damage);
	return write_down(b, what, e);
}

void recover_note(const struct state *state, char note[static RECOVER_NOTE_BYTES])
{
	OWN_FREE uint8_t *text = NULL;
	OWN_FD int fd = openat(state->dir_fd, note_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct err e = ERR_INIT;
	size_t size;

	note[0] = '\0';
	if (fd < 0)
		return;
	if (file_read_fd(fd, RECOVER_NOTE_BYTES - 1, ERR_LIMIT, &text, &size, &e))
		snprintf(note, RECOVER_NOTE_BYTES, "the state was recovered; see the audit log");
	else
		snprintf(note, RECOVER_NOTE_BYTES, "%s", (char *)text);
}

int recover_seen(const struct state *state, struct err *e)
{
	if (unlinkat(state->dir_fd, note_name, 0) && errno != ENOENT)
		return err_errno(e, ERR_STATE_IO, "%s", note_name);
	if (fsync(state->dir_fd))
		return err_errno(e, ERR_STATE_IO, "fsync of the state folder");
	return 0;
}
