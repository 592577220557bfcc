#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bundles/archive.h"
#include "tests/unit/bundles_tar.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SIG_A "sig/" HEX_A ".p7s"
#define SIG_B "sig/" HEX_B ".p7s"
#define OBJ_A "obj/aarch64/demo.bpf.o"
#define OBJ_X "obj/x86_64/demo.bpf.o"

static const char manifest[] = "{\"schema\": 1}\n";

/* ---- one good bundle ---- */

static void start(struct tar *t)
{
	tar_file(t, "manifest.json", manifest, sizeof(manifest) - 1);
}

static void objects(struct tar *t)
{
	tar_file(t, OBJ_A, NULL, 512);
	tar_file(t, OBJ_X, "\177ELF", 4);
}

static void good(struct tar *t)
{
	start(t);
	tar_file(t, SIG_A, "signature a", 11);
	tar_file(t, SIG_B, "signature b", 11);
	objects(t);
	tar_end(t);
}

/* ---- variants, each with one thing that is wrong ---- */

static void nothing(struct tar *t)
{
	tar_bytes(t, "", 0);
}

static void half_header(struct tar *t)
{
	good(t);
	t->size = 300;
}

static void second_header_cut(struct tar *t)
{
	good(t);
	t->size = 1024 + 100;
}

static void data_cut(struct tar *t)
{
	good(t);
	t->size = 512 + 7;
}

static void padding_cut(struct tar *t)
{
	start(t);
	objects(t);
	t->size -= 100;
}

static void no_end(struct tar *t)
{
	good(t);
	t->size -= 1024;
}

static void half_end(struct tar *t)
{
	good(t);
	t->size -= 512;
}

static void one_more_byte(struct tar *t)
{
	good(t);
	tar_bytes(t, NULL, 1);
}

/* What tar(1) does. */
static void padded_to_record(struct tar *t)
{
	good(t);
	tar_bytes(t, NULL, 10240 - t->size % 10240);
}

static void second_archive(struct tar *t)
{
	good(t);
	good(t);
}

static void noise(struct tar *t)
{
	for (int i = 0; i < 2048; i++)
		tar_bytes(t, (uint8_t[]){(uint8_t)(i * 7 + 1)}, 1);
}

static void gzip(struct tar *t)
{
	good(t);
	memcpy(t->data, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
}

static void wrong_checksum(struct tar *t)
{
	good(t);
	t->data[t->header + TAR_CHECKSUM] ^= 1;
}

static void only_end(struct tar *t)
{
	tar_end(t);
}

static void empty_object(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, NULL, 0);
	tar_end(t);
}

static void typed(struct tar *t, char type, const char *target)
{
	start(t);
	tar_header(t, OBJ_A, type, 0);
	tar_set(t, t->header, TAR_LINK, target, strlen(target));
	tar_end(t);
}

static void hard_link(struct tar *t)
{
	typed(t, '1', "manifest.json");
}

static void symbolic_link(struct tar *t)
{
	typed(t, '2', "/etc/shadow");
}

static void character_device(struct tar *t)
{
	typed(t, '3', "");
}

static void block_device(struct tar *t)
{
	typed(t, '4', "");
}

static void folder(struct tar *t)
{
	typed(t, '5', "");
}

static void fifo(struct tar *t)
{
	typed(t, '6', "");
}

static void extended(struct tar *t, char type, const char *name, const char *data)
{
	start(t);
	tar_file(t, name, data, strlen(data));
	tar_set(t, t->header, TAR_TYPE, &type, 1);
	objects(t);
	tar_end(t);
}

static void pax_noise(struct tar *t)
{
	extended(t, 'x', "PaxHeaders/a", "path=obj/x86_64/a.bpf.o\n");
}

static void pax_path(struct tar *t)
{
	extended(t, 'x', "PaxHeaders/a", "27 path=obj/x86_64/a.bpf.o\n");
}

static void pax_global(struct tar *t)
{
	extended(t, 'g', "PaxHeaders/a", "20 comment=untrusted\n");
}

static void gnu_long_name(struct tar *t)
{
	extended(t, 'L', "././@LongLink", "obj/aarch64/a.bpf.o");
}

static void gnu_long_link(struct tar *t)
{
	extended(t, 'K', "././@LongLink", "obj/aarch64/a.bpf.o");
}

