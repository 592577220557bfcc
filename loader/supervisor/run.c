#include "loader/supervisor/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/sandbox/sandbox.h"
#include "loader/supervisor/host.h"
#include "loader/supervisor/notify.h"
#include "loader/supervisor/serve.h"

enum {
	RESTART_FIRST_MS = 200,
	RESTART_MOST_MS = 30000,
	HEALTHY_MS = 60000, /* a monitor that ran for so long starts again without waiting */
	STOP_MS = 10000,    /* what a stopping monitor gets before SIGKILL */
};

struct supervisor {
	struct run_options options;
	struct run_ids ids;
	struct host host;
	struct server server;
	int signal_fd;
	pid_t monitor;
	bool stopping;
	int exit_status;
	uint64_t started_ms, restart_at_ms, kill_at_ms; /* 0: not due */
	unsigned backoff_ms;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int start_monitor(struct supervisor *s, struct err *e)
{
	char gid[16];
	const char *args[] = {"obsload-monitor",
			      s->options.config_dir,
			      s->options.state_dir,
			      s->host.pin_root,
			      s->host.cgroup,
			      gid,
			      NULL};
	int pair[2];

	snprintf(gid, sizeof(gid), "%u", s->ids.control_gid);
	if (msg_pair(pair, e))
		return -1;
	OWN_FD int mine = pair[0];
	OWN_FD int theirs = pair[1];
	/* The lock goes along: as long as a monitor lives, no other daemon starts. */
	const int fds[] = {theirs, s->host.control_fd, s->host.events_fd, s->host.kallsyms_fd, s->host.lock_fd};
	if (children_spawn(&s->server.children, CHILD_MONITOR, fds, ARRAY_LEN(fds), args, &s->monitor, e))
		return -1;
	s->server.sock = TAKE_FD(mine);
	s->started_ms = now_ms();
	s->restart_at_ms = 0;
	return 0;
}

static void monitor_gone(struct supervisor *s, int status, const char *how)
{
	uint64_t now = now_ms();

	s->monitor = 0;
	if (s->server.sock >= 0)
		close(TAKE_FD(s->server.sock));
	children_kill_all(&s->server.children, SIGKILL);
	if (s->stopping || !s->server.was_ready) {
		/* A monitor that cannot even start said why; its exit status is that of the error. */
		if (!s->stopping)
			s->exit_status = WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 4;
		else if (!WIFEXITED(status) || WEXITSTATUS(status))
			log_line(LOG_LEVEL_ERROR, "monitor %s", how);
		if (!s->stopping && !WIFEXITED(status))
			log_line(LOG_LEVEL_ERROR, "monitor %s", how);
		s->stopping = true;
		return;
	}
	if (now - s->started_ms > HEALTHY_MS)
		s->backoff_ms = 0;
	s->backoff_ms = s->backoff_ms ? s->backoff_ms * 2 : RESTART_FIRST_MS;
	if (s->backoff_ms > RESTART_MOST_MS)
		s->backoff_ms = RESTART_MOST_MS;
	s->restart_at_ms = now + s->backoff_ms;
	log_line(LOG_LEVEL_ERROR, "monitor %s: programs stay attached; it starts again in %u ms", how, s->backoff_ms);
}

static void reap(struct supervisor *s)
{
	char how[128];
	pid_t pid;
	int status;
	enum child_kind kind;

	while ((kind = children_reap(&s->server.children, &pid, &status, how, sizeof(how))) != CHILD_NONE) {
		if (kind == CHILD_MONITOR && pid == s->monitor)
			monitor_gone(s, status, how);
		else if (!s->stopping && s->monitor && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
			log_line(LOG_LEVEL_WARNING, "%s (pid %d) %s", child_kind_names[kind], pid, how);
	}
}

static void stop(struct supervisor *s)
{
	struct err e = ERR_INIT;

	if (s->stopping)
		return;
	s->stopping = true;
	if (notify_send("STOPPING=1", &e))
		log_err(LOG_LEVEL_WARNING, &e);
	if (s->monitor)
		children_kill(&s->server.children, s->monitor, SIGTERM);
	s->kill_at_ms = now_ms() + STOP_MS;
}

static void take_signals(struct supervisor *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(s);
		else
			stop(s);
	}
}

static void due(struct supervisor *s)
{
	uint64_t now = now_ms();
	struct err e = ERR_INIT;

	if (s->kill_at_ms && now >= s->kill_at_ms) {
		log_line(LOG_LEVEL_ERROR, "the monitor does not stop: killing it");
		children_kill_all(&s->server.children, SIGKILL);
		s->kill_at_ms = 0;
	}
	if (!s->stopping && s->restart_at_ms && now >= s->restart_at_ms && start_monitor(s, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		s->restart_at_ms = now + RESTART_MOST_MS;
	}
}

static int timeout_ms(const struct supervisor *s)
{
	uint64_t now = now_ms(), next = s->stopping ? s->kill_at_ms : s->restart_at_ms;

	if (!next)
		return -1;
	return next <= now ? 0 : (int)(next - now);
}

static void loop(struct supervisor *s)
{
	while (!s->stopping || children_any(&s->server.children)) {
		struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
				       {.fd = s->server.sock, .events = POLLIN}};
		if (poll(fds, ARRAY_LEN(fds), timeout_ms(s)) < 0 && errno != EINTR)
			return;
		if (fds[0].revents)
			take_signals(s);
		/* After the signals s->server.sock may be another one, or closed. */
		if (s->server.sock >= 0 && s->server.sock == fds[1].fd && fds[1].revents && serve_request(&s->server)) {
			/* Its messages make no sense: whatever it is now, it is not the monitor that was started. */
			children_kill(&s->server.children, s->monitor, SIGKILL);
			close(TAKE_FD(s->server.sock));
		}
		due(s);
	}
}

static int signals(int *out_fd, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return err_errno(e, ERR_INTERNAL, "sigprocmask");
	*out_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (*out_fd < 0)
		return err_errno(e, ERR_IO, "signalfd");
	return 0;
}

static int run(struct supervisor *s, struct err *e)
{
	if (geteuid() != 0)
		return err_set(e, ERR_KERNEL_NO_BPF, "run: only root may load BPF programs");
	if (sandbox_check(SANDBOX_SUPERVISOR, e))
		return -1;
	if (run_ids_find(&s->options, &s->ids, e) || host_prepare(&s->options, &s->ids, &s->host, e))
		return -1;
	if (children_open(&s->server.children, &s->ids, s->options.foreground, e))
		return err_wrap(e, "the daemon's programs");
	if (sandbox_capabilities(SANDBOX_SUPERVISOR, e) || signals(&s->signal_fd, e) || start_monitor(s, e))
		return -1;
	loop(s);
	return 0;
}

int supervisor_main(int argc, char **argv)
{
	struct supervisor s = {.host = HOST_INIT, .signal_fd = -1, .server = SERVER_INIT};
	struct err e = ERR_INIT;
	bool help;

	if (run_options_parse(argc, argv, &s.options, &help, &e))
		return err_print(stderr, "obsload", &e, false);
	if (help)
		return 0;
	if (s.options.foreground)
		setenv(LOG_ENVIRONMENT, "plain", 1);
	log_open("obsload");
	umask(077);
	/* A log that nobody reads any more ends neither this process nor, since exec leaves it so, its children. */
	signal(SIGPIPE, SIG_IGN);
	s.server.max_subscribers = s.options.max_subscribers;
	if (run(&s, &e))
		s.exit_status = err_print(stderr, "obsload", &e, false);
	if (s.host.control_fd >= 0)
		host_unlink(&s.options);
	children_close(&s.server.children);
	host_free(&s.host);
	if (s.signal_fd >= 0)
		close(s.signal_fd);
	return s.exit_status;
}
