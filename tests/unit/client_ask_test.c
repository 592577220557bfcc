#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bundles/base/file.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/ipc/msg.h"

/* A daemon of one connection: keeps the request, sends progress and one final packet. */
struct server {
	char dir[64];
	int listener;
	pthread_t thread;
	struct control_request got;
	char got_file[64]; /* what the descriptor of the request holds */
	struct control_reply reply;
	const char *answer; /* into a memfd; NULL: no descriptor */
	bool unsealed, silent;
};

static int answer_fd(const struct server *s)
{
	struct err e = ERR_INIT;
	int fd = -1;

	if (!s->answer)
		return -1;
	if (s->unsealed) {
		fd = memfd_create("test", MFD_CLOEXEC);
		return write(fd, s->answer, strlen(s->answer)) == (ssize_t)strlen(s->answer) ? fd : -1;
	}
	return file_sealed("test", s->answer, strlen(s->answer), &fd, &e) ? -1 : fd;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];
	OWN_FD int sock = accept(s->listener, NULL, NULL);

	if (msg_recv(sock, &s->got, sizeof(s->got), fds, 0, &e) != MSG_OK)
		return NULL;
	if (fds[0] >= 0) {
		if (!file_is_sealed(fds[0]) || pread(fds[0], s->got_file, sizeof(s->got_file) - 1, 0) < 0)
			s->got_file[0] = '!';
		close(fds[0]);
	}
	if (s->silent)
		return NULL;
	struct control_reply progress = {
	    .magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .kind = CONTROL_PROGRESS, .step = 1, .steps = 2};
	OWN_FD int fd = answer_fd(s);
	if (msg_send(sock, &progress, sizeof(progress), NULL, 0, 0, &e) ||
	    msg_send(sock, &s->reply, sizeof(s->reply), &fd, fd >= 0, 0, &e))
		return NULL;
	return NULL;
}

static struct server *server_start(const char *answer)
{
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_non_null(s);
	strcpy(s->dir, "/tmp/client-ask.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	s->answer = answer;
	s->reply = (struct control_reply){.magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .kind = CONTROL_FINAL};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/control.sock", s->dir);
	s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 1), 0);
	return s;
}

