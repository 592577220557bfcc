#include "packager/packager.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bundles/base/file.h"
#include "packager/tools.h"

enum { ARGUMENTS_MAX = 320 };

struct compiler {
	const struct definition *definition;
	char folder[PATH_MAX]; /* temporary; headers/ in it is a link to the headers for authors */
	struct tools *tools;
	char *clang, *strip; /* absolute */
};

/* ---- headers ---- */

static bool has_headers(const char *folder)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/obs/obs.h", folder);
	return access(path, R_OK) == 0;
}

/* Beside the executable's build tree (build/bin/obspkg, build/san-x/bin/obspkg), or where it is installed. */
static int find_headers(char *out, struct err *e)
{
	static const char *const beside[] = {"/../../bpf/include", "/../../../bpf/include", "/../include"};
	char self[PATH_MAX], candidate[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return err_errno(e, ERR_IO, "/proc/self/exe");
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	const char *given = getenv("OBS_INCLUDE");
	if (given && given[0]) {
		if (has_headers(given) && realpath(given, out))
			return 0;
		return err_errno(e, ERR_BUILD_TOOL, "OBS_INCLUDE=%s: no <obs/obs.h> in it", given);
	}
	for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
		snprintf(candidate, sizeof(candidate), "%s%s", self, beside[i]);
		if (has_headers(candidate) && realpath(candidate, out))
			return 0;
	}
	return err_set(e, ERR_BUILD_TOOL, "<obs/obs.h> is neither in the source tree nor installed beside %s", self);
}

int compiler_new(const struct definition *definition, struct compiler **out, struct err *e)
{
	OWN(compiler) struct compiler *c = calloc(1, sizeof(*c));
	char headers[PATH_MAX], link_path[PATH_MAX + 16];
	const char *tmp = getenv("TMPDIR");

	if (!c)
		return err_errno(e, ERR_NOMEM, "compiler");
	c->definition = definition;
	if (tools_new(&c->tools, e) || tools_find(c->tools, "CLANG", "clang", &c->clang, e) ||
	    tools_find(c->tools, "LLVM_STRIP", "llvm-strip", &c->strip, e) || find_headers(headers, e))
		return -1;
	/* A '=' would end the name in -ffile-prefix-map. */
	if (!tmp || tmp[0] != '/' || strchr(tmp, '=') || strlen(tmp) > PATH_MAX - 64)
		tmp = "/tmp";
	snprintf(c->folder, sizeof(c->folder), "%s/obspkg-XXXXXX", tmp);
	if (!mkdtemp(c->folder)) {
		err_errno(e, ERR_IO, "%s", c->folder);
		c->folder[0] = '\0';
		return -1;
	}
	snprintf(link_path, sizeof(link_path), "%s/headers", c->folder);
	if (symlink(headers, link_path))
		return err_errno(e, ERR_IO, "%s", link_path);
	*out = TAKE_PTR(c);
	return 0;
}

/* Also what a compiler leaves there that was ended. */
static void remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

void compiler_free(struct compiler **compiler)
{
	struct compiler *c = TAKE_PTR(*compiler);

	if (!c)
		return;
	if (c->folder[0])
		remove_folder(c->folder);
	tools_free(&c->tools);
	free(c->clang);
	free(c->strip);
	free(c);
}

int compiler_version(const struct compiler *compiler, char *dst, size_t size, struct err *e)
{
	char path[PATH_MAX + 16], option[] = "--version", *name = compiler->clang;
	char *argv[] = {name, option, NULL};
	OWN_FREE uint8_t *said = NULL;
	size_t said_size = 0;

	snprintf(path, sizeof(path), "%s/version", compiler->folder);
	OWN_FD int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", path);
	int status = tools_run(compiler->tools, argv, NULL, fd, e);
	unlink(path);
	if (status)
		return -1;
	if (file_read_fd_again(fd, 65536, ERR_BUILD_TOOL, &said, &said_size, e))
		return err_wrap(e, "%s --version", name);
	const char *word = strstr((const char *)said, "clang version ");
	if (!word)
		return err_set(e, ERR_BUILD_TOOL, "%s is no clang", name);
	word += strlen("clang version ");
	snprintf(dst, size, "%.*s", (int)strspn(word, "0123456789."), word);
	return 0;
}

