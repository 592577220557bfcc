#include "loader/monitor/admit.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/unpacker.h"
#include "loader/monitor/loop.h"
#include "loader/monitor/revoked.h"

enum { END_MS = 500 };

/* ---- 1: the file ---- */

int admit_seal(int fd, int *out_fd, size_t *out_size, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_errno(e, ERR_IO, "the bundle's file");
	/* Anything else could keep the monitor waiting for as long as its other end likes. */
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_REQUEST_INVALID, "the bundle is not a regular file");
	if (st.st_size > BUNDLE_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%lld bytes, more than %d", (long long)st.st_size,
			       BUNDLE_MAX_BYTES);
	if (lseek(fd, 0, SEEK_SET))
		return err_errno(e, ERR_IO, "the bundle's file");
	return file_seal_copy("obsload-bundle", fd, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, out_fd, out_size, e);
}

/* ---- 2: the archive, as an unprivileged child tells it ---- */

static int refused(const struct unpacker_msg *msg, struct err *e)
{
	char name[sizeof(msg->code_name)], text[sizeof(msg->text)];

	snprintf(name, sizeof(name), "%.*s", (int)sizeof(msg->code_name) - 1, msg->code_name);
	snprintf(text, sizeof(text), "%.*s", (int)sizeof(msg->text) - 1, msg->text);
	enum err_code code = err_by_name(name);
	/* It may say why an archive is bad, not that a signature is missing or a policy forbids. */
	if (code == ERR_NONE || (strncmp(name, "archive.", 8) != 0 && strncmp(name, "system.", 7) != 0))
		return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker failed with a code that is not its own");
	return err_set(e, code, "%s", text);
}

static int take_message(const struct unpacker_msg *msg, int *fd, struct bundle_files *files, bool *done, struct err *e)
{
	char path[sizeof(msg->path)];

	switch (msg->kind) {
	case UNPACKER_FILE:
		snprintf(path, sizeof(path), "%.*s", (int)sizeof(msg->path) - 1, msg->path);
		if (*fd < 0)
			return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker sent %s without its bytes", path);
		if (bundle_files_add_fd(files, path, *fd, e)) {
			/* A descriptor that nobody may send is no defect of ours. */
			if (e && e->code == ERR_INTERNAL)
				e->code = ERR_ARCHIVE_UNPACKER;
			return err_wrap(e, "from the unpacker");
		}
		*fd = -1;
		return 0;
	case UNPACKER_DONE:
		if (msg->count != files->count)
			return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker counts %u files and sent %zu", msg->count,
				       files->count);
		*done = true;
		return 0;
	case UNPACKER_FAILED:
		return refused(msg, e);
	default:
		return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker sent a message that is none (%u)", msg->kind);
	}
}

static int wait_readable(int sock, uint64_t deadline_ms, struct err *e)
{
	struct pollfd poll_fd = {.fd = sock, .events = POLLIN};

	for (;;) {
		uint64_t now = loop_now_ms();
		int n = now >= deadline_ms ? 0 : poll(&poll_fd, 1, (int)(deadline_ms - now));
		if (n > 0)
			return 0;
		if (n == 0)
			return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker takes too long");
		if (errno != EINTR)
			return err_errno(e, ERR_IO, "poll");
	}
}

