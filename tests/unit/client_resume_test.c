#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bundles/base/own.h"
#include "loader/client/resume.h"

/* A daemon that ends some connections unread before it serves one. */
struct server {
	char dir[64];
	int listener, signals;
	int refused; /* connections to end */
	bool full;   /* and it serves none */
	char got[64];
	int served; /* kept open */
	pthread_t thread;
};

static void *serve(void *arg)
{
	struct server *s = arg;

	for (int i = 0; i < s->refused; i++)
		close(accept(s->listener, NULL, NULL));
	if (s->full)
		return NULL;
	s->served = accept(s->listener, NULL, NULL);
	if (recv(s->served, s->got, sizeof(s->got) - 1, 0) < 0)
		s->got[0] = '!';
	return NULL;
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(s->dir, "/tmp/client-resume.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/events.sock", s->dir);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(s->listener, 4), 0);
	s->signals = eventfd(0, EFD_CLOEXEC);
	s->served = -1;
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;
	char path[128];

	snprintf(path, sizeof(path), "%s/events.sock", s->dir);
	unlink(path);
	rmdir(s->dir);
	close(s->listener);
	close(s->signals);
	if (s->served >= 0)
		close(s->served);
	free(s);
	return 0;
}

static void connection_is_served_when_its_request_is_read(void **state)
{
	struct server *s = *state;
	struct err e = ERR_INIT;
	OWN_FD int sock = -1;

	s->refused = 2;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	assert_int_equal(resume_stream(s->dir, "{}\n", s->signals, &sock, &e), 0);
	assert_true(sock >= 0);
	pthread_join(s->thread, NULL);
	assert_string_equal(s->got, "{}\n");
	/* It is that connection. */
	assert_int_equal(send(s->served, "x", 1, 0), 1);
	assert_int_equal(recv(sock, s->got, 1, 0), 1);
}

static void connections_closed_unread_are_busy(void **state)
{
	struct server *s = *state;
	struct err e = ERR_INIT;
	int sock = 0;

	s->refused = 5;
	s->full = true;
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
	assert_int_equal(resume_stream(s->dir, "{}\n", s->signals, &sock, &e), -1);
	assert_int_equal(e.code, ERR_REQUEST_BUSY);
	assert_int_equal(sock, -1);
	pthread_join(s->thread, NULL);
}

static void nobody_listens_ends(void **state)
{
	struct server *s = *state;
	struct err e = ERR_INIT;
	int sock = 0;

	close(s->listener);
	s->listener = -1;
	assert_int_equal(resume_stream(s->dir, "{}\n", s->signals, &sock, &e), -1);
	assert_int_equal(e.code, ERR_DAEMON_FAILED);
	assert_int_equal(sock, -1);
}

static void *leave_later(void *arg)
{
	struct server *s = arg;
	const uint64_t one = 1;

	usleep(400000);
	if (write(s->signals, &one, sizeof(one)) != sizeof(one))
		s->got[0] = '!';
	return NULL;
}

/* Nobody accepts: the connection is made, but not served. */
static void signal_ends_the_wait_for_service(void **state)
{
	struct server *s = *state;
	struct err e = ERR_INIT;
	int sock = 0;

	assert_int_equal(pthread_create(&s->thread, NULL, leave_later, s), 0);
	assert_int_equal(resume_stream(s->dir, "{}\n", s->signals, &sock, &e), 0);
	assert_int_equal(sock, -1);
	pthread_join(s->thread, NULL);
	assert_int_equal(s->got[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    TEST(connection_is_served_when_its_request_is_read),
	    TEST(connections_closed_unread_are_busy),
	    TEST(nobody_listens_ends),
	    TEST(signal_ends_the_wait_for_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