/* ---- compiling ---- */

struct invocation {
	char *argv[ARGUMENTS_MAX];
	size_t count;
	bool failed;
};

static void PRINTF_LIKE(2, 3) argument(struct invocation *a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (a->count + 1 >= ARGUMENTS_MAX || vasprintf(&a->argv[a->count], fmt, ap) < 0)
		a->failed = true;
	else
		a->argv[++a->count] = NULL;
	va_end(ap);
}

static void arguments_clear(struct invocation *a)
{
	for (size_t i = 0; i < a->count; i++)
		free(a->argv[i]);
}

/* Reproducible: the compiler runs in the author's folder and is given relative names, so that folder is in no output; the
 * headers' folder has a random name that is mapped to a fixed one; __DATE__ and __TIME__ are errors. */
static void clang_arguments(struct invocation *a, const struct compiler *c, const char *source, const char *arch)
{
	static const char *const fixed[] = {
	    "-target",
	    "bpf",
	    "-mcpu=v3",
	    "-O2",
	    "-g",
	    "-c",
	    "-std=gnu11",
	    "-Wall",
	    "-Wno-unused-function",
	    "-Wno-missing-declarations",
	    "-Wno-compare-distinct-pointer-types",
	    "-Werror=date-time",
	    "-Werror=implicit-function-declaration",
	    "-Werror=int-conversion",
	    "-Werror=return-type",
	    "-Werror=unknown-attributes",
	    "-Werror=ignored-attributes",
	    "-fdebug-compilation-dir=.",
	    "-fno-ident",
	    "-fcolor-diagnostics",
	};
	size_t count = ARRAY_LEN(fixed) - !isatty(STDERR_FILENO);

	argument(a, "%s", c->clang);
	for (size_t i = 0; i < count; i++)
		argument(a, "%s", fixed[i]);
	argument(a, "-D__TARGET_ARCH_%s", strcmp(arch, "aarch64") == 0 ? "arm64" : "x86");
	argument(a, "-ffile-prefix-map=%s/headers=<obs>", c->folder);
	for (size_t i = 0; i < c->definition->includes.count; i++)
		argument(a, "-I%s", c->definition->includes.text[i]);
	argument(a, "-I%s/headers", c->folder);
	argument(a, "-I%s/headers/obs/compat", c->folder);
	argument(a, "-o");
	argument(a, "%s/object.o", c->folder);
	argument(a, "%s", source);
}

static int run_arguments(const struct compiler *c, struct invocation *a, const char *cwd, struct err *e)
{
	int status = a->failed ? err_set(e, ERR_LIMIT, "too many arguments for %s", a->argv[0])
			       : tools_run(c->tools, a->argv, cwd, STDERR_FILENO, e);

	arguments_clear(a);
	return status;
}

int compiler_run(const struct compiler *compiler, const char *source, const char *arch, uint8_t **out, size_t *out_size,
		 struct err *e)
{
	struct invocation compile = {0}, strip = {0};
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/object.o", compiler->folder);
	clang_arguments(&compile, compiler, source, arch);
	if (run_arguments(compiler, &compile, compiler->definition->folder, e))
		return err_wrap(e, "%s for %s", source, arch);
	argument(&strip, "%s", compiler->strip);
	argument(&strip, "-g");
	argument(&strip, "%s", path);
	if (run_arguments(compiler, &strip, NULL, e))
		return err_wrap(e, "%s for %s", source, arch);
	int status = file_read(path, BUNDLE_OBJECT_MAX_BYTES, ERR_LIMIT, out, out_size, e);
	unlink(path);
	return status ? err_wrap(e, "%s for %s", source, arch) : 0;
}
