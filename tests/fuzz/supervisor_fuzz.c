/* Requests of a monitor that was taken over, to the process that still may change its uid: each is answered once or ends the
 * monitor, children are those that there are, and a perf event is one of the few kinds, which shows nothing by itself. Each
 * request is how it is sent, then the struct as it is. */
#include <fcntl.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/supervisor.h"
#include "loader/supervisor/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_children_spawn(struct children *c, enum child_kind kind, const int *fds, size_t fd_count,
			  const char *const *args, pid_t *out_pid, struct err *e);
int __wrap_kill(pid_t pid, int sig);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_open(const char *path, int flags, ...);
int __real_open(const char *path, int flags, ...);
long __wrap_syscall(long number, ...);
void __wrap_log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
void __wrap_log_err(enum log_level level, const struct err *e);

enum { FIRST_PID = 1000000, SHORT = 8 };
/* how: descriptors, a pid of a child, a size that is not the struct's */
enum { FDS = MSG_MAX_FDS + 1, CHILD = 0x20, WRONG_SIZE = 0xc0 };

static struct children *children;

static void need(int failed)
{
	if (failed)
		abort();
}

static int any_fd(void)
{
	return __real_open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* The kernel that fuzzes may have no kprobes. */
int __wrap_open(const char *path, int flags, ...)
{
	int fd = memfd_create("type", MFD_CLOEXEC);

	need(strncmp(path, "/sys/bus/event_source/devices/", 30) != 0 || (flags & O_ACCMODE) != O_RDONLY);
	need(fd < 0 || pwrite(fd, "7\n", 2, 0) != 2);
	return fd;
}

/* No more than there is room for; worker and unpacker, never a monitor. */
int __wrap_children_spawn(struct children *c, enum child_kind kind, const int *fds, size_t fd_count,
			  const char *const *args, pid_t *out_pid, struct err *e)
{
	(void)e;
	need(kind != CHILD_WORKER && kind != CHILD_UNPACKER);
	need(fd_count > CHILD_MAX_FDS || fds[0] < 0 || fds[1] < 0 || !args[0]);
	for (size_t i = 0; i < CHILDREN_MAX; i++)
		if (c->child[i].kind == CHILD_NONE) {
			c->child[i].kind = kind;
			*out_pid = c->child[i].pid = FIRST_PID + (int)i;
			return 0;
		}
	abort();
}

int __wrap_kill(pid_t pid, int sig)
{
	need(sig != SIGKILL || pid < FIRST_PID || pid >= FIRST_PID + CHILDREN_MAX);
	children->child[pid - FIRST_PID].kind = CHILD_NONE;
	return 0;
}

int __wrap_socket(int domain, int type, int protocol)
{
	need(domain != AF_PACKET || protocol);
	(void)type;
	return any_fd();
}

static void check_perf(const struct perf_event_attr *a)
{
	struct perf_event_attr rest = *a;

	need(a->size != sizeof(*a) || !a->disabled);
	/* What else may be set depends on the type; nothing that samples, inherits or reads. */
	rest.type = rest.size = 0;
	rest.config = rest.config1 = rest.config2 = 0;
	rest.disabled = rest.freq = 0;
	if (a->freq) {
		need(a->type != PERF_TYPE_SOFTWARE || a->config != PERF_COUNT_SW_CPU_CLOCK);
		need(a->sample_freq < 1 || a->sample_freq > SUPERVISOR_PERF_FREQUENCY_MAX);
		rest.sample_freq = 0;
	}
	for (size_t i = 0; i < sizeof(rest); i++)
		need(((const uint8_t *)&rest)[i]);
}

long __wrap_syscall(long number, ...)
{
	va_list ap;

	va_start(ap, number);
	if (number == SYS_perf_event_open) {
		check_perf(va_arg(ap, const struct perf_event_attr *));
		need(va_arg(ap, int) != -1 || va_arg(ap, int) < 0 || va_arg(ap, int) != -1 ||
		     va_arg(ap, unsigned long) != PERF_FLAG_FD_CLOEXEC);
	} else {
		need(number != SYS_pidfd_open || va_arg(ap, pid_t) < FIRST_PID);
	}
	va_end(ap);
	return any_fd();
}

void __wrap_log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

void __wrap_log_err(enum log_level level, const struct err *e)
{
	(void)level, (void)e;
}

static void check_answer(int sock, const struct supervisor_request *request, int served)
{
	struct supervisor_reply reply;
	struct err e = ERR_INIT;
	int fds[MSG_MAX_FDS];
	enum msg_result result = msg_recv(sock, &reply, sizeof(reply), fds, MSG_DONTWAIT, &e);

	need((result == MSG_OK) != (served == 0));
	if (result != MSG_OK)
		return;
	need(reply.op != request->op || (reply.errnum && fds[0] >= 0) || fds[1] >= 0);
	for (int i = 0; i < MSG_MAX_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	need(msg_recv(sock, &reply, sizeof(reply), fds, MSG_DONTWAIT, &e) != MSG_AGAIN);
}

/* False: the monitor would be ended. */
static bool ask(struct server *s, int sock, const uint8_t *data, size_t size)
{
	struct supervisor_request request = {0};
	struct err e = ERR_INIT;
	int fds[FDS];
	size_t fd_count = (data[0] & 0xf) % FDS, bytes = sizeof(request);

	memcpy(&request, data + 1, size - 1 < bytes ? size - 1 : bytes);
	if ((data[0] & WRONG_SIZE) == WRONG_SIZE)
		bytes -= SHORT;
	if (data[0] & CHILD)
		request.pid = FIRST_PID + (int)((uint32_t)request.pid % CHILDREN_MAX);
	for (size_t i = 0; i < fd_count; i++)
		need((fds[i] = any_fd()) < 0);
	need(msg_send(sock, &request, bytes, fds, fd_count, MSG_DONTWAIT, &e));
	int served = serve_request(s);
	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
	check_answer(sock, &request, served);
	return served == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct server s = SERVER_INIT;
	struct err e = ERR_INIT;
	int pair[2];

	children = &s.children;
	need(msg_pair(pair, &e));
	s.sock = pair[0];
	for (size_t at = 0; at + 1 < size; at += 1 + sizeof(struct supervisor_request))
		if (!ask(&s, pair[1], data + at, size - at))
			break;
	need(children_count(&s.children, CHILD_MONITOR) || children_count(&s.children, CHILD_WORKER) > 2 ||
	     children_count(&s.children, CHILD_UNPACKER) > 4);
	close(pair[0]);
	close(pair[1]);
	return 0;
}
