#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "loader/ipc/msg.h"

struct packet {
	uint64_t a, b;
};

static int open_count(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static int set_up(void **state)
{
	static int pair[2];
	struct err e = ERR_INIT;

	if (msg_pair(pair, &e))
		return -1;
	*state = pair;
	return 0;
}

static int tear_down(void **state)
{
	int *pair = *state;

	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	return 0;
}

static void send_raw(int sock, const void *data, size_t size, const int *fds, size_t count)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	char space[CMSG_SPACE(64 * sizeof(int))];
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memset(space, 0, sizeof(space));
	if (count) {
		msg.msg_control = space;
		msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(c), fds, count * sizeof(int));
	}
	assert_int_equal(sendmsg(sock, &msg, 0), (ssize_t)size);
}

static void send_with_descriptors_arrives_whole(void **state)
{
	int *pair = *state, fds[MSG_MAX_FDS], mine = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct packet sent = {1, 2}, got = {0, 0};
	struct err e = ERR_INIT;
	struct stat a, b;
	const int both[] = {mine, mine};

	assert_int_equal(msg_send(pair[0], &sent, sizeof(sent), both, 2, 0, &e), 0);
	assert_int_equal(msg_recv(pair[1], &got, sizeof(got), fds, 0, &e), MSG_OK);
	assert_memory_equal(&sent, &got, sizeof(got));
	assert_true(fds[0] >= 0 && fds[1] >= 0 && fds[2] == -1 && fds[3] == -1);
	assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fds[1], &a) | fstat(mine, &b), 0);
	assert_true(a.st_rdev == b.st_rdev);
	close(fds[0]);
	close(fds[1]);
	close(mine);
}

static void recv_other_size_is_bad_and_closes_descriptors(void **state)
{
	int *pair = *state, fds[MSG_MAX_FDS], before = open_count();
	const int mine[] = {0};
	struct packet packet = {1, 2}, got;
	struct err e = ERR_INIT;
	char longer[64] = {0};

	send_raw(pair[0], &packet, sizeof(packet) - 1, mine, 1);
	assert_int_equal(msg_recv(pair[1], &got, sizeof(got), fds, 0, &e), MSG_BAD);
	assert_int_equal(e.code, ERR_DAEMON_PROTOCOL);
	send_raw(pair[0], longer, sizeof(longer), mine, 1);
	assert_int_equal(msg_recv(pair[1], &got, sizeof(got), fds, 0, &e), MSG_BAD);
	assert_int_equal(fds[0], -1);
	assert_int_equal(open_count(), before);
}

static void recv_too_many_descriptors_is_bad_and_closes_all(void **state)
{
	int *pair = *state, fds[MSG_MAX_FDS], before = open_count();
	const int many[] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
	struct packet packet = {1, 2}, got;
	struct err e = ERR_INIT;

	for (size_t count = MSG_MAX_FDS + 1; count <= ARRAY_LEN(many); count++) {
		send_raw(pair[0], &packet, sizeof(packet), many, count);
		assert_int_equal(msg_recv(pair[1], &got, sizeof(got), fds, 0, &e), MSG_BAD);
		assert_int_equal(open_count(), before);
	}
}

static void recv_nothing_there_says_again(void **state)
{
	int *pair = *state, fds[MSG_MAX_FDS];
	struct packet got;
	struct err e = ERR_INIT;

	assert_int_equal(msg_recv(pair[1], &got, sizeof(got), fds, MSG_DONTWAIT, &e), MSG_AGAIN);
}

static void recv_peer_gone_is_end(void **state)
{
	int *pair = *state, fds[MSG_MAX_FDS];
	struct packet got = {0};
	struct err e = ERR_INIT;

	close(pair[1]);
	pair[1] = -1;
	assert_int_equal(msg_recv(pair[0], &got, sizeof(got), fds, 0, &e), MSG_EOF);
	assert_int_equal(msg_send(pair[0], &got, sizeof(got), NULL, 0, 0, &e), -1);
	assert_int_equal(e.errnum, EPIPE);
}

static void send_full_socket_says_eagain(void **state)
{
	int *pair = *state;
	struct packet packet = {1, 2};
	struct err e = ERR_INIT;
	int sent = 0;

	while (msg_send(pair[0], &packet, sizeof(packet), NULL, 0, MSG_DONTWAIT, &e) == 0 && sent < 100000)
		sent++;
	assert_true(sent > 0 && sent < 100000);
	assert_int_equal(e.errnum, EAGAIN);
}

static void send_more_descriptors_than_agreed_is_refused(void **state)
{
	int *pair = *state;
	const int many[MSG_MAX_FDS + 1] = {0};
	struct packet packet = {1, 2};
	struct err e = ERR_INIT;

	assert_int_equal(msg_send(pair[0], &packet, sizeof(packet), many, ARRAY_LEN(many), 0, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(send_with_descriptors_arrives_whole),
	    TEST(recv_other_size_is_bad_and_closes_descriptors),
	    TEST(recv_too_many_descriptors_is_bad_and_closes_all),
	    TEST(recv_nothing_there_says_again),
	    TEST(recv_peer_gone_is_end),
	    TEST(send_full_socket_says_eagain),
	    TEST(send_more_descriptors_than_agreed_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
