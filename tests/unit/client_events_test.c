#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bundles/base/own.h"
#include "loader/client/commands.h"

/* `obsload events` in a process of its own, between a daemon and a reader that are this test. */
struct scene {
	char dir[64];
	int listener, daemon; /* its end of the connection */
	int output, errors;   /* what the command writes */
	pid_t command;
};

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_non_null(s);
	strcpy(s->dir, "/tmp/client-events.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/events.sock", s->dir);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 4), 0);
	s->daemon = s->output = s->errors = -1;
	*state = s;
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int teardown(void **state)
{
	struct scene *s = *state;
	char path[128];

	if (s->command > 0) {
		kill(s->command, SIGKILL);
		waitpid(s->command, NULL, 0);
	}
	snprintf(path, sizeof(path), "%s/events.sock", s->dir);
	unlink(path);
	rmdir(s->dir);
	close_fd(&s->listener);
	close_fd(&s->daemon);
	close_fd(&s->output);
	close_fd(&s->errors);
	free(s);
	return 0;
}

/* What main does around it. */
static void run_command(const struct options *o)
{
	struct err e = ERR_INIT;

	if (command_events(o, 0, NULL, &e))
		_exit(err_print(stderr, "obsload", &e, o->json));
	_exit(fflush(stdout) ? err_status(ERR_IO) : 0);
}

static void take_connection(struct scene *s)
{
	close_fd(&s->daemon);
	s->daemon = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(s->daemon >= 0);
}

static void start(struct scene *s, uint64_t count)
{
	struct options o = OPTIONS_INIT;
	int output[2], errors[2];

	o.run_dir = s->dir;
	o.json = true;
	o.count = count;
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	assert_int_equal(pipe2(errors, O_CLOEXEC), 0);
	s->output = output[0];
	s->errors = errors[0];
	fflush(NULL);
	s->command = fork();
	assert_true(s->command >= 0);
	if (s->command == 0) {
		close(s->listener);
		close(output[0]);
		dup2(output[1], STDOUT_FILENO);
		dup2(errors[1], STDERR_FILENO);
		close(output[1]);
		close(errors[1]);
		run_command(&o);
	}
	close(output[1]);
	close(errors[1]);
	take_connection(s);
}

static void expect_request(const struct scene *s, const char *expected)
{
	char request[256] = "";

	assert_true(recv(s->daemon, request, sizeof(request) - 1, 0) > 0);
	assert_string_equal(request, expected);
}

static void serve(const struct scene *s)
{
	expect_request(s, "{}\n");
}

static void send_line(const struct scene *s, const char *line)
{
	assert_int_equal(send(s->daemon, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* -1: it is still there after so many seconds. */
static int ended(struct scene *s, int seconds)
{
	int status;

	for (int i = 0; i < seconds * 100; i++) {
		pid_t pid = waitpid(s->command, &status, WNOHANG);
		assert_true(pid >= 0);
		if (pid > 0) {
			s->command = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		}
		usleep(10000);
	}
	return -1;
}

static void read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used + 1 < size && (n = read(fd, text + used, size - used - 1)) > 0)
		used += (size_t)n;
	text[used] = '\0';
}

#define HEAD(event) "{\"time\":\"2026-11-22T10:00:00.000000001Z\",\"event\":\"" event "\",\"bundle\":\"demo/x\","
#define EVENT       HEAD("demo.x") "\"host\":\"h\",\"seq\":7,\"text\":\"some text that makes the line longer\"}\n"

static void events_count_takes_losses_alone_for_losses(void **state)
{
	struct scene *s = *state;
	static const char loss[] = HEAD("obs.lost") "\"host\":\"h\",\"seq\":1,\"source\":\"ring\",\"count\":2}\n";
	static const char looks_like_one[] =
	    HEAD("demo.x") "\"host\":\"h\",\"seq\":2,\"x\":{\"event\":\"obs.lost\"}}\n";
	char text[1024];

	start(s, 1);
	serve(s);
	send_line(s, loss);
	send_line(s, looks_like_one);
	assert_int_equal(ended(s, 5), 0);
	read_all(s->output, text, sizeof(text));
	assert_memory_equal(text, loss, strlen(loss));
	assert_string_equal(text + strlen(loss), looks_like_one);
}

/* Only who was served once asks for what came meanwhile. */
static void events_asks_the_same_until_it_is_read(void **state)
{
	struct scene *s = *state;
	char byte;

	start(s, 0);
	assert_int_equal(recv(s->daemon, &byte, 1, MSG_PEEK), 1);
	take_connection(s);
	serve(s);
	send_line(s, EVENT);
	take_connection(s);
	expect_request(s, "{\"last\":100000}\n");
}

/* More than pipe and sockets hold: the command waits in a write. */
static void flood(const struct scene *s)
{
	for (int full = 0; full < 20;) {
		if (send(s->daemon, EVENT, strlen(EVENT), MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
			full = 0;
		} else {
			full++;
			usleep(20000);
		}
	}
}

static void events_signal_ends_between_two_lines(void **state)
{
	struct scene *s = *state;
	static char text[1 << 20];

	start(s, 0);
	serve(s);
	flood(s);
	assert_int_equal(kill(s->command, SIGINT), 0);
	usleep(100000);
	read_all(s->output, text, sizeof(text));
	assert_int_equal(ended(s, 5), 0);
	assert_true(strlen(text) > strlen(EVENT) && strlen(text) < sizeof(text) - 1);
	assert_string_equal(text + strlen(text) - strlen(EVENT), EVENT);
}

static void events_signal_ends_while_the_reader_stalls(void **state)
{
	struct scene *s = *state;

	start(s, 0);
	serve(s);
	flood(s);
	assert_int_equal(kill(s->command, SIGTERM), 0);
	assert_int_equal(ended(s, 10), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    TEST(events_count_takes_losses_alone_for_losses),
	    TEST(events_asks_the_same_until_it_is_read),
	    TEST(events_signal_ends_between_two_lines),
	    TEST(events_signal_ends_while_the_reader_stalls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
