#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundles/archive.h"
#include "tests/reject/archive.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SIG_A "sig/" HEX_A ".p7s"
#define SIG_B "sig/" HEX_B ".p7s"
#define OBJ_A "obj/aarch64/demo.bpf.o"
#define OBJ_X "obj/x86_64/demo.bpf.o"

static const char manifest[] = "{\"schema\": 1}\n";

static void good(struct tar *t)
{
	tar_file(t, "manifest.json", manifest, sizeof(manifest) - 1);
	tar_file(t, SIG_A, "signature a", 11);
	tar_file(t, SIG_B, "signature b", 11);
	tar_file(t, OBJ_A, NULL, 512);
	tar_file(t, OBJ_X, "\177ELF", 4);
	tar_end(t);
}

static struct bundle_files *read_good(struct tar *t);

static void variant_refused(void **state)
{
	const struct archive_variant *v = *state;
	struct tar t = {0};
	OWN(bundle_files) struct bundle_files *base = read_good(&t);
	struct bundle_files *files = NULL;
	struct err e = ERR_INIT;

	tar_free(&t);
	archive_variant(v, base, &t);
	/* A block of its own size, so that a sanitizer sees any read past the end. */
	uint8_t *exact = malloc(t.size ? t.size : 1);
	assert_non_null(exact);
	memcpy(exact, t.data, t.size);
	assert_int_equal(archive_read(exact, t.size, &files, &e), -1);
	assert_null(files);
	assert_string_equal(err_name(e.code), err_name(v->code));
	assert_true(e.depth > 0 && e.frame[0][0]);
	free(exact);
	tar_free(&t);
}

/* archive.unpacker is about the process that unpacks, not about bytes. */
static void archive_read_every_code_has_a_variant(void **state)
{
	(void)state;
	for (enum err_code code = ERR_NONE + 1; code < ERR_CODE_COUNT; code++) {
		bool seen = strncmp(err_name(code), "archive.", 8) != 0 || code == ERR_ARCHIVE_UNPACKER;
		for (size_t i = 0; i < ARCHIVE_VARIANT_COUNT; i++)
			seen |= archive_variants[i].code == code;
		if (!seen)
			fail_msg("no variant gives %s", err_name(code));
	}
}

/* ---- what is good ---- */

static struct bundle_files *read_good(struct tar *t)
{
	struct bundle_files *files = NULL;
	struct err e = ERR_INIT;

	good(t);
	if (archive_read(t->data, t->size, &files, &e))
		err_print(stderr, "archive_read", &e, false);
	assert_non_null(files);
	return files;
}

static void archive_read_good_bundle_gives_its_files(void **state)
{
	struct tar t = {0};
	OWN(bundle_files) struct bundle_files *files = read_good(&t);

	(void)state;
	assert_int_equal(files->count, 5);
	assert_string_equal(files->file[0].path, "manifest.json");
	assert_int_equal(files->file[0].kind, BUNDLE_FILE_MANIFEST);
	assert_int_equal(files->file[0].size, sizeof(manifest) - 1);
	assert_memory_equal(files->file[0].data, manifest, sizeof(manifest) - 1);
	assert_ptr_equal(bundle_files_manifest(files), &files->file[0]);
	assert_int_equal(files->file[2].kind, BUNDLE_FILE_SIGNATURE);
	assert_memory_equal(files->file[2].data, "signature b", 11);
	assert_int_equal(files->file[4].kind, BUNDLE_FILE_OBJECT);
	assert_ptr_equal(bundle_files_find(files, OBJ_X), &files->file[4]);
	assert_null(bundle_files_find(files, "obj/x86_64/none.bpf.o"));
	assert_int_equal(files->total, sizeof(manifest) - 1 + 11 + 11 + 512 + 4);
	tar_free(&t);
}

/* The form is ours, not that of one libarchive: these bytes were put together by hand. */
static void archive_write_gives_the_canonical_bytes(void **state)
{
	struct tar t = {0};
	OWN(bundle_files) struct bundle_files *files = read_good(&t);
	OWN_FREE uint8_t *written = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(archive_write(files, 5, &written, &size, &e), 0);
	assert_int_equal(size, t.size);
	assert_memory_equal(written, t.data, size);
	tar_free(&t);
}

