#include "tests/unit/bpf_source.h"

#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bundles/base/file.h"

extern char **environ;

static void run(char *const *argv)
{
	pid_t pid;
	int status;

	assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

uint8_t *bpf_compile(const char *text, size_t *size)
{
	char folder[] = "/tmp/obs-test-XXXXXX", source[64], object[64];
	uint8_t *bytes = NULL;
	struct err e = ERR_INIT;

	assert_non_null(mkdtemp(folder));
	snprintf(source, sizeof(source), "%s/t.bpf.c", folder);
	snprintf(object, sizeof(object), "%s/t.o", folder);
	FILE *f = fopen(source, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	run((char *[]){"clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c", "-Wno-everything", "-Ibpf/include",
		       "-D__TARGET_ARCH_x86", "-o", object, source, NULL});
	run((char *[]){"llvm-strip", "-g", object, NULL});
	assert_int_equal(file_read(object, 16 << 20, ERR_LIMIT, &bytes, size, &e), 0);
	unlink(source);
	unlink(object);
	rmdir(folder);
	return bytes;
}
