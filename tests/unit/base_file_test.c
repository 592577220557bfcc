#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "bundles/base/file.h"

/* Failures are injected by the linker's --wrap: each call is counted and one of them fails. */
static int fail_fsync, fail_rename, fail_exchange, fail_write, short_writes;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
	if (fail_fsync && --fail_fsync == 0) {
		errno = EIO;
		return -1;
	}
	return __real_fsync(fd);
}

int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (fail_rename && --fail_rename == 0) {
		errno = EDQUOT;
		return -1;
	}
	if (fail_exchange && flags & RENAME_EXCHANGE) {
		errno = EINVAL;
		return -1;
	}
	return __real_renameat2(from_fd, from, to_fd, to, flags);
}

ssize_t __real_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size);
ssize_t __wrap_write(int fd, const void *data, size_t size)
{
	if (fail_write && --fail_write == 0) {
		errno = ENOSPC;
		return -1;
	}
	if (short_writes && --short_writes % 2) {
		errno = EINTR;
		return -1;
	}
	return __real_write(fd, data, short_writes && size > 3 ? 3 : size);
}

struct folder {
	char path[32];
	int fd;
};

static int make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	if (!folder)
		return -1;
	*state = folder;
	strcpy(folder->path, "/tmp/obs-file-XXXXXX"); /* NOLINT: fits */
	if (!mkdtemp(folder->path))
		return -1;
	folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return folder->fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	struct folder *folder = *state;
	DIR *dir = opendir(folder->path);
	struct dirent *entry;

	fail_fsync = fail_rename = fail_exchange = fail_write = short_writes = 0;
	while (dir && (entry = readdir(dir)))
		unlinkat(folder->fd, entry->d_name, 0);
	closedir(dir);
	rmdir(folder->path);
	close(folder->fd);
	free(folder);
	return 0;
}

