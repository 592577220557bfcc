#include "bundles/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { SALT_DIGITS = 16, READ_FIRST_BYTES = 65536 };
enum { SEALS = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL };

/* room: to begin with; more is taken as it is needed. */
static int read_whole(int fd, size_t room, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size,
		      struct err *e)
{
	OWN_FREE uint8_t *data = NULL;
	size_t size = 0;

	for (;;) {
		if (!data || size + 1 >= room) {
			room = data ? room * 2 : room;
			uint8_t *grown = realloc(data, room);
			if (!grown)
				return err_errno(e, ERR_NOMEM, "reading %zu bytes", room);
			data = grown;
		}
		ssize_t n = read(fd, data + size, room - size - 1);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return err_errno(e, ERR_IO, "read");
		}
		if (n == 0)
			break;
		size += (size_t)n;
		if (size > limit)
			return err_set(e, too_large, "more than %zu bytes", limit);
	}
	data[size] = '\0';
	*out = TAKE_PTR(data);
	*out_size = size;
	return 0;
}

int file_read_fd(int fd, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size, struct err *e)
{
	return read_whole(fd, READ_FIRST_BYTES, limit, too_large, out, out_size, e);
}

int file_read_fd_again(int fd, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size, struct err *e)
{
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_errno(e, ERR_IO, "seeking");
	return file_read_fd(fd, limit, too_large, out, out_size, e);
}

int file_read(const char *path, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size, struct err *e)
{
	OWN_FD int fd = -1;
	size_t room = READ_FIRST_BYTES;
	struct stat st;

	if (strcmp(path, "-") == 0) {
		if (file_read_fd(STDIN_FILENO, limit, too_large, out, out_size, e))
			return err_wrap(e, "standard input");
		return 0;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", path);
	/* A guess: what is there by then is read to its end. */
	if (fstat(fd, &st) == 0 && st.st_size >= READ_FIRST_BYTES && (uintmax_t)st.st_size <= limit)
		room = (size_t)st.st_size + 2;
	if (read_whole(fd, room, limit, too_large, out, out_size, e))
		return err_wrap(e, "%s", path);
	return 0;
}

int file_write_fd(int fd, const void *data, size_t size, struct err *e)
{
	const uint8_t *p = data;

	while (size) {
		ssize_t n = write(fd, p, size);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return err_errno(e, ERR_IO, "write of %zu bytes", size);
		}
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

static int write_temporary(int dir_fd, const char *name, const void *data, size_t size, unsigned mode, struct err *e)
{
	OWN_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_errno(e, ERR_IO, "create %s", name);
	if (file_write_fd(fd, data, size, e))
		return err_wrap(e, "%s", name);
	if (fchmod(fd, mode))
		return err_errno(e, ERR_IO, "chmod %s", name);
	if (fsync(fd))
		return err_errno(e, ERR_IO, "fsync %s", name);
	return 0;
}

enum before { BEFORE_NOTHING, BEFORE_KEPT /* under the temporary's name */, BEFORE_GONE };

/* Puts the temporary in place. The old file keeps the temporary's name until the folder is on the disk, so that it can come
 * back; it is gone where the file system cannot exchange names. */
static int exchange(int dir_fd, const char *temporary, const char *name, enum before *before)
{
	struct stat st;
	bool found = fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;

	*before = found || errno != ENOENT ? BEFORE_GONE : BEFORE_NOTHING;
	if (!found || S_ISDIR(st.st_mode))
		return renameat2(dir_fd, temporary, dir_fd, name, 0);
	if (renameat2(dir_fd, temporary, dir_fd, name, RENAME_EXCHANGE))
		return errno == EINVAL ? renameat2(dir_fd, temporary, dir_fd, name, 0) : -1;
	*before = BEFORE_KEPT;
	return 0;
}

/* The folder is not on the disk: as it was, where that can be done. */
static void take_back(int dir_fd, const char *temporary, const char *name, enum before before)
{
	if (before == BEFORE_KEPT && renameat2(dir_fd, temporary, dir_fd, name, RENAME_EXCHANGE) == 0)
		unlinkat(dir_fd, temporary, 0);
	else if (before == BEFORE_NOTHING)
		unlinkat(dir_fd, name, 0);
}

int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, unsigned mode, struct err *e)
{
	char temporary[4096], folder[4096];
	uint64_t salt;
	const char *slash = strrchr(name, '/');
	int folder_len = slash ? (int)(slash - name) + 1 : 0;
	enum before before;

	if (getrandom(&salt, sizeof(salt), 0) != (ssize_t)sizeof(salt))
		return err_errno(e, ERR_IO, "getrandom");
	if ((size_t)snprintf(temporary, sizeof(temporary), "%.*s.%s.%016llx", folder_len, name, name + folder_len,
			     (unsigned long long)salt) >= sizeof(temporary))
		return err_set(e, ERR_IO, "%s: name too long", name);
	snprintf(folder, sizeof(folder), "%.*s", folder_len ? folder_len : 1, folder_len ? name : ".");

	OWN_FD int folder_fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder_fd < 0)
		return err_errno(e, ERR_IO, "%s", folder);
	if (write_temporary(dir_fd, temporary, data, size, mode, e)) {
		unlinkat(dir_fd, temporary, 0);
		return -1;
	}
	if (exchange(dir_fd, temporary, name, &before)) {
		err_errno(e, ERR_IO, "rename to %s", name);
		unlinkat(dir_fd, temporary, 0);
		return -1;
	}
	if (fsync(folder_fd)) {
		err_errno(e, ERR_IO, "fsync of the folder of %s", name);
		take_back(dir_fd, temporary, name, before);
		return -1;
	}
	if (before == BEFORE_KEPT)
		unlinkat(dir_fd, temporary, 0);
	return 0;
}

