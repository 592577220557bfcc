/* A folder of the test's own, below /tmp, and renames in it that fail (a test links with --wrap=renameat2). */
#ifndef OBS_TESTS_FOLDER_FIXTURE_H
#define OBS_TESTS_FOLDER_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

extern char folder[64];
extern int folder_fd;

/* As cmocka's setup and teardown of a test. */
int folder_set_up(void **state);
int folder_tear_down(void **state);

void folder_write(const char *name, const void *data, size_t size);

/* Whether the next rename fails, with errno set. NULL, as after the setup: it does not. */
extern bool (*folder_rename_fails)(void);
bool folder_is_full(void); /* true, ENOSPC */

#endif
