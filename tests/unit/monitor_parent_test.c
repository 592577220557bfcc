/* Which failures of a request to the supervisor are its own, and which end the monitor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "loader/monitor/parent.h"

static int pair[2];
static struct err e;

static int make_pair(void **state)
{
	(void)state;
	e = (struct err)ERR_INIT;
	return msg_pair(pair, &e);
}

static int drop_pair(void **state)
{
	(void)state;
	close(pair[0]);
	if (pair[1] >= 0)
		close(pair[1]);
	return 0;
}

/* Any error of sending but that nobody is there: a descriptor that is none, as here, or too many in flight. */
static void ask_not_sent_ends_nothing(void **state)
{
	struct parent p = {.sock = pair[0]};
	const struct supervisor_reply ready = {.op = SUPERVISOR_READY};
	int pidfd = -1;
	pid_t pid;

	(void)state;
	assert_int_equal(parent_spawn_unpacker(&p, -1, -1, &pid, &pidfd, &e), -1);
	assert_int_equal(e.errnum, EBADF);
	assert_false(p.broken);
	assert_int_equal(msg_send(pair[1], &ready, sizeof(ready), NULL, 0, 0, &e), 0);
	assert_int_equal(parent_ready(&p, &e), 0);
}

static void ask_of_nobody_is_the_end(void **state)
{
	struct parent p = {.sock = pair[0]};

	(void)state;
	close(pair[1]);
	pair[1] = -1;
	assert_int_equal(parent_ready(&p, &e), -1);
	assert_true(p.broken);
}

static void ask_answered_otherwise_is_the_end(void **state)
{
	struct parent p = {.sock = pair[0]};
	const struct supervisor_reply other = {.op = SUPERVISOR_KILL};

	(void)state;
	assert_int_equal(msg_send(pair[1], &other, sizeof(other), NULL, 0, 0, &e), 0);
	assert_int_equal(parent_ready(&p, &e), -1);
	assert_int_equal(e.code, ERR_DAEMON_FAILED);
	assert_true(p.broken);
}

int main(void)
{
#define WITH_PAIR(f) cmocka_unit_test_setup_teardown(f, make_pair, drop_pair)
	const struct CMUnitTest tests[] = {
	    WITH_PAIR(ask_not_sent_ends_nothing),
	    WITH_PAIR(ask_of_nobody_is_the_end),
	    WITH_PAIR(ask_answered_otherwise_is_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
