#include "loader/client/ask.h"

#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"
#include "bundles/base/text.h"
#include "loader/client/term.h"
#include "loader/ipc/msg.h"

int ask_request(enum control_op op, const char *name, const char *arg, struct control_request *out, struct err *e)
{
	struct control_request r = {.magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .op = op};

	if (name && strlen(name) >= sizeof(r.name))
		return err_set(e, ERR_USAGE, "a name of %zu bytes: at most %zu", strlen(name), sizeof(r.name) - 1);
	if (arg && strlen(arg) >= sizeof(r.arg))
		return err_set(e, ERR_USAGE, "an argument of %zu bytes: at most %zu", strlen(arg), sizeof(r.arg) - 1);
	if (name)
		memcpy(r.name, name, strlen(name));
	if (arg)
		memcpy(r.arg, arg, strlen(arg));
	*out = r;
	return 0;
}

int ask_open(const char *path, size_t limit, enum err_code too_large, int *out_fd, struct err *e)
{
	bool standard_input = strcmp(path, "-") == 0;
	OWN_FD int fd = standard_input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int sealed = -1;
	size_t size;

	if (fd < 0 || fstat(fd, &st))
		return err_errno(e, ERR_IO, "%s", standard_input ? "standard input" : path);
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return err_errno(e, ERR_IO, "%s", path);
	}
	if (S_ISREG(st.st_mode) && st.st_size > (off_t)limit)
		return err_set(e, too_large, "%s has %lld bytes: at most %zu", path, (long long)st.st_size, limit);
	/* A file on its way may be at its end, as after `{ obsload verify -; obsload install -; } <file`: it counts from its start. */
	if (S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_SET))
		return err_errno(e, ERR_IO, "%s", path);
	if (file_seal_copy("obsload-input", fd, limit, too_large, &sealed, &size, e))
		return err_wrap(e, "%s", standard_input ? "standard input" : path);
	*out_fd = sealed;
	return 0;
}

int ask_connect(const char *run_dir, const char *name, int type, int *out_fd, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", run_dir, name);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return err_set(e, ERR_LIMIT, "%s/%s: a socket's path has at most %zu bytes", run_dir, name,
			       sizeof(address.sun_path) - 1);
	OWN_FD int sock = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return err_errno(e, ERR_IO, "socket");
	if (connect(sock, (const struct sockaddr *)&address, sizeof(address))) {
		if (errno == EACCES || errno == EPERM)
			return err_errno(e, ERR_DAEMON_DENIED, "%s", address.sun_path);
		if (errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR)
			return err_set(e, ERR_DAEMON_ABSENT, "no daemon listens at %s", address.sun_path);
		return err_errno(e, ERR_IO, "%s", address.sun_path);
	}
	*out_fd = TAKE_FD(sock);
	return 0;
}

/* The text is longer than one frame holds: it is cut where err_text joins frames, so that it reads the same again. */
static void fill_frames(struct err *e, const char *text)
{
	const char *piece[ERR_FRAMES];
	size_t length[ERR_FRAMES], count = 0, left = strlen(text);

	while (left && count < ERR_FRAMES) {
		size_t take = left;
		if (left >= ERR_FRAME_BYTES) {
			take = ERR_FRAME_BYTES - 1;
			for (size_t i = take; i > 1; i--)
				if (text[i - 2] == ':' && text[i - 1] == ' ') {
					take = i;
					break;
				}
		}
		piece[count] = text;
		length[count] = take;
		if (take < left && take > 2 && text[take - 1] == ' ' && text[take - 2] == ':')
			length[count] -= 2;
		count++;
		text += take;
		left -= take;
	}
	e->depth = (unsigned)count;
	for (size_t i = 0; i < count; i++)
		snprintf(e->frame[count - 1 - i], ERR_FRAME_BYTES, "%.*s", (int)length[i], piece[i]);
}

int ask_refusal(struct err *e, const char *code, int errnum, const char *text, const char *log)
{
	enum err_code known = err_by_name(code);
	OWN_FREE char *unknown = NULL;

	err_set(e, known ? known : ERR_DAEMON_FAILED, "refused");
	if (!known && asprintf(&unknown, "%s: %s", code, text) < 0)
		unknown = NULL;
	if (unknown)
		text = unknown;
	if (e && text[0])
		fill_frames(e, text);
	if (e)
		e->errnum = errnum;
	err_log(e, log);
	return -1;
}