static void archive_write_of_any_time_reads_back(void **state)
{
	static const int64_t times[] = {0, 1, 1795000000, (1LL << 33) - 1};
	struct tar t = {0};
	OWN(bundle_files) struct bundle_files *files = read_good(&t);

	(void)state;
	tar_free(&t);
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		OWN(bundle_files) struct bundle_files *again = NULL;
		OWN_FREE uint8_t *written = NULL;
		struct err e = ERR_INIT;
		int64_t mtime = -1;
		size_t size = 0;
		assert_int_equal(archive_write(files, times[i], &written, &size, &e), 0);
		assert_int_equal(archive_mtime(written, size, &mtime, &e), 0);
		assert_true(mtime == times[i]);
		assert_int_equal(archive_read(written, size, &again, &e), 0);
		assert_int_equal(again->count, files->count);
	}
}

static void archive_write_time_out_of_range_refused(void **state)
{
	struct tar t = {0};
	OWN(bundle_files) struct bundle_files *files = read_good(&t);
	uint8_t *written = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	tar_free(&t);
	assert_int_equal(archive_write(files, -1, &written, &size, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(archive_write(files, 1LL << 33, &written, &size, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_null(written);
}

static void archive_write_without_manifest_refused(void **state)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	uint8_t *written = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(bundle_files_new(&files, &e), 0);
	assert_int_equal(archive_write(files, 0, &written, &size, &e), -1);
	assert_int_equal(e.code, ERR_MANIFEST_MISSING);
}

/* Four full objects and a manifest: within the sum of the files' sizes only without headers. */
static void archive_write_too_large_refused(void **state)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *bytes = calloc(1, BUNDLE_OBJECT_MAX_BYTES);
	static const char *const paths[] = {"obj/x86_64/a.bpf.o", "obj/x86_64/b.bpf.o", "obj/x86_64/c.bpf.o",
					    "obj/x86_64/d.bpf.o"};
	uint8_t *written = NULL;
	struct err e = ERR_INIT;
	size_t size = 0;

	(void)state;
	assert_int_equal(bundle_files_new(&files, &e), 0);
	assert_int_equal(bundle_files_add(files, "manifest.json", (const uint8_t *)"{}", 2, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		assert_int_equal(
		    bundle_files_add(files, paths[i], bytes, BUNDLE_OBJECT_MAX_BYTES - (i == 3 ? 1024 : 0), &e), 0);
	assert_int_equal(archive_write(files, 0, &written, &size, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
}

static void archive_mtime_of_noise_refused(void **state)
{
	struct err e = ERR_INIT;
	struct tar t = {0};
	int64_t mtime = 77;

	(void)state;
	for (int i = 0; i < 2048; i++)
		tar_bytes(&t, (uint8_t[]){(uint8_t)(i * 7 + 1)}, 1);
	assert_int_equal(archive_mtime(t.data, t.size, &mtime, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_MALFORMED);
	assert_int_equal(archive_mtime(t.data, 10, &mtime, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TRUNCATED);
	assert_true(mtime == 77);
	tar_free(&t);
}

int main(void)
{
	static const struct CMUnitTest fixed[] = {
	    cmocka_unit_test(archive_read_every_code_has_a_variant),
	    cmocka_unit_test(archive_read_good_bundle_gives_its_files),
	    cmocka_unit_test(archive_write_gives_the_canonical_bytes),
	    cmocka_unit_test(archive_write_of_any_time_reads_back),
	    cmocka_unit_test(archive_write_time_out_of_range_refused),
	    cmocka_unit_test(archive_write_without_manifest_refused),
	    cmocka_unit_test(archive_write_too_large_refused),
	    cmocka_unit_test(archive_mtime_of_noise_refused),
	};
	static char names[ARCHIVE_VARIANT_COUNT][96];
	struct CMUnitTest tests[ARRAY_LEN(fixed) + ARCHIVE_VARIANT_COUNT];

	memcpy(tests, fixed, sizeof(fixed));
	for (size_t i = 0; i < ARCHIVE_VARIANT_COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "archive_read_%s_refused", archive_variants[i].name);
		tests[ARRAY_LEN(fixed) + i] = (struct CMUnitTest){
		    .name = names[i],
		    .test_func = variant_refused,
		    .initial_state = (void *)(uintptr_t)&archive_variants[i],
		};
	}
	return cmocka_run_group_tests_name("bundles_archive", tests, NULL, NULL);
}