static size_t entries(const struct folder *folder)
{
	DIR *dir = opendir(folder->path);
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void has(const struct folder *folder, const char *name, const char *text)
{
	char path[128];
	OWN_FREE uint8_t *data = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/%s", folder->path, name);
	assert_int_equal(file_read(path, 4096, ERR_LIMIT, &data, &size, &e), 0);
	assert_int_equal(size, strlen(text));
	assert_memory_equal(data, text, size);
	assert_int_equal(data[size], '\0');
}

static void file_read_at_the_limit_and_past_it(void **state)
{
	const struct folder *folder = *state;
	OWN_FREE uint8_t *data = NULL;
	struct err e = ERR_INIT;
	char path[128];
	size_t size = 0;

	assert_int_equal(file_replace_at(folder->fd, "a", "12345", 5, 0600, &e), 0);
	snprintf(path, sizeof(path), "%s/a", folder->path);
	assert_int_equal(file_read(path, 4, ERR_ARCHIVE_TOO_LARGE, &data, &size, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
	assert_null(data);
	assert_int_equal(file_read(path, 5, ERR_ARCHIVE_TOO_LARGE, &data, &size, &e), 0);
	assert_int_equal(size, 5);
}

static void file_read_large_file_is_whole(void **state)
{
	const struct folder *folder = *state;
	OWN_FREE uint8_t *bytes = malloc(300000), *data = NULL;
	struct err e = ERR_INIT;
	char path[128];
	size_t size = 0;

	for (size_t i = 0; i < 300000; i++)
		bytes[i] = (uint8_t)(i * 31 / 7);
	assert_int_equal(file_replace_at(folder->fd, "a", bytes, 300000, 0600, &e), 0);
	snprintf(path, sizeof(path), "%s/a", folder->path);
	assert_int_equal(file_read(path, 1 << 20, ERR_LIMIT, &data, &size, &e), 0);
	assert_int_equal(size, 300000);
	assert_memory_equal(data, bytes, size);
}

static void file_read_absent_names_the_path(void **state)
{
	uint8_t *data = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(file_read("/nonexistent/x", 1, ERR_LIMIT, &data, &size, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_int_equal(e.errnum, ENOENT);
	assert_non_null(strstr(e.frame[0], "/nonexistent/x"));
}

static void file_sweep_at_removes_temporaries_only(void **state)
{
	const struct folder *folder = *state;
	static const char *const others[] = {"policy.json", ".policy.json.0123456789abcde",
					     ".policy.json.0123456789abcdeF", "policy.json.0123456789abcdef",
					     "..0123456789abcdef0"};
	struct err e = ERR_INIT;

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		assert_int_equal(file_replace_at(folder->fd, others[i], "x", 1, 0600, &e), 0);
	assert_int_equal(file_replace_at(folder->fd, ".policy.json.0123456789abcdef", "x", 1, 0600, &e), 0);
	assert_int_equal(file_sweep_at(folder->fd, ".", &e), 0);
	assert_int_equal(entries(folder), ARRAY_LEN(others));
	assert_int_equal(file_sweep_at(folder->fd, "absent", &e), 0);
}

static void file_replace_at_sets_exact_mode_and_bytes(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	struct stat st;
	mode_t mask = umask(077);

	assert_int_equal(file_replace_at(folder->fd, "a", "old", 3, 0600, &e), 0);
	assert_int_equal(file_replace_at(folder->fd, "a", "newer", 5, 0644, &e), 0);
	umask(mask);
	has(folder, "a", "newer");
	assert_int_equal(fstatat(folder->fd, "a", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	assert_int_equal(entries(folder), 1);
}

static void file_replace_at_replaces_a_symbolic_link_itself(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	struct stat st;

	assert_int_equal(file_replace_at(folder->fd, "other", "kept", 4, 0600, &e), 0);
	assert_int_equal(symlinkat("other", folder->fd, "a"), 0);
	assert_int_equal(file_replace_at(folder->fd, "a", "new", 3, 0600, &e), 0);
	assert_int_equal(fstatat(folder->fd, "a", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	has(folder, "other", "kept");
}

static void replace_fails_and_keeps(const struct folder *folder)
{
	struct err e = ERR_INIT;

	assert_int_equal(file_replace_at(folder->fd, "a", "new", 3, 0600, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	has(folder, "a", "old");
	assert_int_equal(entries(folder), 1);
}

static void file_replace_at_failed_step_keeps_the_old_file(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	assert_int_equal(file_replace_at(folder->fd, "a", "old", 3, 0600, &e), 0);
	fail_write = 1;
	replace_fails_and_keeps(folder);
	fail_fsync = 1;
	replace_fails_and_keeps(folder);
	fail_rename = 1;
	replace_fails_and_keeps(folder);
}

static void file_replace_at_folder_not_synced_brings_the_old_file_back(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	fail_fsync = 2;
	assert_int_equal(file_replace_at(folder->fd, "a", "new", 3, 0600, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_int_equal(e.errnum, EIO);
	assert_int_equal(entries(folder), 0);
	assert_int_equal(file_replace_at(folder->fd, "a", "old", 3, 0600, &e), 0);
	fail_fsync = 2;
	replace_fails_and_keeps(folder);
}

/* As NFS does: the old file is replaced, so the new one is all that there is. */
static void file_replace_at_without_exchange_new_file_stands(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	fail_exchange = 1;
	assert_int_equal(file_replace_at(folder->fd, "a", "old", 3, 0600, &e), 0);
	assert_int_equal(file_replace_at(folder->fd, "a", "newer", 5, 0600, &e), 0);
	has(folder, "a", "newer");
	fail_fsync = 2;
	assert_int_equal(file_replace_at(folder->fd, "a", "newest", 6, 0600, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	has(folder, "a", "newest");
	assert_int_equal(entries(folder), 1);
	fail_fsync = 2;
	assert_int_equal(file_replace_at(folder->fd, "b", "new", 3, 0600, &e), -1);
	assert_int_equal(entries(folder), 1);
}

static void file_replace_at_a_folder_is_an_error(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	assert_int_equal(mkdirat(folder->fd, "a", 0700), 0);
	assert_int_equal(file_replace_at(folder->fd, "a", "new", 3, 0600, &e), -1);
	assert_int_equal(e.errnum, EISDIR);
	assert_int_equal(entries(folder), 1);
	assert_int_equal(unlinkat(folder->fd, "a", AT_REMOVEDIR), 0);
}

static void file_write_fd_over_short_writes_and_interrupts(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	short_writes = 40;
	assert_int_equal(file_replace_at(folder->fd, "a", "a text of some length", 21, 0600, &e), 0);
	short_writes = 0;
	has(folder, "a", "a text of some length");
}

static void file_write_to_a_link_replaces_what_it_leads_to(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	struct stat st;
	char path[128];

	snprintf(path, sizeof(path), "%s/a", folder->path);
	assert_int_equal(file_replace_at(folder->fd, "other", "old", 3, 0600, &e), 0);
	assert_int_equal(symlinkat("other", folder->fd, "a"), 0);
	assert_int_equal(file_write(path, "new", 3, 0640, &e), 0);
	assert_int_equal(fstatat(folder->fd, "a", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	has(folder, "other", "new");
	assert_int_equal(fstatat(folder->fd, "other", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(entries(folder), 2);
	assert_int_equal(unlinkat(folder->fd, "other", 0), 0);
	assert_int_equal(file_write(path, "new", 3, 0640, &e), -1);
	assert_int_equal(e.errnum, ENOENT);
	assert_int_equal(entries(folder), 1);
}

static void file_write_to_a_pipe_leaves_it_one(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	char path[128], text[8] = {0};
	struct stat st;

	snprintf(path, sizeof(path), "%s/a", folder->path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(symlinkat("a", folder->fd, "b"), 0);
	OWN_FD int reader = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	assert_int_equal(file_write(path, "12", 2, 0644, &e), 0);
	path[strlen(path) - 1] = 'b';
	assert_int_equal(file_write(path, "34", 2, 0644, &e), 0);
	assert_int_equal(read(reader, text, sizeof(text)), 4);
	assert_string_equal(text, "1234");
	assert_int_equal(fstatat(folder->fd, "a", &st, 0), 0);
	assert_true(S_ISFIFO(st.st_mode));
	assert_int_equal(fstatat(folder->fd, "b", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void file_write_to_a_folder_is_an_error(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;

	assert_int_equal(file_write(folder->path, "new", 3, 0644, &e), -1);
	assert_int_equal(e.errnum, EISDIR);
}

static void file_sealed_cannot_change(void **state)
{
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;
	size_t size = 0;

	(void)state;
	assert_int_equal(file_sealed("test", "12345", 5, &fd, &e), 0);
	assert_int_equal(file_check_sealed(fd, 5, &size, &e), 0);
	assert_int_equal(size, 5);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 10), -1);
	assert_ptr_equal(mmap(NULL, 5, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(file_check_sealed(fd, 4, &size, &e), -1);
	assert_int_equal(e.code, ERR_LIMIT);
}

static void file_check_sealed_of_other_files_refused(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	size_t size = 0;

	OWN_FD int plain = openat(folder->fd, "p", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(file_check_sealed(plain, 100, &size, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	OWN_FD int half = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(half, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
	assert_int_equal(file_check_sealed(half, 100, &size, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(file_check_sealed(-1, 100, &size, &e), -1);
}

static void file_seal_copy_copies_up_to_the_limit(void **state)
{
	const struct folder *folder = *state;
	struct err e = ERR_INIT;
	OWN_FD int copy = -1;
	size_t size = 0;
	char text[8] = {0};

	assert_int_equal(file_replace_at(folder->fd, "a", "12345", 5, 0600, &e), 0);
	OWN_FD int from = openat(folder->fd, "a", O_RDONLY | O_CLOEXEC);
	assert_int_equal(file_seal_copy("test", from, 4, ERR_ARCHIVE_TOO_LARGE, &copy, &size, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
	assert_int_equal(copy, -1);
	assert_int_equal(lseek(from, 0, SEEK_SET), 0);
	assert_int_equal(file_seal_copy("test", from, 5, ERR_ARCHIVE_TOO_LARGE, &copy, &size, &e), 0);
	assert_int_equal(pread(copy, text, sizeof(text), 0), 5);
	assert_string_equal(text, "12345");
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    WITH_FOLDER(file_read_at_the_limit_and_past_it),
	    WITH_FOLDER(file_read_large_file_is_whole),
	    cmocka_unit_test(file_read_absent_names_the_path),
	    WITH_FOLDER(file_replace_at_sets_exact_mode_and_bytes),
	    WITH_FOLDER(file_replace_at_replaces_a_symbolic_link_itself),
	    WITH_FOLDER(file_replace_at_failed_step_keeps_the_old_file),
	    WITH_FOLDER(file_replace_at_folder_not_synced_brings_the_old_file_back),
	    WITH_FOLDER(file_replace_at_without_exchange_new_file_stands),
	    WITH_FOLDER(file_replace_at_a_folder_is_an_error),
	    WITH_FOLDER(file_write_fd_over_short_writes_and_interrupts),
	    WITH_FOLDER(file_write_to_a_link_replaces_what_it_leads_to),
	    WITH_FOLDER(file_write_to_a_pipe_leaves_it_one),
	    WITH_FOLDER(file_write_to_a_folder_is_an_error),
	    WITH_FOLDER(file_sweep_at_removes_temporaries_only),
	    cmocka_unit_test(file_sealed_cannot_change),
	    WITH_FOLDER(file_check_sealed_of_other_files_refused),
	    WITH_FOLDER(file_seal_copy_copies_up_to_the_limit),
	};

	return cmocka_run_group_tests_name("base_file", tests, NULL, NULL);
}