static void show_progress(const struct term *term, const struct control_reply *reply)
{
	if (!term->tty)
		return;
	fputs("\r\033[K", stderr);
	if (reply->steps)
		fprintf(stderr, "[%u/%u] ", reply->step, reply->steps);
	text_terminal(stderr, reply->text, false);
	fflush(stderr);
}

/* Receives packets up to the final one. */
static int final_reply(int sock, struct control_reply *reply, int *out_fd, struct err *e)
{
	struct term term = term_of(STDERR_FILENO);
	const char *name = getenv("TERM");
	bool shown = false;
	int fds[MSG_MAX_FDS], result = -1;

	term.tty = term.tty && name && strcmp(name, "dumb") != 0;
	for (;;) {
		enum msg_result got = msg_recv(sock, reply, sizeof(*reply), fds, 0, e);
		if (got == MSG_EOF) {
			err_set(e, ERR_DAEMON_FAILED, "the daemon ended the connection without an answer");
			break;
		}
		if (got != MSG_OK) {
			err_wrap(e, "the daemon's answer");
			break;
		}
		for (int i = 1; i < MSG_MAX_FDS; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		OWN_FD int fd = fds[0];
		reply->text[sizeof(reply->text) - 1] = '\0';
		reply->code_name[sizeof(reply->code_name) - 1] = '\0';
		if (reply->magic != CONTROL_MAGIC || reply->version != CONTROL_VERSION) {
			err_set(e, ERR_DAEMON_PROTOCOL, "the daemon speaks version %u of the protocol, not %u",
				reply->version, CONTROL_VERSION);
			break;
		}
		if (reply->kind == CONTROL_PROGRESS) {
			show_progress(&term, reply);
			shown = true;
			continue;
		}
		*out_fd = TAKE_FD(fd);
		result = 0;
		break;
	}
	if (shown && term.tty) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
	}
	return result;
}

static int read_answer(int fd, uint8_t **out, size_t *out_size, struct err *e)
{
	size_t size;

	if (fd < 0)
		return err_set(e, ERR_DAEMON_PROTOCOL, "the daemon's answer holds nothing");
	if (file_check_sealed(fd, ASK_ANSWER_MAX_BYTES, &size, e))
		return err_wrap(e, "the daemon's answer");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(e, ERR_IO, "the daemon's answer");
	return file_read_fd(fd, ASK_ANSWER_MAX_BYTES, ERR_DAEMON_PROTOCOL, out, out_size, e);
}

static int refused(const struct control_reply *reply, int fd, struct err *e)
{
	OWN_FREE uint8_t *log = NULL;
	size_t size;

	/* A log that cannot be read does not hide the refusal itself. */
	if (fd >= 0 && read_answer(fd, &log, &size, NULL))
		log = NULL;
	return ask_refusal(e, reply->code_name, reply->errnum, reply->text, (const char *)log);
}

static int write_raw(const uint8_t *data, size_t size, struct err *e)
{
	if (fwrite(data, 1, size, stdout) != size || (size && data[size - 1] != '\n' && fputc('\n', stdout) == EOF))
		return err_errno(e, ERR_IO, "standard output");
	return 0;
}

int ask(const struct options *o, const struct control_request *request, int fd, json_t **out, struct err *e)
{
	OWN_FD int sock = -1;
	OWN_FD int answer = -1;
	OWN_FREE uint8_t *text = NULL;
	struct control_reply reply;
	json_auto_t *root = NULL;
	size_t size = 0;

	if (ask_connect(o->run_dir, "control.sock", SOCK_SEQPACKET, &sock, e))
		return -1;
	/* A daemon that refuses this client may have answered and closed already: its answer says more than EPIPE. */
	if (msg_send(sock, request, sizeof(*request), &fd, fd >= 0 ? 1 : 0, 0, e) && e->errnum != EPIPE)
		return -1;
	if (final_reply(sock, &reply, &answer, e))
		return -1;
	if (reply.code_name[0] && reply.code != ERR_NONE)
		return refused(&reply, answer, e);
	if (read_answer(answer, &text, &size, e))
		return -1;
	if (o->json)
		return write_raw(text, size, e);
	if (json_read(text, size, ERR_DAEMON_PROTOCOL, &root, e))
		return err_wrap(e, "the daemon's answer");
	if (!json_is_object(root))
		return err_set(e, ERR_DAEMON_PROTOCOL, "the daemon's answer is no JSON object");
	*out = TAKE_PTR(root);
	return 0;
}

int ask_refused(const char *path, struct err *e)
{
	return err_status(e->code) < err_status(ERR_ARCHIVE_TOO_LARGE) ? -1 : err_wrap(e, "%s", path);
}
