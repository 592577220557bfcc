/* Errors: made once where they happen, wrapped on the way up, printed only by main and request handlers.
 *
 * The caller owns a struct err on its stack (ERR_INIT). A fallible function takes it last, returns 0 or -1, and leaves
 * its outputs unchanged on failure. The code is set at the origin and never changed by callers; each caller may add one
 * frame of context with err_wrap. Nothing here allocates.
 */
#ifndef OBS_BASE_ERR_H
#define OBS_BASE_ERR_H

#include <stdbool.h>
#include <stdio.h>

#include "bundles/base/err_codes.h"
#include "bundles/base/own.h"

enum err_code {
	ERR_NONE = 0,
#define ERR_ENUM(id, name, status, advice) ERR_##id,
	ERR_CODES(ERR_ENUM)
#undef ERR_ENUM
	    ERR_CODE_COUNT,
};

enum { ERR_FRAMES = 6, ERR_FRAME_BYTES = 320, ERR_LOG_BYTES = 16384 };

struct err {
	enum err_code code;
	int errnum;     /* errno at the origin, 0 if none */
	unsigned depth; /* frames in use; frame[0] is the origin */
	char frame[ERR_FRAMES][ERR_FRAME_BYTES];
	char log[ERR_LOG_BYTES]; /* what a library or the kernel said (verifier log, OpenSSL queue); may be empty */
};

#define ERR_INIT                                                                                                       \
	{                                                                                                              \
		.code = ERR_NONE                                                                                       \
	}

/* Sets code and origin; drops what *e held. Always returns -1, so that `return err_set(...)` reads well.
 * e may be NULL where a caller only wants to know whether. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* The same, and takes errno, whose text is appended to the frame. */
int err_errno(struct err *e, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Adds a frame of context in front of what is there. Returns -1. Past ERR_FRAMES the newest frame is dropped. */
int err_wrap(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The analyzer does not look into other files: without this it follows paths on which an error was no error. */
#ifdef __clang_analyzer__
#define err_set(...)   (err_set(__VA_ARGS__), -1)
#define err_errno(...) (err_errno(__VA_ARGS__), -1)
#define err_wrap(...)  (err_wrap(__VA_ARGS__), -1)
#endif

/* Keeps the last ERR_LOG_BYTES - 1 bytes of text as the error's log. text may be NULL. */
void err_log(struct err *e, const char *text);

/* "outer: inner: origin", always NUL-terminated; returns dst. */
const char *err_text(const struct err *e, char *dst, size_t size);

const char *err_name(enum err_code code);    /* "signature.untrusted"; "ok" for ERR_NONE */
int err_status(enum err_code code);          /* exit status of a command that ends so */
const char *err_advice(enum err_code code);  /* what the reader should do; never NULL */
enum err_code err_by_name(const char *name); /* ERR_NONE if there is no such code */

/* Writes "prog: what happened [code]\n  what to do\n" and the log to f; with json one object on one line:
 * {"error":{"code","message","advice","errno"?,"log"?}}. Returns the exit status. */
int err_print(FILE *f, const char *prog, const struct err *e, bool json);

#endif