static void gnu_sparse(struct tar *t)
{
	extended(t, 'S', OBJ_A, "x");
}

/* Without the magic, where the kind of an entry is looked at by libarchive alone. */
static void old_pax_path(struct tar *t)
{
	extended(t, 'x', "PaxHeaders/a", "27 path=obj/x86_64/a.bpf.o\n");
	tar_set(t, 1024, TAR_MAGIC, "\0\0\0\0\0\0\0\0", 8);
}

static void gnu_magic(struct tar *t)
{
	good(t);
	tar_set(t, t->header, TAR_MAGIC, "ustar  \0", 8);
}

static void named(struct tar *t, const char *name)
{
	start(t);
	tar_file(t, name, "x", 1);
	tar_end(t);
}

static void absolute_name(struct tar *t)
{
	named(t, "/obj/x86_64/a.bpf.o");
}

static void name_goes_up(struct tar *t)
{
	named(t, "obj/x86_64/../../a.bpf.o");
}

static void name_starts_with_dot(struct tar *t)
{
	named(t, "./obj/x86_64/a.bpf.o");
}

static void readme(struct tar *t)
{
	named(t, "README");
}

static void other_architecture(struct tar *t)
{
	named(t, "obj/riscv64/a.bpf.o");
}

static void upper_case_name(struct tar *t)
{
	named(t, "obj/x86_64/A.bpf.o");
}

static void nameless_object(struct tar *t)
{
	named(t, "obj/x86_64/.bpf.o");
}

static void long_object_name(struct tar *t)
{
	named(t, "obj/x86_64/0123456789012345678901234567890123456789012345678.bpf.o");
}

static void short_signer(struct tar *t)
{
	named(t, "sig/aaaa.p7s");
}

static void upper_case_signer(struct tar *t)
{
	named(t, "sig/Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.p7s");
}

static void name_is_not_text(struct tar *t)
{
	named(t, "obj/x86_64/\xff\xfe.bpf.o");
}

static void object_twice(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, "1", 1);
	tar_file(t, OBJ_A, "2", 1);
	tar_end(t);
}

static void manifest_twice(struct tar *t)
{
	start(t);
	start(t);
	tar_end(t);
}

static void object_before_signature(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, "x", 1);
	tar_file(t, SIG_A, "x", 1);
	tar_end(t);
}

static void manifest_last(struct tar *t)
{
	objects(t);
	start(t);
	tar_end(t);
}

static void objects_unsorted(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_X, "x", 1);
	tar_file(t, OBJ_A, "x", 1);
	tar_end(t);
}

static void signatures_unsorted(struct tar *t)
{
	start(t);
	tar_file(t, SIG_B, "x", 1);
	tar_file(t, SIG_A, "x", 1);
	tar_end(t);
}

static void changed(struct tar *t, size_t offset, const char *bytes, size_t size)
{
	good(t);
	tar_set(t, t->header, offset, bytes, size);
}

static void mode_0755(struct tar *t)
{
	changed(t, TAR_MODE, "000755 ", 7);
}

static void set_uid_bit(struct tar *t)
{
	changed(t, TAR_MODE, "004644 ", 7);
}

static void owner(struct tar *t)
{
	changed(t, TAR_UID, "001750 ", 7);
}

static void group(struct tar *t)
{
	changed(t, TAR_GID, "001750 ", 7);
}

static void owner_name(struct tar *t)
{
	changed(t, TAR_UNAME, "root", 4);
}

static void group_name(struct tar *t)
{
	changed(t, TAR_GNAME, "root", 4);
}

static void other_time(struct tar *t)
{
	changed(t, TAR_MTIME, "00000000006 ", 12);
}

static void device_number(struct tar *t)
{
	changed(t, TAR_DEVMINOR, "000001 ", 7);
}

static void mode_in_other_digits(struct tar *t)
{
	changed(t, TAR_MODE, "0000644", 8);
}

static void binary_size(struct tar *t)
{
	changed(t, TAR_SIZE, "\x80\0\0\0\0\0\0\0\0\0\0\4", 12);
}

static void type_nul(struct tar *t)
{
	changed(t, TAR_TYPE, "\0", 1);
}

