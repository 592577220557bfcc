#include "loader/supervisor/host.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <time.h>

#include "loader/ipc/log.h"

enum { BACKLOG = 64, MAX_FILES = 65536, LOCK_TRIES = 20, LOCK_PAUSE_MS = 50 };

/* The mode is exact where the folder is new, whatever the umask. */
static int make_one(const char *path, mode_t mode, struct err *e)
{
	if (mkdir(path, mode) == 0) {
		if (chmod(path, mode))
			return err_errno(e, ERR_IO, "folder %s", path);
	} else if (errno != EEXIST) {
		return err_errno(e, ERR_IO, "folder %s", path);
	}
	return 0;
}

static int make_folder(const char *path, mode_t mode, struct err *e)
{
	char part[4096];
	struct stat st;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return err_set(e, ERR_IO, "%s: path too long", path);
	for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
		*p = '\0';
		if (make_one(part, 0755, e))
			return -1;
		*p = '/';
	}
	if (make_one(part, mode, e))
		return -1;
	if (stat(part, &st))
		return err_errno(e, ERR_IO, "folder %s", part);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ERR_IO, "%s is not a folder", part);
	/* Whoever owns or may write these folders decides what root loads. */
	if (st.st_uid != 0 || (st.st_mode & 022))
		return err_set(e, ERR_IO, "folder %s must be root's and writable for root only", part);
	return 0;
}

static int lock(const char *run_dir, int *out_fd, struct err *e)
{
	char path[4096];
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};

	snprintf(path, sizeof(path), "%s/lock", run_dir);
	OWN_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", path);
	/* The monitor of a daemon that was just killed holds it for another moment. */
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			*out_fd = TAKE_FD(fd);
			return 0;
		}
		if (errno != EWOULDBLOCK)
			return err_errno(e, ERR_IO, "lock of %s", path);
		nanosleep(&pause, NULL);
	}
	return err_set(e, ERR_DAEMON_RUNNING, "a daemon already runs on %s", run_dir);
}

static int listen_at(const char *run_dir, const char *name, int type, gid_t gid, int *out_fd, struct err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", run_dir, name);

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return err_set(e, ERR_LIMIT, "%s/%s: a socket's path has at most %zu bytes", run_dir, name,
			       sizeof(address.sun_path) - 1);
	OWN_FD int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, ERR_IO, "socket");
	if (unlink(address.sun_path) && errno != ENOENT)
		return err_errno(e, ERR_IO, "%s", address.sun_path);
	/* umask is 077: nobody else connects before owner and mode are right. */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return err_errno(e, ERR_IO, "bind %s", address.sun_path);
	if (chown(address.sun_path, 0, gid) || chmod(address.sun_path, gid ? 0660 : 0600))
		return err_errno(e, ERR_IO, "owner of %s", address.sun_path);
	if (listen(fd, BACKLOG))
		return err_errno(e, ERR_IO, "listen %s", address.sun_path);
	*out_fd = TAKE_FD(fd);
	return 0;
}

static int mount_if_missing(const char *path, const char *type, long magic, struct err *e)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return err_errno(e, ERR_KERNEL_NO_BPF, "%s", path);
	if ((long)fs.f_type == magic)
		return 0;
	if (mount(type, path, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return err_errno(e, ERR_KERNEL_NO_BPF, "%s is no %s, and mounting one there failed", path, type);
	log_line(LOG_LEVEL_NOTICE, "mounted %s at %s", type, path);
	return 0;
}

/* mountinfo: "36 35 0:31 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw". */
static void find_cgroup(char *dst, size_t size)
{
	OWN_FILE FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096];

	dst[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		char root[1024], where[1024];
		const char *type = strstr(line, " - ");
		if (!type || strncmp(type, " - cgroup2 ", 11) != 0)
			continue;
		if (sscanf(line, "%*s %*s %*s %1023s %1023s", root, where) == 2 && strcmp(root, "/") == 0) {
			snprintf(dst, size, "%s", where);
			return;
		}
	}
}

static int mounts(const struct run_options *o, struct host *host, struct err *e)
{
	struct err tracefs = ERR_INIT;

	if (mount_if_missing(o->bpffs, "bpf", BPF_FS_MAGIC, e))
		return -1;
	if (mount_if_missing("/sys/kernel/tracing", "tracefs", TRACEFS_MAGIC, &tracefs))
		log_err(LOG_LEVEL_WARNING, &tracefs);
	snprintf(host->pin_root, sizeof(host->pin_root), "%s/obsload", o->bpffs);
	if (mkdir(host->pin_root, 0700) && errno != EEXIST)
		return err_errno(e, ERR_KERNEL_PIN, "%s", host->pin_root);
	if (o->cgroup)
		snprintf(host->cgroup, sizeof(host->cgroup), "%s", o->cgroup);
	else
		find_cgroup(host->cgroup, sizeof(host->cgroup));
	return 0;
}

/* Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; many bundles are many descriptors. Without CAP_SYS_RESOURCE the
 * hard limit is as far as it goes. */
static void raise_limit(int what, rlim_t wanted)
{
	struct rlimit limit = {wanted, wanted};

	if (setrlimit((__rlimit_resource_t)what, &limit) == 0 || getrlimit((__rlimit_resource_t)what, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit((__rlimit_resource_t)what, &limit))
		log_line(LOG_LEVEL_WARNING, "a limit of this process stays as it is: %s", strerror(errno));
}

int host_prepare(const struct run_options *o, const struct run_ids *ids, struct host *out, struct err *e)
{
	if (make_folder(o->run_dir, 0755, e) || lock(o->run_dir, &out->lock_fd, e))
		return -1;
	if (make_folder(o->state_dir, 0700, e) || make_folder(o->config_dir, 0755, e) || mounts(o, out, e))
		return -1;
	raise_limit(RLIMIT_NOFILE, MAX_FILES);
	raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
	if (listen_at(o->run_dir, "control.sock", SOCK_SEQPACKET, ids->control_gid, &out->control_fd, e) ||
	    listen_at(o->run_dir, "events.sock", SOCK_STREAM, ids->events_gid, &out->events_fd, e))
		return -1;
	/* With CAP_SYSLOG, which nobody keeps: the file shows addresses by who opened it. */
	out->kallsyms_fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
	if (out->kallsyms_fd < 0)
		log_line(LOG_LEVEL_WARNING, "/proc/kallsyms: %s: kernel stacks stay numbers", strerror(errno));
	return 0;
}

void host_free(struct host *host)
{
	int *fds[] = {&host->lock_fd, &host->control_fd, &host->events_fd, &host->kallsyms_fd};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void host_unlink(const struct run_options *o)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/control.sock", o->run_dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/events.sock", o->run_dir);
	unlink(path);
}
