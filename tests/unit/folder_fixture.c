#include "tests/unit/folder_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bundles/base/own.h"

char folder[64];
int folder_fd = -1;
bool (*folder_rename_fails)(void);

int __real_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags);
int __wrap_renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
	return folder_rename_fails && folder_rename_fails() ? -1 : __real_renameat2(a, from, b, to, flags);
}

bool folder_is_full(void)
{
	errno = ENOSPC;
	return true;
}

int folder_set_up(void **state)
{
	(void)state;
	folder_rename_fails = NULL;
	snprintf(folder, sizeof(folder), "/tmp/obs-unit.XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	folder_fd = open(folder, O_RDONLY | O_DIRECTORY);
	return folder_fd < 0;
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

int folder_tear_down(void **state)
{
	(void)state;
	close(folder_fd);
	return nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS);
}

void folder_write(const char *name, const void *data, size_t size)
{
	OWN_FD int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, data, size), (ssize_t)size);
}