static void type_contiguous(struct tar *t)
{
	changed(t, TAR_TYPE, "7", 1);
}

static void name_in_prefix(struct tar *t)
{
	good(t);
	memset(t->data + t->header, 0, 100);
	memcpy(t->data + t->header + TAR_PREFIX, "obj/x86_64", 10);
	tar_set(t, t->header, TAR_NAME, "demo.bpf.o", 10);
}

static void bytes_after_name(struct tar *t)
{
	changed(t, TAR_NAME + 60, "hidden", 6);
}

static void no_magic(struct tar *t)
{
	start(t);
	tar_set(t, t->header, TAR_MAGIC, "\0\0\0\0\0\0\0\0", 8);
	objects(t);
	tar_end(t);
}

static void bytes_in_padding(struct tar *t)
{
	good(t);
	t->data[512 + 100] = 1;
}

static void bytes_in_end(struct tar *t)
{
	good(t);
	t->data[t->size - 1] = 1;
}

static void negative_time(struct tar *t)
{
	start(t);
	tar_set(t, t->header, TAR_MTIME, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	tar_end(t);
}

static void large_manifest(struct tar *t)
{
	tar_file(t, "manifest.json", NULL, BUNDLE_MANIFEST_MAX_BYTES + 1);
	tar_end(t);
}

static void large_signature(struct tar *t)
{
	start(t);
	tar_file(t, SIG_A, NULL, BUNDLE_SIGNATURE_MAX_BYTES + 1);
	tar_end(t);
}

static void large_object(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, NULL, BUNDLE_OBJECT_MAX_BYTES + 1);
	tar_end(t);
}

/* A header alone: what it claims must not be allocated. */
static void claims_gigabytes(struct tar *t)
{
	start(t);
	tar_header(t, OBJ_A, '0', (size_t)7 << 30);
	tar_end(t);
}

static void signatures_17(struct tar *t)
{
	char name[128];

	start(t);
	for (unsigned i = 0; i <= BUNDLE_MAX_SIGNATURES; i++) {
		snprintf(name, sizeof(name), "sig/%064x.p7s", i);
		tar_file(t, name, "x", 1);
	}
	tar_end(t);
}

static void objects_257(struct tar *t)
{
	char name[128];

	start(t);
	for (unsigned i = 0; i <= BUNDLE_MAX_OBJECTS; i++) {
		snprintf(name, sizeof(name), "obj/x86_64/%03u.bpf.o", i);
		tar_file(t, name, "x", 1);
	}
	tar_end(t);
}

static void more_than_64_mib(struct tar *t)
{
	start(t);
	tar_file(t, "obj/x86_64/a.bpf.o", NULL, BUNDLE_OBJECT_MAX_BYTES);
	tar_file(t, "obj/x86_64/b.bpf.o", NULL, BUNDLE_OBJECT_MAX_BYTES);
	tar_file(t, "obj/x86_64/c.bpf.o", NULL, BUNDLE_OBJECT_MAX_BYTES);
	tar_file(t, "obj/x86_64/d.bpf.o", NULL, BUNDLE_OBJECT_MAX_BYTES);
	tar_end(t);
}

#define REFUSED(make, code)                                                                                            \
	{                                                                                                              \
		"archive_read_" #make "_refused", make, ERR_ARCHIVE_##code                                             \
	}

