#include "loader/ipc/log.h"

#include <stdarg.h>
#include <string.h>

#include "bundles/base/text.h"

static struct {
	const char *who;
	bool plain;
} state = {.who = "obsload", .plain = true};

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

void log_open(const char *who)
{
	const char *form = getenv(LOG_ENVIRONMENT);

	state.who = who;
	state.plain = form && strcmp(form, "plain") == 0;
}

static void put(const char *line, size_t size)
{
	if (write(STDERR_FILENO, line, size) < 0)
		return; /* nowhere left to say it */
}

/* One write for one line, so that lines of several processes do not mix. */
static void emit(enum log_level level, const char *text)
{
	static const char untold[] = "<3>obsload: there is no memory for what stood in this line of the log\n";
	char line[8192];
	FILE *f = fmemopen(line, sizeof(line) - 1, "w");

	if (!f) {
		put(untold, sizeof(untold) - 1);
		return;
	}
	if (state.plain)
		fprintf(f, "%s: %s: ", state.who, level_names[level]);
	else
		fprintf(f, "<%d>%s: ", level, state.who);
	text_terminal(f, text, false);
	fflush(f);
	long size = ftell(f);
	fclose(f);
	if (size < 0)
		return;
	line[size] = '\n';
	put(line, (size_t)size + 1);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	emit(level, text);
}

void log_err(enum log_level level, const struct err *e)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	err_text(e, text, sizeof(text));
	log_line(level, "%s [%s]", text, err_name(e->code));
	for (const char *p = e->log; *p;) {
		size_t n = strcspn(p, "\n");
		if (n)
			log_line(level, "  %.*s", (int)n, p);
		p += n + (p[n] == '\n');
	}
}
