/* The privileged process: verifies, loads, attaches, pins, audits, and serves the control socket. Started by the
 * supervisor with the descriptors of loader/ipc/supervisor.h and, as arguments, paths:
 *
 *   monitor CONFIG-DIR STATE-DIR PIN-ROOT CGROUP-ROOT CONTROL-GID
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "keys/cert.h"
#include "loader/ipc/log.h"
#include "loader/ipc/supervisor.h"
#include "loader/monitor/control.h"
#include "loader/sandbox/sandbox.h"

enum { UNPACK_MS = 15000 };

struct monitor {
	struct loop loop;
	struct parent parent;
	struct state state;
	struct audit audit;
	struct clock clock;
	struct worker worker;
	struct bundles bundles;
	struct control control;
	struct source signals, parent_source;
	bool stopping;
};

static int spawn_unpacker(void *ctx, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e)
{
	return parent_spawn_unpacker(ctx, sock, file_fd, pid, pidfd, e);
}

static void kill_unpacker(void *ctx, pid_t pid)
{
	struct err e = ERR_INIT;

	if (parent_kill(ctx, pid, &e))
		log_err(LOG_LEVEL_WARNING, &e);
}

static int packet_socket(void *ctx, int *out_fd, struct err *e)
{
	return parent_packet_socket(ctx, out_fd, e);
}

static int perf_event(void *ctx, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e)
{
	return parent_perf_event(ctx, perf, file_fd, out_fd, e);
}

static void signal_ready(void *ctx, uint32_t events)
{
	struct monitor *m = ctx;
	struct signalfd_siginfo info;

	(void)events;
	/* SIGINT of a terminal reaches the whole group: the supervisor decides. */
	while (read(m->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		m->stopping |= info.ssi_signo == SIGTERM;
}

/* The supervisor speaks only when asked: this is its end. */
static void parent_ended(void *ctx, uint32_t events)
{
	struct monitor *m = ctx;

	(void)events;
	log_line(LOG_LEVEL_ERROR, "the supervisor is gone: ending; programs stay attached");
	m->parent.broken = true;
	m->stopping = true;
}

static int watch_signals(struct monitor *m, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return err_errno(e, ERR_INTERNAL, "sigprocmask");
	m->signals =
	    (struct source){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = signal_ready, .ctx = m};
	if (m->signals.fd < 0)
		return err_errno(e, ERR_IO, "signalfd");
	return loop_add(&m->loop, &m->signals, EPOLLIN, e);
}

/* Descriptors 3 to 7 as the supervisor promised; 6 may be missing. */
static int check_descriptors(struct err *e)
{
	for (int fd = MONITOR_FD_SUPERVISOR; fd <= MONITOR_FD_LOCK; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) && fd != MONITOR_FD_KALLSYMS)
			return err_set(e, ERR_USAGE, "the monitor is started by obsload run");
	return 0;
}

static int parse_gid(const char *text, gid_t *out, struct err *e)
{
	char *end = NULL;
	unsigned long gid;

	errno = 0;
	gid = strtoul(text, &end, 10);
	if (errno || end == text || *end || gid > UINT32_MAX - 1)
		return err_set(e, ERR_USAGE, "group %s", text);
	*out = (gid_t)gid;
	return 0;
}