static int converse(int sock, uint64_t deadline_ms, struct bundle_files *files, struct err *e)
{
	bool done = false;

	while (!done) {
		struct unpacker_msg msg;
		int fds[MSG_MAX_FDS];
		if (wait_readable(sock, deadline_ms, e))
			return -1;
		switch (msg_recv(sock, &msg, sizeof(msg), fds, MSG_DONTWAIT, e)) {
		case MSG_OK:
			break;
		case MSG_AGAIN:
			continue;
		case MSG_EOF:
			return err_set(e, ERR_ARCHIVE_UNPACKER, "the unpacker died");
		case MSG_BAD:
			if (e)
				e->code = ERR_ARCHIVE_UNPACKER;
			return err_wrap(e, "the unpacker");
		}
		int rc = take_message(&msg, &fds[0], files, &done, e);
		for (int i = 0; i < MSG_MAX_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		if (rc)
			return -1;
	}
	return 0;
}

int admit_unpack(const struct admit_unpacker *unpacker, int sealed_fd, struct bundle_files **out, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FD int pidfd = -1;
	int pair[2];
	pid_t pid;

	if (bundle_files_new(&files, e) || msg_pair(pair, e))
		return -1;
	OWN_FD int mine = pair[0];
	OWN_FD int theirs = pair[1];
	if (unpacker->spawn(unpacker->ctx, theirs, sealed_fd, &pid, &pidfd, e))
		return -1;
	/* Ours would keep the socket open after the child died. */
	close(TAKE_FD(theirs));
	int rc = converse(mine, loop_now_ms() + unpacker->timeout_ms, files, e);
	/* One that is done ends by itself; any other, and one that stays, is killed. */
	struct pollfd gone = {.fd = pidfd, .events = POLLIN};
	if (rc || poll(&gone, 1, END_MS) != 1)
		unpacker->kill(unpacker->ctx, pid);
	if (rc)
		return -1;
	*out = TAKE_PTR(files);
	return 0;
}

/* ---- 3 to 7: this host's word ---- */

static int revoke_listed(int config_fd, struct trust *trust, struct err *e)
{
	OWN(revoked) struct revoked list = {0};
	OWN_FREE struct digest *identities = NULL;

	if (revoked_read(config_fd, &list, e))
		return -1;
	identities = calloc(list.count + 1, sizeof(*identities));
	if (!identities)
		return err_errno(e, ERR_NOMEM, "revoked signers and bundles");
	for (size_t i = 0; i < list.count; i++)
		identities[i] = list.one[i].digest;
	return trust_revoke(trust, identities, list.count, e);
}

int admit_trust(const char *config_dir, struct trust **trust, struct policy **policy, struct err *e)
{
	OWN(trust) struct trust *t = NULL;
	OWN(policy) struct policy *p = NULL;
	OWN_FD int config_fd = open(config_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (config_fd < 0)
		return err_errno(e, ERR_IO, "%s", config_dir);
	if (trust_load(config_fd, "trust.d", &t, e) || revoke_listed(config_fd, t, e) ||
	    policy_load(config_fd, "policy.json", &p, e))
		return err_wrap(e, "%s", config_dir);
	*trust = TAKE_PTR(t);
	*policy = TAKE_PTR(p);
	return 0;
}

/* Where time decided, and the clock is in doubt, both are said. */
static int tell_clock(const struct admit *admit, const struct gate_seen *seen, struct err *e)
{
	char text[256];
	bool timed = e->code == ERR_CERTIFICATE_EXPIRED || e->code == ERR_CERTIFICATE_NOT_YET_VALID;

	for (size_t i = 0; i < seen->aside_count; i++)
		timed |= seen->aside[i].code == ERR_CERTIFICATE_EXPIRED ||
			 seen->aside[i].code == ERR_CERTIFICATE_NOT_YET_VALID;
	if (!timed || !admit->clock)
		return -1;
	clock_text(admit->clock, text, sizeof(text));
	return text[0] ? err_wrap(e, "%s", text) : -1;
}

int admit_verify(const struct admit *admit, int sealed_fd, struct verified_bundle **out, struct gate_seen *seen,
		 struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;

	if (admit_unpack(&admit->unpacker, sealed_fd, &files, e) || admit_trust(admit->config_dir, &trust, &policy, e))
		return -1;
	const struct gate gate = {.trust = trust,
				  .policy = policy,
				  .now = clock_judged(admit->clock),
				  .installed = admit->installed,
				  .serial = admit->serial,
				  .serial_ctx = admit->serial_ctx};
	int rc = gate_verify(&gate, &files, out, seen, e);
	return rc ? tell_clock(admit, seen, e) : 0;
}
