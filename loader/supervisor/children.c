#include "loader/supervisor/children.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "loader/ipc/log.h"
#include "loader/sandbox/sandbox.h"

enum { PARKED_FD = 64 }; /* above every number that a child's descriptors get */

const char *const child_kind_names[CHILD_KIND_COUNT] = {
    [CHILD_NONE] = "none",
    [CHILD_MONITOR] = "monitor",
    [CHILD_WORKER] = "worker",
    [CHILD_UNPACKER] = "unpacker",
};

int children_open(struct children *c, const struct run_ids *ids, bool plain_log, struct err *e)
{
	char self[PATH_MAX], path[PATH_MAX + 64];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	c->ids = *ids;
	c->plain_log = plain_log;
	if (n < 0)
		return err_errno(e, ERR_IO, "/proc/self/exe");
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (!slash)
		return err_set(e, ERR_IO, "own path %s", self);
	*slash = '\0';
	for (int kind = CHILD_MONITOR; kind < CHILD_KIND_COUNT; kind++) {
		snprintf(path, sizeof(path), "%s/../libexec/obsload/%s", self, child_kind_names[kind]);
		c->program_fd[kind] = open(path, O_RDONLY | O_CLOEXEC);
		if (c->program_fd[kind] < 0)
			return err_errno(e, ERR_IO, "%s", path);
	}
	return 0;
}

void children_close(struct children *c)
{
	for (int kind = CHILD_MONITOR; kind < CHILD_KIND_COUNT; kind++) {
		if (c->program_fd[kind] >= 0)
			close(c->program_fd[kind]);
		c->program_fd[kind] = -1;
	}
}

/* In the child: descriptors to their places, by way of numbers out of the way. */
static int place_fds(const int *fds, size_t fd_count, int report_fd, int program_fd, int parked[static 2])
{
	int moved[CHILD_MAX_FDS];

	/* Standard error is the log; a terminal's other ends are nobody's business. */
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0)
		return -1;
	for (size_t i = 0; i < fd_count; i++) {
		moved[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, PARKED_FD);
		if (fds[i] >= 0 && moved[i] < 0)
			return -1;
	}
	parked[0] = fcntl(report_fd, F_DUPFD_CLOEXEC, PARKED_FD);
	parked[1] = fcntl(program_fd, F_DUPFD_CLOEXEC, PARKED_FD);
	if (parked[0] < 0 || parked[1] < 0)
		return -1;
	/* Everything inherited goes at exec; what the child gets is put back without that flag. */
	if (syscall(SYS_close_range, CHILD_FIRST_FD, ~0U, CLOSE_RANGE_CLOEXEC)) {
		if (errno != ENOSYS && errno != EINVAL)
			return -1; /* before 5.11 all were opened close-on-exec anyway */
	}
	for (size_t i = 0; i < fd_count; i++) {
		int to = CHILD_FIRST_FD + (int)i;
		if (moved[i] < 0)
			close(to);
		else if (dup2(moved[i], to) < 0)
			return -1;
	}
	return 0;
}

/* Never returns. What fails before exec is told through the report pipe, which exec closes. */
static void child_main(const struct children *c, enum child_kind kind, const int *fds, size_t fd_count, int report_fd,
		       const char *const *args)
{
	char *environment[2] = {c->plain_log ? LOG_ENVIRONMENT "=plain" : LOG_ENVIRONMENT "=journal", NULL};
	struct err e = ERR_INIT;
	int parked[2] = {report_fd, -1};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (place_fds(fds, fd_count, report_fd, c->program_fd[kind], parked)) {
		err_errno(&e, ERR_IO, "descriptors");
	} else if ((kind == CHILD_WORKER && sandbox_identity(c->ids.worker_uid, c->ids.worker_gid, &e)) ||
		   (kind == CHILD_UNPACKER && sandbox_identity(c->ids.unpacker_uid, c->ids.unpacker_gid, &e))) {
		err_wrap(&e, "identity");
	} else if (kind == CHILD_MONITOR && sandbox_bounding(SANDBOX_MONITOR, &e)) {
		err_wrap(&e, "capabilities");
	} else {
		fexecve(parked[1], (char *const *)(uintptr_t)args, environment);
		err_errno(&e, ERR_IO, "exec");
	}
	if (write(parked[0], &e, sizeof(e)) < 0)
		_exit(125);
	_exit(124);
}

static int read_report(int fd, struct err *e)
{
	struct err report;
	size_t size = 0;

	while (size < sizeof(report)) {
		ssize_t n = read(fd, (char *)&report + size, sizeof(report) - size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		size += (size_t)n;
	}
	if (size == 0)
		return 0;
	if (size < sizeof(report))
		return err_set(e, ERR_INTERNAL, "the child died before exec");
	*e = report;
	return -1;
}

int children_spawn(struct children *c, enum child_kind kind, const int *fds, size_t fd_count, const char *const *args,
		   pid_t *out_pid, struct err *e)
{
	OWN_FD int report_read = -1;
	OWN_FD int report_write = -1;
	int pair[2];
	size_t slot = 0;

	while (slot < CHILDREN_MAX && c->child[slot].kind != CHILD_NONE)
		slot++;
	if (slot == CHILDREN_MAX || fd_count > CHILD_MAX_FDS)
		return err_set(e, ERR_LIMIT, "more than %d children", CHILDREN_MAX);
	if (pipe2(pair, O_CLOEXEC))
		return err_errno(e, ERR_IO, "pipe");
	report_read = pair[0];
	report_write = pair[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_errno(e, ERR_IO, "fork");
	if (pid == 0)
		child_main(c, kind, fds, fd_count, report_write, args);
	c->child[slot].kind = kind;
	c->child[slot].pid = pid;
	close(TAKE_FD(report_write));
	if (read_report(report_read, e))
		return err_wrap(e, "starting the %s", child_kind_names[kind]);
	*out_pid = pid;
	return 0;
}

enum child_kind children_reap(struct children *c, pid_t *out_pid, int *out_status, char *how, size_t size)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	if (pid <= 0)
		return CHILD_NONE;
	*out_pid = pid;
	*out_status = status;
	if (WIFSIGNALED(status))
		snprintf(how, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(how, size, "exited with status %d", WEXITSTATUS(status));
	for (size_t i = 0; i < CHILDREN_MAX; i++) {
		if (c->child[i].kind != CHILD_NONE && c->child[i].pid == pid) {
			enum child_kind kind = c->child[i].kind;
			c->child[i].kind = CHILD_NONE;
			return kind;
		}
	}
	return CHILD_NONE;
}

int children_kill(const struct children *c, pid_t pid, int sig)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (c->child[i].kind != CHILD_NONE && c->child[i].pid == pid)
			return kill(pid, sig);
	errno = ESRCH;
	return -1;
}

void children_kill_all(const struct children *c, int sig)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (c->child[i].kind != CHILD_NONE)
			kill(c->child[i].pid, sig);
}

bool children_any(const struct children *c)
{
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (c->child[i].kind != CHILD_NONE)
			return true;
	return false;
}

size_t children_count(const struct children *c, enum child_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < CHILDREN_MAX; i++)
		count += c->child[i].kind == kind;
	return count;
}