/* ".<name>.<16 hex digits>", as file_replace_at makes them. */
static bool is_temporary(const char *name)
{
	size_t length = strlen(name);

	return name[0] == '.' && length > SALT_DIGITS + 2 && name[length - SALT_DIGITS - 1] == '.' &&
	       strspn(name + length - SALT_DIGITS, "0123456789abcdef") == SALT_DIGITS;
}

int file_sweep_at(int dir_fd, const char *folder, struct err *e)
{
	OWN_FD int fd = openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int result = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_errno(e, ERR_IO, "%s", folder);
	DIR *dir = fdopendir(fd);
	if (!dir)
		return err_errno(e, ERR_IO, "%s", folder);
	TAKE_FD(fd);
	for (const struct dirent *at; result == 0 && (at = readdir(dir));)
		if (is_temporary(at->d_name) && unlinkat(dirfd(dir), at->d_name, 0))
			result = err_errno(e, ERR_IO, "%s/%s", folder, at->d_name);
	closedir(dir);
	return result;
}

/* What is no regular file is written into, a device for one. */
static int write_into(const char *path, const void *data, size_t size, struct err *e)
{
	OWN_FD int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", path);
	return file_write_fd(fd, data, size, e) ? err_wrap(e, "%s", path) : 0;
}

int file_write(const char *path, const void *data, size_t size, unsigned mode, struct err *e)
{
	char target[PATH_MAX];
	struct stat st;

	if (strcmp(path, "-") == 0)
		return file_write_fd(STDOUT_FILENO, data, size, e) ? err_wrap(e, "standard output") : 0;
	if (lstat(path, &st))
		return file_replace_at(AT_FDCWD, path, data, size, mode, e);
	if (S_ISLNK(st.st_mode)) {
		if (stat(path, &st) || (S_ISREG(st.st_mode) && !realpath(path, target)))
			return err_errno(e, ERR_IO, "what %s leads to", path);
		path = S_ISREG(st.st_mode) ? target : path;
	}
	if (!S_ISREG(st.st_mode))
		return write_into(path, data, size, e);
	return file_replace_at(AT_FDCWD, path, data, size, mode, e);
}

int file_sealed(const char *label, const void *data, size_t size, int *out_fd, struct err *e)
{
	OWN_FD int fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_errno(e, ERR_IO, "memfd %s", label);
	if (file_write_fd(fd, data, size, e))
		return err_wrap(e, "memfd %s", label);
	if (fcntl(fd, F_ADD_SEALS, SEALS))
		return err_errno(e, ERR_IO, "seal %s", label);
	*out_fd = TAKE_FD(fd);
	return 0;
}

int file_seal_copy(const char *label, int fd, size_t limit, enum err_code too_large, int *out_fd, size_t *out_size,
		   struct err *e)
{
	OWN_FREE uint8_t *data = NULL;
	size_t size = 0;

	if (file_read_fd(fd, limit, too_large, &data, &size, e))
		return -1;
	if (file_sealed(label, data, size, out_fd, e))
		return -1;
	*out_size = size;
	return 0;
}

bool file_is_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & SEALS) == SEALS;
}

int file_check_sealed(int fd, size_t limit, size_t *out_size, struct err *e)
{
	struct stat st;

	if (!file_is_sealed(fd))
		return err_set(e, ERR_INTERNAL, "not a sealed memfd");
	if (fstat(fd, &st))
		return err_errno(e, ERR_IO, "fstat");
	if (st.st_size < 0 || (uint64_t)st.st_size > limit)
		return err_set(e, ERR_LIMIT, "%lld bytes, more than %zu", (long long)st.st_size, limit);
	*out_size = (size_t)st.st_size;
	return 0;
}
