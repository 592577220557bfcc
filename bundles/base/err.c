#include "bundles/base/err.h"

#include <stdarg.h>
#include <string.h>

#include "bundles/base/text.h"

static const struct {
	const char *name;
	int status;
	const char *advice;
} codes[ERR_CODE_COUNT] = {[ERR_NONE] = {"ok", 0, ""},
#define ERR_ROW(id, name, status, advice) [ERR_##id] = {name, status, advice},
			   ERR_CODES(ERR_ROW)
#undef ERR_ROW
};

const char *err_name(enum err_code code)
{
	return code < ERR_CODE_COUNT ? codes[code].name : "system.internal";
}

int err_status(enum err_code code)
{
	return code < ERR_CODE_COUNT ? codes[code].status : codes[ERR_INTERNAL].status;
}

const char *err_advice(enum err_code code)
{
	return code < ERR_CODE_COUNT ? codes[code].advice : codes[ERR_INTERNAL].advice;
}

enum err_code err_by_name(const char *name)
{
	for (int code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++)
		if (strcmp(codes[code].name, name) == 0)
			return (enum err_code)code;
	return ERR_NONE;
}

static void PRINTF_LIKE(4, 0) origin(struct err *e, enum err_code code, int errnum, const char *fmt, va_list ap)
{
	e->code = code;
	e->errnum = errnum;
	e->depth = 1;
	e->log[0] = '\0';
	int n = vsnprintf(e->frame[0], ERR_FRAME_BYTES, fmt, ap);
	if (errnum && n >= 0 && n < ERR_FRAME_BYTES)
		snprintf(e->frame[0] + n, (size_t)(ERR_FRAME_BYTES - n), ": %s", strerror(errnum));
}

int(err_set)(struct err *e, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	if (e) {
		va_start(ap, fmt);
		origin(e, code, 0, fmt, ap);
		va_end(ap);
	}
	return -1;
}

int(err_errno)(struct err *e, enum err_code code, const char *fmt, ...)
{
	int errnum = errno;
	va_list ap;

	if (e) {
		va_start(ap, fmt);
		origin(e, code, errnum, fmt, ap);
		va_end(ap);
	}
	return -1;
}

int(err_wrap)(struct err *e, const char *fmt, ...)
{
	va_list ap;

	if (e && e->depth < ERR_FRAMES) {
		va_start(ap, fmt);
		vsnprintf(e->frame[e->depth++], ERR_FRAME_BYTES, fmt, ap);
		va_end(ap);
	}
	return -1;
}

void err_log(struct err *e, const char *text)
{
	if (!e || !text)
		return;
	size_t len = strlen(text);
	if (len >= ERR_LOG_BYTES)
		text += len - (ERR_LOG_BYTES - 1);
	snprintf(e->log, ERR_LOG_BYTES, "%s", text);
}

const char *err_text(const struct err *e, char *dst, size_t size)
{
	size_t used = 0;

	if (size)
		dst[0] = '\0';
	for (unsigned i = e->depth; i-- > 0 && used < size;) {
		int n = snprintf(dst + used, size - used, "%s%s", e->frame[i], i ? ": " : "");
		if (n < 0)
			break;
		used += (size_t)n;
	}
	return dst;
}

int err_print(FILE *f, const char *prog, const struct err *e, bool json)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	err_text(e, text, sizeof(text));
	if (json) {
		fputs("{\"error\":{\"code\":\"", f);
		fputs(err_name(e->code), f);
		fputs("\",\"message\":", f);
		text_json(f, text);
		fputs(",\"advice\":", f);
		text_json(f, err_advice(e->code));
		if (e->errnum)
			fprintf(f, ",\"errno\":%d", e->errnum);
		if (e->log[0]) {
			fputs(",\"log\":", f);
			text_json(f, e->log);
		}
		fputs("}}\n", f);
		return err_status(e->code);
	}
	fprintf(f, "%s: ", prog);
	text_terminal(f, text, false);
	fprintf(f, " [%s]\n", err_name(e->code));
	if (e->log[0]) {
		fputs("--- log ---\n", f);
		text_terminal(f, e->log, true);
		fputs("\n-----------\n", f);
	}
	fprintf(f, "  %s\n", err_advice(e->code));
	return err_status(e->code);
}
