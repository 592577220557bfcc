/* Ownership: a local that owns something is declared with one of these attributes and initialised
 * where it is declared; it leaves the function only by TAKE_PTR or TAKE_FD. */
#ifndef OBS_BASE_OWN_H
#define OBS_BASE_OWN_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))

#define OWN_FREE __attribute__((cleanup(own_free_cleanup)))
/* unused: some are held for nothing but their end. */
#define OWN_FD   __attribute__((cleanup(own_fd_cleanup), unused))
#define OWN_FILE __attribute__((cleanup(own_file_cleanup)))
/* OWN(manifest) calls manifest_free(struct manifest **), which must accept a pointer to NULL. */
#define OWN(module) __attribute__((cleanup(module##_free)))

#define TAKE_PTR(p)                                                                                                    \
	({                                                                                                             \
		__typeof__(p) taken_ = (p);                                                                            \
		(p) = NULL;                                                                                            \
		taken_;                                                                                                \
	})

#define TAKE_FD(fd)                                                                                                    \
	({                                                                                                             \
		int taken_ = (fd);                                                                                     \
		(fd) = -1;                                                                                             \
		taken_;                                                                                                \
	})

static inline void own_free_cleanup(void *p)
{
	free(*(void **)p);
}

/* Closing keeps errno, so that an error path may report what failed before it. */
static inline void own_fd_cleanup(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	errno = saved;
}

static inline void own_file_cleanup(FILE **f)
{
	int saved = errno;

	if (*f)
		fclose(*f);
	errno = saved;
}

#endif
