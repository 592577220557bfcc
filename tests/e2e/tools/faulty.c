/* Linked into a monitor of the tests' own, with --wrap for each function below: the n-th call of a kind that the program's own
 * code makes fails, or the n-th allocation of its libraries. Which, and how many there were, stands in a file that the test
 * maps too: <state folder>/../fault. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { MEMORY, FILES, KERNEL, LIBRARIES };

static struct control {
	int64_t kind, fail_at, errnum; /* fail_at 0: none */
	int64_t count;
} * control;

/* The monitor's second argument is its state folder. */
__attribute__((constructor)) static void open_control(int argc, char **argv)
{
	char path[PATH_MAX];

	if (argc < 3)
		return;
	snprintf(path, sizeof(path), "%s/../fault", argv[2]);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page != MAP_FAILED)
		control = page;
	if (fd >= 0)
		close(fd);
}

static int fails(enum kind kind)
{
	if (!control || control->kind != kind || ++control->count != control->fail_at)
		return 0;
	errno = (int)control->errnum;
	return 1;
}

#define WRAP(kind, failure, type, name, parameters, arguments)                                                         \
	type __real_##name parameters;                                                                                 \
	type __wrap_##name parameters;                                                                                 \
	type __wrap_##name parameters                                                                                  \
	{                                                                                                              \
		return fails(kind) ? (failure) : __real_##name arguments;                                              \
	}

WRAP(MEMORY, NULL, void *, malloc, (size_t size), (size))
WRAP(MEMORY, NULL, void *, calloc, (size_t count, size_t size), (count, size))
WRAP(MEMORY, NULL, void *, realloc, (void *p, size_t size), (p, size))
WRAP(MEMORY, NULL, void *, reallocarray, (void *p, size_t count, size_t size), (p, count, size))
WRAP(MEMORY, NULL, char *, strdup, (const char *text), (text))
WRAP(MEMORY, NULL, FILE *, fopencookie, (void *cookie, const char *mode, cookie_io_functions_t functions),
     (cookie, mode, functions))
WRAP(MEMORY, MAP_FAILED, void *, mmap, (void *at, size_t size, int prot, int flags, int fd, off_t offset),
     (at, size, prot, flags, fd, offset))
WRAP(FILES, -1, ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(FILES, -1, int, fsync, (int fd), (fd))
WRAP(FILES, -1, int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(FILES, -1, int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(FILES, -1, int, rename, (const char *from, const char *to), (from, to))
WRAP(FILES, -1, int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
     (from_fd, from, to_fd, to, flags))
WRAP(FILES, -1, int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(FILES, -1, int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
WRAP(FILES, -1, int, unlink, (const char *path), (path))
WRAP(FILES, -1, int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(FILES, -1, int, rmdir, (const char *path), (path))
WRAP(FILES, -1, int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(KERNEL, -1, int, bpf_obj_pin, (int fd, const char *path), (fd, path))
WRAP(KERNEL, -1, int, bpf_obj_get, (const char *path), (path))
WRAP(KERNEL, -1, int, bpf_map_update_elem, (int fd, const void *key, const void *value, __u64 flags),
     (fd, key, value, flags))
WRAP(KERNEL, -1, int, bpf_map_lookup_elem, (int fd, const void *key, void *value), (fd, key, value))
WRAP(KERNEL, -1, int, bpf_obj_get_info_by_fd, (int fd, void *info, __u32 *size), (fd, info, size))
WRAP(KERNEL, -1, int, bpf_link_update, (int fd, int prog, const struct bpf_link_update_opts *opts), (fd, prog, opts))
WRAP(KERNEL, -1, int, bpf_link_create,
     (int prog, int target, enum bpf_attach_type type, const struct bpf_link_create_opts *opts),
     (prog, target, type, opts))

/* What asks the kernel by netlink can also fail at its answer. */
#define WRAP_NETLINK(name, parameters, arguments)                                                                      \
	int __real_##name parameters;                                                                                  \
	int __wrap_##name parameters;                                                                                  \
	int __wrap_##name parameters                                                                                   \
	{                                                                                                              \
		int result = fails(KERNEL) ? -(int)control->errnum : __real_##name arguments;                          \
		return result == 0 && fails(KERNEL) ? -(int)control->errnum : result;                                  \
	}

WRAP_NETLINK(bpf_tc_hook_create, (struct bpf_tc_hook * hook), (hook))
WRAP_NETLINK(bpf_tc_attach, (const struct bpf_tc_hook *hook, struct bpf_tc_opts *opts), (hook, opts))
WRAP_NETLINK(bpf_tc_detach, (const struct bpf_tc_hook *hook, const struct bpf_tc_opts *opts), (hook, opts))

int __real_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_openat(int fd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return fails(FILES) ? -1 : __real_openat(fd, path, flags, mode);
}

/* What a program defines is what its libraries call too: OpenSSL, jansson, libbpf, and libc for streams and folders. A
 * sanitizer has that place already. */
#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);
void *malloc(size_t size)
{
	return fails(LIBRARIES) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(LIBRARIES) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return fails(LIBRARIES) ? NULL : __libc_realloc(p, size);
}
#endif