static const struct variant {
	const char *name;
	void (*make)(struct tar *t);
	enum err_code code;
} variants[] = {
    REFUSED(nothing, TRUNCATED),
    REFUSED(half_header, TRUNCATED),
    REFUSED(second_header_cut, TRUNCATED),
    REFUSED(data_cut, TRUNCATED),
    REFUSED(padding_cut, TRUNCATED),
    REFUSED(no_end, TRUNCATED),
    REFUSED(half_end, TRUNCATED),
    REFUSED(one_more_byte, TRAILING),
    REFUSED(padded_to_record, TRAILING),
    REFUSED(second_archive, TRAILING),
    REFUSED(noise, MALFORMED),
    REFUSED(gzip, MALFORMED),
    REFUSED(wrong_checksum, MALFORMED),
    REFUSED(only_end, MALFORMED),
    REFUSED(empty_object, MALFORMED),
    REFUSED(hard_link, ENTRY_TYPE),
    REFUSED(symbolic_link, ENTRY_TYPE),
    REFUSED(character_device, ENTRY_TYPE),
    REFUSED(block_device, ENTRY_TYPE),
    REFUSED(folder, ENTRY_TYPE),
    REFUSED(fifo, ENTRY_TYPE),
    REFUSED(pax_noise, ENTRY_TYPE),
    REFUSED(pax_path, ENTRY_TYPE),
    REFUSED(pax_global, ENTRY_TYPE),
    REFUSED(gnu_long_name, ENTRY_TYPE),
    REFUSED(gnu_long_link, ENTRY_TYPE),
    REFUSED(gnu_sparse, ENTRY_TYPE),
    REFUSED(old_pax_path, ENTRY_TYPE),
    REFUSED(gnu_magic, ENTRY_TYPE),
    REFUSED(absolute_name, ENTRY_NAME),
    REFUSED(name_goes_up, ENTRY_NAME),
    REFUSED(name_starts_with_dot, ENTRY_NAME),
    REFUSED(readme, ENTRY_NAME),
    REFUSED(other_architecture, ENTRY_NAME),
    REFUSED(upper_case_name, ENTRY_NAME),
    REFUSED(nameless_object, ENTRY_NAME),
    REFUSED(long_object_name, ENTRY_NAME),
    REFUSED(short_signer, ENTRY_NAME),
    REFUSED(upper_case_signer, ENTRY_NAME),
    REFUSED(name_is_not_text, ENTRY_NAME),
    REFUSED(object_twice, DUPLICATE),
    REFUSED(manifest_twice, DUPLICATE),
    REFUSED(object_before_signature, ORDER),
    REFUSED(manifest_last, ORDER),
    REFUSED(objects_unsorted, ORDER),
    REFUSED(signatures_unsorted, ORDER),
    REFUSED(mode_0755, NOT_CANONICAL),
    REFUSED(set_uid_bit, NOT_CANONICAL),
    REFUSED(owner, NOT_CANONICAL),
    REFUSED(group, NOT_CANONICAL),
    REFUSED(owner_name, NOT_CANONICAL),
    REFUSED(group_name, NOT_CANONICAL),
    REFUSED(other_time, NOT_CANONICAL),
    REFUSED(device_number, NOT_CANONICAL),
    REFUSED(mode_in_other_digits, NOT_CANONICAL),
    REFUSED(binary_size, NOT_CANONICAL),
    REFUSED(type_nul, NOT_CANONICAL),
    REFUSED(type_contiguous, NOT_CANONICAL),
    REFUSED(name_in_prefix, NOT_CANONICAL),
    REFUSED(bytes_after_name, NOT_CANONICAL),
    REFUSED(no_magic, NOT_CANONICAL),
    REFUSED(bytes_in_padding, NOT_CANONICAL),
    REFUSED(bytes_in_end, NOT_CANONICAL),
    REFUSED(negative_time, NOT_CANONICAL),
    REFUSED(large_manifest, TOO_LARGE),
    REFUSED(large_signature, TOO_LARGE),
    REFUSED(large_object, TOO_LARGE),
    REFUSED(claims_gigabytes, TOO_LARGE),
    REFUSED(signatures_17, TOO_LARGE),
    REFUSED(objects_257, TOO_LARGE),
    REFUSED(more_than_64_mib, TOO_LARGE),
};

static void variant_refused(void **state)
{
	const struct variant *v = *state;
	struct bundle_files *files = NULL;
	struct err e = ERR_INIT;
	struct tar t = {0};

	v->make(&t);
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
		for (size_t i = 0; i < ARRAY_LEN(variants); i++)
			seen |= variants[i].code == code;
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
	noise(&t);
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
	struct CMUnitTest tests[ARRAY_LEN(fixed) + ARRAY_LEN(variants)];

	memcpy(tests, fixed, sizeof(fixed));
	for (size_t i = 0; i < ARRAY_LEN(variants); i++)
		tests[ARRAY_LEN(fixed) + i] = (struct CMUnitTest){
		    .name = variants[i].name,
		    .test_func = variant_refused,
		    .initial_state = (void *)(uintptr_t)&variants[i],
		};
	return cmocka_run_group_tests_name("bundles_archive", tests, NULL, NULL);
}