static void server_run(struct server *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_stop(struct server *s)
{
	char path[128];

	pthread_join(s->thread, NULL);
	close(s->listener);
	snprintf(path, sizeof(path), "%s/control.sock", s->dir);
	unlink(path);
	rmdir(s->dir);
	free(s);
}

static int ask_list(const struct server *s, json_t **out, struct err *e)
{
	struct options o = OPTIONS_INIT;
	struct control_request request;

	o.run_dir = s->dir;
	assert_int_equal(ask_request(CONTROL_LIST, "a/b", "x", &request, e), 0);
	return ask(&o, &request, -1, out, e);
}

static void ask_answer_is_parsed(void **state)
{
	struct server *s = server_start("{\"bundles\":[]}");
	struct err e = ERR_INIT;
	json_auto_t *answer = NULL;

	(void)state;
	server_run(s);
	assert_int_equal(ask_list(s, &answer, &e), 0);
	assert_true(json_is_array(json_object_get(answer, "bundles")));
	assert_int_equal(s->got.magic, CONTROL_MAGIC);
	assert_int_equal(s->got.op, CONTROL_LIST);
	assert_string_equal(s->got.name, "a/b");
	server_stop(s);
}

static void ask_refusal_becomes_the_daemons_error(void **state)
{
	struct server *s = server_start("0: (61) r0 = *(u32 *)(r1 +0)\ninvalid access");
	struct err e = ERR_INIT;
	json_t *answer = NULL;
	char text[2048];

	(void)state;
	s->reply.code = ERR_KERNEL_VERIFIER;
	s->reply.errnum = EACCES;
	strcpy(s->reply.code_name, "kernel.verifier");
	strcpy(s->reply.text, "program on_exec: invalid access");
	server_run(s);
	assert_int_equal(ask_list(s, &answer, &e), -1);
	assert_null(answer);
	assert_int_equal(e.code, ERR_KERNEL_VERIFIER);
	assert_int_equal(e.errnum, EACCES);
	assert_string_equal(err_text(&e, text, sizeof(text)), "program on_exec: invalid access");
	assert_non_null(strstr(e.log, "invalid access"));
	server_stop(s);
}

static void ask_refusal_with_long_text_is_kept_whole(void **state)
{
	struct err e = ERR_INIT;
	char text[1536] = "", back[2048];

	(void)state;
	for (int i = 0; strlen(text) < 1400; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%spart %d of a long message", i ? ": " : "",
			 i);
	assert_int_equal(ask_refusal(&e, "object.mismatch", 0, text, NULL), -1);
	assert_string_equal(err_text(&e, back, sizeof(back)), text);
}

static void ask_refusal_with_unknown_code_names_it(void **state)
{
	struct err e = ERR_INIT;
	char text[512];

	(void)state;
	assert_int_equal(ask_refusal(&e, "future.code", 0, "what", NULL), -1);
	assert_int_equal(e.code, ERR_DAEMON_FAILED);
	assert_string_equal(err_text(&e, text, sizeof(text)), "future.code: what");
}

static void assert_broken(struct server *s, enum err_code code)
{
	struct err e = ERR_INIT;
	json_t *answer = NULL;

	server_run(s);
	assert_int_equal(ask_list(s, &answer, &e), -1);
	assert_null(answer);
	assert_int_equal(e.code, code);
	server_stop(s);
}

static void ask_broken_answer_is_protocol_error(void **state)
{
	struct server *s;

	(void)state;
	s = server_start("{}");
	s->reply.version = CONTROL_VERSION + 1;
	assert_broken(s, ERR_DAEMON_PROTOCOL);
	s = server_start("[]");
	assert_broken(s, ERR_DAEMON_PROTOCOL);
	s = server_start("{\"a\":1,\"a\":2}");
	assert_broken(s, ERR_DAEMON_PROTOCOL);
	s = server_start(NULL);
	assert_broken(s, ERR_DAEMON_PROTOCOL);
}

static void ask_answer_that_is_not_sealed_is_refused(void **state)
{
	struct server *s = server_start("{}");
	struct err e = ERR_INIT;
	json_t *answer = NULL;

	(void)state;
	s->unsealed = true;
	server_run(s);
	assert_int_equal(ask_list(s, &answer, &e), -1);
	assert_null(answer);
	server_stop(s);
}

static void ask_daemon_that_ends_without_answer_is_told(void **state)
{
	struct server *s = server_start("{}");

	(void)state;
	s->silent = true;
	assert_broken(s, ERR_DAEMON_FAILED);
}

static void ask_without_daemon_is_absent(void **state)
{
	struct options o = OPTIONS_INIT;
	struct control_request request;
	struct err e = ERR_INIT;
	json_t *answer = NULL;

	(void)state;
	o.run_dir = "/nonexistent";
	assert_int_equal(ask_request(CONTROL_LIST, NULL, NULL, &request, &e), 0);
	assert_int_equal(ask(&o, &request, -1, &answer, &e), -1);
	assert_int_equal(e.code, ERR_DAEMON_ABSENT);
}

static void ask_run_dir_too_long_for_a_socket_is_told(void **state)
{
	struct err e = ERR_INIT;
	char dir[200];
	int fd = -1;

	(void)state;
	memset(dir, 'd', sizeof(dir) - 1);
	dir[sizeof(dir) - 1] = '\0';
	assert_int_equal(ask_connect(dir, "control.sock", SOCK_SEQPACKET, &fd, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
}

static void ask_request_longer_than_fields_is_usage_error(void **state)
{
	struct control_request request;
	struct err e = ERR_INIT;
	char name[CONTROL_NAME_BYTES + 1], arg[CONTROL_ARG_BYTES + 1];

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(arg, 'a', sizeof(arg) - 1);
	arg[sizeof(arg) - 1] = '\0';
	assert_int_equal(ask_request(CONTROL_REMOVE, name, NULL, &request, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(ask_request(CONTROL_SET, NULL, arg, &request, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

static void ask_open_pipe_is_copied_and_sealed(void **state)
{
	struct err e = ERR_INIT;
	char path[64];
	int ends[2], fd = -1;
	size_t size;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "bundle", 6), 6);
	close(ends[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	assert_int_equal(ask_open(path, 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e), 0);
	assert_int_equal(file_check_sealed(fd, 100, &size, &e), 0);
	assert_int_equal(size, 6);
	close(fd);
	close(ends[0]);
}

/* From its start, wherever whoever opened it has read to. */
static void ask_open_file_is_copied_and_sealed(void **state)
{
	OWN_FD int file = memfd_create("file", MFD_CLOEXEC);
	OWN_FD int input = dup(STDIN_FILENO);
	OWN_FD int fd = -1;
	struct err e = ERR_INIT;
	char text[8] = "";
	size_t size;

	(void)state;
	assert_int_equal(write(file, "bundle", 6), 6);
	assert_int_equal(dup2(file, STDIN_FILENO), STDIN_FILENO);
	int rc = ask_open("-", 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e);
	if (input >= 0)
		dup2(input, STDIN_FILENO);
	else
		close(STDIN_FILENO);
	assert_int_equal(rc, 0);
	assert_int_equal(file_check_sealed(fd, 100, &size, &e), 0);
	assert_int_equal(pread(fd, text, sizeof(text) - 1, 0), 6);
	assert_string_equal(text, "bundle");
}

static void ask_open_wrong_file_is_refused(void **state)
{
	struct err e = ERR_INIT;
	int fd = -1;

	(void)state;
	assert_int_equal(ask_open("/", 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_int_equal(e.errnum, EISDIR);
	assert_int_equal(ask_open("/nonexistent", 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e), -1);
	assert_int_equal(e.errnum, ENOENT);
	assert_int_equal(ask_open("/dev/zero", 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
	assert_int_equal(ask_open("/proc/self/exe", 100, ERR_ARCHIVE_TOO_LARGE, &fd, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
}

static void command_install_sends_file_and_flag(void **state)
{
	struct server *s = server_start("{\"name\":\"a/b\"}");
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	char path[96];
	char *argv[] = {path};

	(void)state;
	snprintf(path, sizeof(path), "%s/b.tar", s->dir);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "the bytes", 9), 9);
	close(fd);
	o.run_dir = s->dir;
	o.allow_downgrade = true;
	o.json = true;
	server_run(s);
	assert_int_equal(command_install(&o, 1, argv, &e), 0);
	assert_int_equal(s->got.op, CONTROL_INSTALL);
	assert_int_equal(s->got.flags, CONTROL_ALLOW_DOWNGRADE);
	assert_string_equal(s->got_file, "the bytes");
	unlink(path);
	server_stop(s);
}

static void command_with_wrong_words_is_usage_error(void **state)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	char a[] = "obs/network", good[] = "a=1", bad[] = "b", list[] = "list", what[] = "what";
	char *assignments[] = {a, good, bad}, *extra[] = {list, bad}, *unknown[] = {what};

	(void)state;
	/* The good one must not be sent either: there is no daemon, which would be another code. */
	o.run_dir = "/nonexistent";
	assert_int_equal(command_set(&o, 3, assignments, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(command_trust(&o, 2, extra, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(command_trust(&o, 1, unknown, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	o.names = "obs/*";
	assert_int_equal(command_trust(&o, 1, extra, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ask_answer_is_parsed),
	    cmocka_unit_test(ask_refusal_becomes_the_daemons_error),
	    cmocka_unit_test(ask_refusal_with_long_text_is_kept_whole),
	    cmocka_unit_test(ask_refusal_with_unknown_code_names_it),
	    cmocka_unit_test(ask_broken_answer_is_protocol_error),
	    cmocka_unit_test(ask_answer_that_is_not_sealed_is_refused),
	    cmocka_unit_test(ask_daemon_that_ends_without_answer_is_told),
	    cmocka_unit_test(ask_without_daemon_is_absent),
	    cmocka_unit_test(ask_run_dir_too_long_for_a_socket_is_told),
	    cmocka_unit_test(ask_request_longer_than_fields_is_usage_error),
	    cmocka_unit_test(ask_open_pipe_is_copied_and_sealed),
	    cmocka_unit_test(ask_open_file_is_copied_and_sealed),
	    cmocka_unit_test(ask_open_wrong_file_is_refused),
	    cmocka_unit_test(command_install_sends_file_and_flag),
	    cmocka_unit_test(command_with_wrong_words_is_usage_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
