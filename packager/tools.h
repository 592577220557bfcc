/* Tools that a build runs, by fork and exec without a shell. They run in the author's folder, but are those that obspkg's
 * user named: relative names are resolved before, also in PATH.
 */
#ifndef OBS_PACKAGER_TOOLS_H
#define OBS_PACKAGER_TOOLS_H

#include "bundles/base/err.h"

struct tools;

/* Until tools_free, SIGINT, SIGTERM and SIGHUP do not end this process at once, so that it can remove what it made: they
 * end the tool that runs. ERR_IO. */
MUST_CHECK int tools_new(struct tools **out, struct err *e);
void tools_free(struct tools **tools);

/* The program that an environment variable names, or else fallback, as an absolute path that the caller frees.
 * ERR_BUILD_TOOL. */
MUST_CHECK int tools_find(const struct tools *t, const char *variable, const char *fallback, char **out, struct err *e);

/* Runs argv in cwd (NULL: here) with standard output to out_fd. A tool that cannot be started is ERR_BUILD_TOOL, one that
 * fails is ERR_BUILD_COMPILER. */
MUST_CHECK int tools_run(const struct tools *t, char *const *argv, const char *cwd, int out_fd, struct err *e);

#endif
