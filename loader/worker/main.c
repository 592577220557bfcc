/* obsload-worker: reads what programs send and serves it to subscribers. Started by the supervisor, under a uid of its own,
 * with the descriptors of loader/ipc/supervisor.h. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "loader/ipc/log.h"
#include "loader/ipc/supervisor.h"
#include "loader/sandbox/sandbox.h"
#include "loader/worker/loop.h"

static int parse_arguments(int argc, char **argv, unsigned *max_subscribers, struct err *e)
{
	char *end;

	if (argc == 1)
		return 0;
	if (argc != 3 || strcmp(argv[1], "--max-subscribers") != 0)
		return err_set(e, ERR_USAGE, "obsload run starts the worker: it is not run by hand");
	unsigned long n = strtoul(argv[2], &end, 10);
	if (*end || end == argv[2] || n == 0 || n > 1000000)
		return err_set(e, ERR_USAGE, "--max-subscribers: %s", argv[2]);
	*max_subscribers = (unsigned)n;
	return 0;
}

/* Libraries read these from files at their first use, which the sandbox does not let them. */
static void warm_up(char *host, size_t size)
{
	json_object_seed(0);
	if (gethostname(host, size - 1))
		snprintf(host, size, "localhost");
	host[size - 1] = '\0';
}

static int run(int argc, char **argv, struct err *e)
{
	struct worker_config config = {
	    .monitor_fd = WORKER_FD_MONITOR,
	    .events_fd = WORKER_FD_EVENTS,
	    .stats_fd = WORKER_FD_STATS,
	    .kallsyms_fd = fcntl(WORKER_FD_KALLSYMS, F_GETFD) < 0 ? -1 : WORKER_FD_KALLSYMS,
	};
	OWN(worker) struct worker *w = NULL;
	char host[256] = "";

	if (parse_arguments(argc, argv, &config.max_subscribers, e))
		return -1;
	warm_up(host, sizeof(host));
	config.host = host;
	/* The sandbox forbids files to grow: a log that is a file then fails, and must not kill. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (sandbox_enter(SANDBOX_WORKER, e))
		return err_wrap(e, "sandbox");
	if (worker_new(&config, &w, e))
		return -1;
	return worker_run(w, e);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	log_open("worker");
	if (run(argc, argv, &e) == 0)
		return 0;
	log_err(LOG_LEVEL_ERROR, &e);
	return err_status(e.code);
}
