/* control.sock: who is late. Requests are answered at once here. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/monitor/control.h"

int __wrap_control_answer(struct control_call *call, char **out_json, struct err *e);
int __wrap_control_answer(struct control_call *call, char **out_json, struct err *e)
{
	(void)call;
	*out_json = strdup("{}");
	return *out_json ? 0 : err_errno(e, ERR_NOMEM, "answer");
}

static struct loop loop;
static struct control control;
static struct sockaddr_un address;
static socklen_t address_size;

static int open_socket(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	loop = (struct loop)LOOP_INIT;
	control = (struct control){.loop = &loop, .group = getgid()};
	address = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* In no folder: the kernel chooses a name. */
	address_size = sizeof(sa_family_t);
	control.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (control.listen_fd < 0 || bind(control.listen_fd, (struct sockaddr *)&address, address_size) ||
	    listen(control.listen_fd, 8))
		return -1;
	address_size = sizeof(address);
	return getsockname(control.listen_fd, (struct sockaddr *)&address, &address_size) || loop_open(&loop, &e) ||
	       control_open(&control, &e);
}

static int close_socket(void **state)
{
	(void)state;
	control_close(&control);
	loop_close(&loop);
	return close(control.listen_fd);
}

static int connected(void)
{
	struct err e = ERR_INIT;
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	assert_int_equal(connect(sock, (struct sockaddr *)&address, address_size), 0);
	assert_int_equal(loop_wait(&loop, 1000, &e), 0);
	return sock;
}

static enum err_code answered(int sock)
{
	struct control_reply reply = {.code = ERR_NONE};
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];

	assert_int_equal(msg_recv(sock, &reply, sizeof(reply), fds, MSG_DONTWAIT, &e), MSG_OK);
	assert_int_equal(reply.kind, CONTROL_FINAL);
	if (fds[0] >= 0)
		close(fds[0]);
	return reply.code;
}

static void tick_ends_who_says_nothing(void **state)
{
	OWN_FD int sock = connected();
	uint64_t now = loop_now_ms(), next = UINT64_MAX;

	(void)state;
	control_tick(&control, now, &next);
	assert_in_range(next, now, now + CONTROL_RECEIVE_MS);
	control_tick(&control, now + CONTROL_RECEIVE_MS + 1, &next);
	assert_int_equal(answered(sock), ERR_REQUEST_TIMEOUT);
}

/* The request lay there while the monitor was at another one for longer than a peer has. */
static void tick_spares_whose_request_waits(void **state)
{
	const struct control_request request = {.magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .op = CONTROL_LIST};
	OWN_FD int sock = connected();
	uint64_t next = UINT64_MAX;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(msg_send(sock, &request, sizeof(request), NULL, 0, 0, &e), 0);
	control_tick(&control, loop_now_ms() + CONTROL_RECEIVE_MS + 1, &next);
	assert_int_equal(loop_wait(&loop, 1000, &e), 0);
	assert_int_equal(answered(sock), ERR_NONE);
}

static void tick_drops_who_left(void **state)
{
	int sock = connected();
	uint64_t next = UINT64_MAX;
	struct err e = ERR_INIT;

	(void)state;
	close(sock);
	control_tick(&control, loop_now_ms() + CONTROL_RECEIVE_MS + 1, &next);
	assert_int_equal(loop_wait(&loop, 0, &e), 0);
	for (size_t i = 0; i < CONTROL_CONNECTIONS; i++)
		assert_int_equal(control.connection[i].source.fd, -1);
}

int main(void)
{
#define WITH_SOCKET(f) cmocka_unit_test_setup_teardown(f, open_socket, close_socket)
	const struct CMUnitTest tests[] = {
	    WITH_SOCKET(tick_ends_who_says_nothing),
	    WITH_SOCKET(tick_spares_whose_request_waits),
	    WITH_SOCKET(tick_drops_who_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