static void wire(struct monitor *m, char **argv)
{
	m->parent.sock = MONITOR_FD_SUPERVISOR;
	m->parent_source = (struct source){.fd = MONITOR_FD_SUPERVISOR, .ready = parent_ended, .ctx = m};
	m->worker.loop = &m->loop;
	m->worker.parent = &m->parent;
	m->worker.started = bundles_worker_started;
	m->worker.sample_done = bundles_sample_done;
	m->worker.ctx = &m->bundles;
	m->worker.events_fd = MONITOR_FD_EVENTS;
	m->worker.kallsyms_fd = fcntl(MONITOR_FD_KALLSYMS, F_GETFD) < 0 ? -1 : MONITOR_FD_KALLSYMS;
	m->bundles.state = &m->state;
	m->bundles.audit = &m->audit;
	m->bundles.clock = &m->clock;
	m->bundles.admit.clock = &m->clock;
	m->bundles.worker = &m->worker;
	m->bundles.admit.config_dir = argv[1];
	m->bundles.admit.unpacker = (struct admit_unpacker){
	    .spawn = spawn_unpacker, .kill = kill_unpacker, .ctx = &m->parent, .timeout_ms = UNPACK_MS};
	m->bundles.host.pin_root = argv[3];
	m->bundles.host.cgroup_root = argv[4][0] ? argv[4] : NULL;
	m->bundles.host.packet_socket = packet_socket;
	m->bundles.host.packet_ctx = &m->parent;
	m->bundles.host.perf_event = perf_event;
	m->bundles.host.perf_ctx = &m->parent;
	m->control.loop = &m->loop;
	m->control.bundles = &m->bundles;
	m->control.listen_fd = MONITOR_FD_CONTROL;
}

static int set_up(struct monitor *m, int argc, char **argv, struct err *e)
{
	uint64_t never = UINT64_MAX;

	if (argc != 6)
		return err_set(e, ERR_USAGE, "the monitor is started by obsload run");
	if (check_descriptors(e) || parse_gid(argv[5], &m->control.group, e))
		return -1;
	wire(m, argv);
	if (sandbox_capabilities(SANDBOX_MONITOR, e) || sandbox_enter(SANDBOX_MONITOR, e) || kernel_probe(e))
		return -1;
	if (state_open(argv[2], &m->state, e) || clock_open(m->state.dir_fd, &m->clock, e) ||
	    audit_open(m->state.dir_fd, &m->audit, e))
		return err_wrap(e, "%s", argv[2]);
	/* Interfaces are watched before the first program is attached, so that none comes up unseen in between. */
	if (loop_open(&m->loop, e) || watch_signals(m, e) || loop_add(&m->loop, &m->parent_source, EPOLLRDHUP, e) ||
	    worker_open(&m->worker, e) || interfaces_open(&m->bundles.interfaces, &m->loop, e))
		return -1;
	bundles_open(&m->bundles);
	/* The worker first: rings that filled while nobody read are read from the moment they are known. */
	worker_tick(&m->worker, loop_now_ms(), &never);
	if (bundles_start(&m->bundles, e) || control_open(&m->control, e))
		return -1;
	return parent_ready(&m->parent, e);
}

static int serve(struct monitor *m, struct err *e)
{
	while (!m->stopping && !m->parent.broken) {
		uint64_t now = loop_now_ms(), next = UINT64_MAX;
		worker_tick(&m->worker, now, &next);
		bundles_tick(&m->bundles, now, &next);
		bundles_follow(&m->bundles, now, &next);
		control_tick(&m->control, now, &next);
		clock_tick(&m->clock, now, &next);
		uint64_t wait = next == UINT64_MAX ? UINT64_MAX : next > now ? next - now : 0;
		if (loop_wait(&m->loop, wait > INT32_MAX ? -1 : (int)wait, e))
			return -1;
	}
	if (m->parent.broken)
		return err_set(e, ERR_DAEMON_FAILED, "the supervisor is gone");
	return 0;
}

int main(int argc, char **argv)
{
	static struct monitor m = {.loop = LOOP_INIT,
				   .state = STATE_INIT,
				   .audit = AUDIT_INIT,
				   .clock = CLOCK_INIT,
				   .worker = WORKER_INIT,
				   .bundles.interfaces = INTERFACES_INIT};
	struct err e = ERR_INIT;
	int status = 0;

	umask(077);
	log_open("monitor");
	if (trust_no_config(&e) || set_up(&m, argc, argv, &e) || serve(&m, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		status = err_status(e.code);
	}
	if (m.control.source.ready)
		control_close(&m.control);
	worker_close(&m.worker);
	interfaces_close(&m.bundles.interfaces);
	bundles_close(&m.bundles);
	audit_close(&m.audit);
	state_free(&m.state);
	loop_close(&m.loop);
	return status;
}
