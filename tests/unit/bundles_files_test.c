#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>

#include "bundles/base/file.h"
#include "bundles/files.h"

static void add(struct bundle_files *files, const char *path, const char *text)
{
	struct err e = ERR_INIT;

	if (bundle_files_add(files, path, (const uint8_t *)text, strlen(text), &e))
		fail_msg("%s: %s", path, e.frame[0]);
}

static int make(void **state)
{
	struct bundle_files *files = NULL;
	struct err e = ERR_INIT;

	if (bundle_files_new(&files, &e))
		return -1;
	*state = files;
	return 0;
}

static int drop(void **state)
{
	struct bundle_files *files = *state;

	bundle_files_free(&files);
	return files != NULL;
}

static void bundle_files_new_set_is_empty(void **state)
{
	const struct bundle_files *files = *state;

	assert_int_equal(files->count, 0);
	assert_int_equal(files->total, 0);
	assert_null(bundle_files_manifest(files));
	assert_null(bundle_files_find(files, "manifest.json"));
}

static void bundle_files_free_of_nothing_does_nothing(void **state)
{
	struct bundle_files *none = NULL;

	(void)state;
	bundle_files_free(&none);
	assert_null(none);
}

static void bundle_files_add_copies_its_bytes(void **state)
{
	struct bundle_files *files = *state;
	char text[] = "{}";

	add(files, "manifest.json", text);
	text[0] = 'x';
	assert_memory_equal(files->file[0].data, "{}", 2);
	assert_int_equal(files->file[0].fd, -1);
	assert_int_equal(files->total, 2);
}

static void bundle_files_add_refused_changes_nothing(void **state)
{
	struct bundle_files *files = *state;
	struct err e = ERR_INIT;

	add(files, "manifest.json", "{}");
	assert_int_equal(bundle_files_add(files, "manifest.json", (const uint8_t *)"x", 1, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_DUPLICATE);
	assert_int_equal(bundle_files_add(files, "bundle.json", (const uint8_t *)"x", 1, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_ENTRY_NAME);
	assert_int_equal(files->count, 1);
	assert_int_equal(files->total, 2);
}

static void bundle_files_add_first_other_than_manifest_refused(void **state)
{
	struct err e = ERR_INIT;

	assert_int_equal(bundle_files_add(*state, "obj/x86_64/a.bpf.o", (const uint8_t *)"x", 1, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_ORDER);
}

static void bundle_files_add_longest_names_fit(void **state)
{
	struct bundle_files *files = *state;
	static const char longest[] = "obj/aarch64/012345678901234567890123456789012345678901234567.bpf.o";

	add(files, "manifest.json", "{}");
	add(files, longest, "x");
	assert_string_equal(files->file[1].path, longest);
}

/* Longer than any buffer a path could be copied to. */
static void bundle_files_add_endless_name_refused(void **state)
{
	char name[4096];
	struct err e = ERR_INIT;

	memset(name, 'a', sizeof(name));
	memcpy(name, "obj/x86_64/", 11);
	memcpy(name + sizeof(name) - 7, ".bpf.o", 7);
	assert_int_equal(bundle_files_add(*state, name, (const uint8_t *)"x", 1, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_ENTRY_NAME);
}

static void bundle_files_add_total_beyond_limit_refused(void **state)
{
	struct bundle_files *files = *state;
	OWN_FREE uint8_t *bytes = calloc(1, BUNDLE_OBJECT_MAX_BYTES);
	struct err e = ERR_INIT;
	char path[64];

	add(files, "manifest.json", "{}");
	for (char c = 'a'; c <= 'c'; c++) {
		snprintf(path, sizeof(path), "obj/x86_64/%c.bpf.o", c);
		assert_int_equal(bundle_files_add(files, path, bytes, BUNDLE_OBJECT_MAX_BYTES, &e), 0);
	}
	assert_int_equal(bundle_files_add(files, "obj/x86_64/d.bpf.o", bytes, BUNDLE_OBJECT_MAX_BYTES, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
	assert_int_equal(bundle_files_add(files, "obj/x86_64/d.bpf.o", bytes, BUNDLE_OBJECT_MAX_BYTES - 2, &e), 0);
	assert_int_equal(files->total, BUNDLE_MAX_BYTES);
}

static void bundle_files_add_fd_maps_a_sealed_file(void **state)
{
	struct bundle_files *files = *state;
	struct err e = ERR_INIT;
	int fd = -1;

	assert_int_equal(file_sealed("test", "{\"a\": 1}", 8, &fd, &e), 0);
	assert_int_equal(bundle_files_add_fd(files, "manifest.json", fd, &e), 0);
	assert_int_equal(files->file[0].fd, fd);
	assert_int_equal(files->file[0].size, 8);
	assert_memory_equal(bundle_files_manifest(files)->data, "{\"a\": 1}", 8);
}

/* Whoever gave an unsealed file could change it after it was verified. The caller keeps the fd. */
static void bundle_files_add_fd_unsealed_refused(void **state)
{
	OWN_FD int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct err e = ERR_INIT;

	assert_int_equal(write(fd, "{}", 2), 2);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK), 0);
	assert_int_equal(bundle_files_add_fd(*state, "manifest.json", fd, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
}

static void bundle_files_add_fd_too_large_refused(void **state)
{
	OWN_FD int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct err e = ERR_INIT;

	assert_int_equal(ftruncate(fd, BUNDLE_MANIFEST_MAX_BYTES + 1), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL), 0);
	assert_int_equal(bundle_files_add_fd(*state, "manifest.json", fd, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
}

static void bundle_files_add_fd_empty_refused(void **state)
{
	OWN_FD int fd = -1;
	struct err e = ERR_INIT;

	assert_int_equal(file_sealed("test", "", 0, &fd, &e), 0);
	assert_int_equal(bundle_files_add_fd(*state, "manifest.json", fd, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_MALFORMED);
}

static void bundle_object_path_valid_follows_the_grammar(void **state)
{
	(void)state;
	assert_true(bundle_object_path_valid("obj/x86_64/a.bpf.o"));
	assert_true(bundle_object_path_valid("obj/aarch64/tcp_flow-2.bpf.o"));
	assert_false(bundle_object_path_valid("obj/x86_64/a.o"));
	assert_false(bundle_object_path_valid("obj/x86_64a/a.bpf.o"));
	assert_false(bundle_object_path_valid("obj/x86_64/a.bpf.o/"));
	assert_false(bundle_object_path_valid("obj/x86_64/a.b.bpf.o"));
	assert_false(bundle_object_path_valid("obj//a.bpf.o"));
}

#define WITH_SET(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    WITH_SET(bundle_files_new_set_is_empty),
	    cmocka_unit_test(bundle_files_free_of_nothing_does_nothing),
	    WITH_SET(bundle_files_add_copies_its_bytes),
	    WITH_SET(bundle_files_add_refused_changes_nothing),
	    WITH_SET(bundle_files_add_first_other_than_manifest_refused),
	    WITH_SET(bundle_files_add_longest_names_fit),
	    WITH_SET(bundle_files_add_endless_name_refused),
	    WITH_SET(bundle_files_add_total_beyond_limit_refused),
	    WITH_SET(bundle_files_add_fd_maps_a_sealed_file),
	    WITH_SET(bundle_files_add_fd_unsealed_refused),
	    WITH_SET(bundle_files_add_fd_too_large_refused),
	    WITH_SET(bundle_files_add_fd_empty_refused),
	    cmocka_unit_test(bundle_object_path_valid_follows_the_grammar),
	};

	return cmocka_run_group_tests_name("bundles_files", tests, NULL, NULL);
}
