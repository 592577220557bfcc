/* Files: read with a limit, written whole or not at all. */
#ifndef OBS_BASE_FILE_H
#define OBS_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

/* Reads fd to its end into fresh memory that the caller frees; one NUL follows the bytes and is not counted.
 * More than limit bytes is an error of code `too_large`. */
MUST_CHECK int file_read_fd(int fd, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size,
			    struct err *e);

/* The same from the file's start, wherever its sender or a program before left it. */
MUST_CHECK int file_read_fd_again(int fd, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size,
				  struct err *e);

/* The same by path ("-" is standard input). */
MUST_CHECK int file_read(const char *path, size_t limit, enum err_code too_large, uint8_t **out, size_t *out_size,
			 struct err *e);

/* Writes all of data to fd, over short writes and EINTR. */
MUST_CHECK int file_write_fd(int fd, const void *data, size_t size, struct err *e);

/* Replaces dir_fd/name atomically and durably: O_EXCL temporary with an unpredictable name in the same folder, write,
 * fsync, rename, fsync of the folder. On failure the old file is intact and the temporary is gone; where the file system
 * cannot exchange names, the new file stands if only the folder could not be synced.
 * dir_fd may be AT_FDCWD. mode is exact, whatever the umask. */
MUST_CHECK int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, unsigned mode,
			       struct err *e);

/* The same by path; "-" is standard output. Of a link, what it leads to is replaced; what is there and no regular file, a
 * device or a pipe, is written into. */
MUST_CHECK int file_write(const char *path, const void *data, size_t size, unsigned mode, struct err *e);

/* Removes the temporaries that a crash left of file_replace_at in a folder below dir_fd; a missing folder has none. */
MUST_CHECK int file_sweep_at(int dir_fd, const char *folder, struct err *e);

/* A memfd holding data, sealed against any change (F_SEAL_WRITE|GROW|SHRINK|SEAL), close-on-exec. */
MUST_CHECK int file_sealed(const char *label, const void *data, size_t size, int *out_fd, struct err *e);

/* Copies what fd gives until its end into a sealed memfd; more than limit bytes is an error of code too_large. */
MUST_CHECK int file_seal_copy(const char *label, int fd, size_t limit, enum err_code too_large, int *out_fd,
			      size_t *out_size, struct err *e);

/* Whether fd is a memfd with all four seals. Asks no file system, so that it ends whatever fd is of. */
bool file_is_sealed(int fd);

/* 0 if it is, and of at most limit bytes; *out_size is its size. */
MUST_CHECK int file_check_sealed(int fd, size_t limit, size_t *out_size, struct err *e);

#endif
