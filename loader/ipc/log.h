/* The daemon's log: one line a message on standard error. Untrusted text is made harmless. */
#ifndef OBS_IPC_LOG_H
#define OBS_IPC_LOG_H

#include <stdbool.h>

#include "bundles/base/err.h"

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7
};

/* Environment variable by which the supervisor tells its children the form: "plain" is "obsload monitor: warning: text",
 * else each line starts with "<4>", which journald understands (sd-daemon(3)). */
#define LOG_ENVIRONMENT "OBSLOAD_LOG"

/* who: "obsload", "monitor", "worker"; must stay valid. */
void log_open(const char *who);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The error's text with its code, and its log if it has one. */
void log_err(enum log_level level, const struct err *e);

#endif
