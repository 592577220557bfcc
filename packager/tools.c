#include "packager/tools.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bundles/base/text.h"

struct tools {
	char cwd[PATH_MAX];
	char *path;               /* PATH, without relative folders */
	sigset_t before, watched; /* signals that were blocked; that wait_for waits for */
};

/* ---- where they are ---- */

/* What PATH says, each of its folders absolute. */
static int absolute_path(const char *cwd, char **out, struct err *e)
{
	OWN_TEXT_STREAM struct text_stream s = {0};
	const char *list = getenv("PATH"), *separator = "";
	size_t size;

	if (text_stream_open(&s))
		return err_errno(e, ERR_NOMEM, "PATH");
	for (const char *p = list ? list : "/usr/local/bin:/usr/bin:/bin";; p++) {
		int len = (int)strcspn(p, ":");
		bool absolute = *p == '/';
		if (absolute || !strchr(cwd, ':')) {
			fprintf(s.f, "%s%s%s%.*s", separator, absolute ? "" : cwd, absolute ? "" : "/", len, p);
			separator = ":";
		}
		p += len;
		if (!*p)
			break;
	}
	return text_stream_end(&s, out, &size) ? err_errno(e, ERR_NOMEM, "PATH") : 0;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int tools_find(const struct tools *t, const char *variable, const char *fallback, char **out, struct err *e)
{
	const char *name = getenv(variable);
	char candidate[PATH_MAX];

	if (!name || !name[0])
		name = fallback;
	if (strchr(name, '/')) {
		bool absolute = name[0] == '/';
		if (asprintf(out, "%s%s%s", absolute ? "" : t->cwd, absolute ? "" : "/", name) < 0)
			return err_errno(e, ERR_NOMEM, "%s", name);
		return 0;
	}
	for (const char *p = t->path; *p; p += *p == ':') {
		int len = (int)strcspn(p, ":");
		int size = snprintf(candidate, sizeof(candidate), "%.*s/%s", len, p, name);
		p += len;
		if ((size_t)size >= sizeof(candidate) || !is_program(candidate))
			continue;
		*out = strdup(candidate);
		return *out ? 0 : err_errno(e, ERR_NOMEM, "%s", name);
	}
	return err_set(e, ERR_BUILD_TOOL, "%s is in no folder of PATH", name);
}

/* ---- signals ---- */

static void hold_signals(struct tools *t)
{
	static const int ending[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action;

	/* Were it ignored, nobody would be told that a tool has ended. */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&t->watched);
	sigaddset(&t->watched, SIGCHLD);
	for (size_t i = 0; i < ARRAY_LEN(ending); i++)
		if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&t->watched, ending[i]);
	sigprocmask(SIG_BLOCK, &t->watched, &t->before);
}

int tools_new(struct tools **out, struct err *e)
{
	OWN(tools) struct tools *t = calloc(1, sizeof(*t));

	if (!t)
		return err_errno(e, ERR_NOMEM, "tools");
	hold_signals(t);
	if (!getcwd(t->cwd, sizeof(t->cwd)))
		return err_errno(e, ERR_IO, "the working folder");
	if (absolute_path(t->cwd, &t->path, e))
		return -1;
	*out = TAKE_PTR(t);
	return 0;
}

void tools_free(struct tools **tools)
{
	struct tools *t = TAKE_PTR(*tools);

	if (!t)
		return;
	/* What was held back comes now. */
	sigprocmask(SIG_SETMASK, &t->before, NULL);
	free(t->path);
	free(t);
}

/* ---- running ---- */

/* What a tool sees of the environment: nothing that could change its output (CPATH, CCC_OVERRIDE_OPTIONS, LANG, ...). */
static void exec_tool(const struct tools *t, char *const *argv, const char *cwd, int out_fd, int failed_fd)
{
	static char locale[] = "LC_ALL=C", home[] = "HOME=/nonexistent";
	const char *tmp_from = getenv("TMPDIR");
	char *path = NULL, *tmp = NULL;

	if (asprintf(&path, "PATH=%s", t->path) > 0 &&
	    asprintf(&tmp, "TMPDIR=%s", tmp_from && tmp_from[0] == '/' ? tmp_from : "/tmp") > 0 &&
	    dup2(out_fd, STDOUT_FILENO) >= 0 && (!cwd || chdir(cwd) == 0) &&
	    sigprocmask(SIG_SETMASK, &t->before, NULL) == 0)
		execve(argv[0], argv, (char *[]){path, locale, home, tmp, NULL});
	int errnum = errno;
	if (write(failed_fd, &errnum, sizeof(errnum)) < 0)
		_exit(126);
	_exit(127);
}

/* A signal that is to end this process ends the tool, and stays pending. */
static int wait_for(const struct tools *t, pid_t pid, int *status, struct err *e)
{
	pid_t ended;

	while ((ended = waitpid(pid, status, WNOHANG)) == 0) {
		int number = sigwaitinfo(&t->watched, NULL);
		if (number <= 0 || number == SIGCHLD)
			continue;
		kill(pid, number);
		raise(number);
		while ((ended = waitpid(pid, status, 0)) < 0 && errno == EINTR)
			;
		break;
	}
	return ended < 0 ? err_errno(e, ERR_IO, "waitpid") : 0;
}

int tools_run(const struct tools *t, char *const *argv, const char *cwd, int out_fd, struct err *e)
{
	int pipe_fd[2], errnum = 0, status = 0;

	if (pipe2(pipe_fd, O_CLOEXEC))
		return err_errno(e, ERR_IO, "pipe");
	OWN_FD int from_child = pipe_fd[0];
	OWN_FD int to_parent = pipe_fd[1];
	pid_t pid = fork();
	if (pid < 0)
		return err_errno(e, ERR_IO, "fork");
	if (pid == 0)
		exec_tool(t, argv, cwd, out_fd, to_parent);
	close(TAKE_FD(to_parent));
	ssize_t n = read(from_child, &errnum, sizeof(errnum)); /* ends at exec */
	if (wait_for(t, pid, &status, e))
		return -1;
	if (n == (ssize_t)sizeof(errnum)) {
		errno = errnum;
		return err_errno(e, ERR_BUILD_TOOL, "%s cannot be started", argv[0]);
	}
	if (WIFSIGNALED(status))
		return err_set(e, ERR_BUILD_TOOL, "%s was killed by signal %d", argv[0], WTERMSIG(status));
	if (WEXITSTATUS(status))
		return err_set(e, ERR_BUILD_COMPILER, "%s ended with status %d", argv[0], WEXITSTATUS(status));
	return 0;
}
