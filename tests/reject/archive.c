#include "tests/reject/archive.h"

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define SIG_A "sig/" HEX_A ".p7s"
#define SIG_B "sig/" HEX_B ".p7s"
#define OBJ_A "obj/aarch64/demo.bpf.o"
#define OBJ_X "obj/x86_64/demo.bpf.o"

/* ---- one good bundle ---- */

static const struct bundle_files *base;

static void files_of(struct tar *t, enum bundle_file_kind kind)
{
	for (size_t i = 0; i < base->count; i++)
		if (base->file[i].kind == kind)
			tar_file(t, base->file[i].path, base->file[i].data, base->file[i].size);
}

static void manifest(struct tar *t)
{
	files_of(t, BUNDLE_FILE_MANIFEST);
}

static void start(struct tar *t)
{
	manifest(t);
	files_of(t, BUNDLE_FILE_SIGNATURE);
}

static void objects(struct tar *t)
{
	files_of(t, BUNDLE_FILE_OBJECT);
}

static void good(struct tar *t)
{
	start(t);
	objects(t);
	tar_end(t);
}

static const struct bundle_file *last(void)
{
	return &base->file[base->count - 1];
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
	manifest(t);
	size_t second = t->size;
	files_of(t, BUNDLE_FILE_SIGNATURE);
	t->size = second + 100;
}

static void data_cut(struct tar *t)
{
	good(t);
	t->size = 512 + 7;
}

static void padding_cut(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, "x", 1);
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

/* Without the magic, which libarchive does not ask for before it looks at the type. */
static void old_pax(struct tar *t, const char *attributes)
{
	start(t);
	tar_file(t, "PaxHeaders/a", attributes, strlen(attributes));
	tar_set(t, t->header, TAR_TYPE, "x", 1);
	tar_set(t, t->header, TAR_MAGIC, "\0\0\0\0\0\0\0\0", 8);
	objects(t);
	tar_end(t);
}

static void old_pax_path(struct tar *t)
{
	old_pax(t, "27 path=obj/x86_64/a.bpf.o\n");
}

/* The parser of pax would refuse these as malformed. */
static void old_pax_noise(struct tar *t)
{
	old_pax(t, "path=obj/x86_64/a.bpf.o\n");
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
	manifest(t);
	manifest(t);
	tar_end(t);
}

static void object_before_signature(struct tar *t)
{
	manifest(t);
	tar_file(t, OBJ_A, "x", 1);
	tar_file(t, SIG_A, "x", 1);
	tar_end(t);
}

static void manifest_last(struct tar *t)
{
	objects(t);
	manifest(t);
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
	manifest(t);
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
	uint8_t size[12] = {0x80};

	for (int i = 0; i < 4; i++)
		size[11 - i] = (uint8_t)(last()->size >> 8 * i);
	changed(t, TAR_SIZE, (const char *)size, sizeof(size));
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
	const char *path = last()->path, *name = strrchr(path, '/') + 1;

	good(t);
	memset(t->data + t->header, 0, 100);
	memcpy(t->data + t->header + TAR_PREFIX, path, (size_t)(name - path) - 1);
	tar_set(t, t->header, TAR_NAME, name, strlen(name));
}

static void bytes_after_name(struct tar *t)
{
	changed(t, TAR_NAME + 90, "hidden", 6);
}

static void no_magic(struct tar *t)
{
	manifest(t);
	tar_set(t, t->header, TAR_MAGIC, "\0\0\0\0\0\0\0\0", 8);
	files_of(t, BUNDLE_FILE_SIGNATURE);
	objects(t);
	tar_end(t);
}

static void bytes_in_padding(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, "x", 1);
	tar_file(t, OBJ_X, "x", 1);
	t->data[t->size - 1] = 1;
	tar_end(t);
}

static void bytes_in_end(struct tar *t)
{
	good(t);
	t->data[t->size - 1] = 1;
}

static void negative_time(struct tar *t)
{
	manifest(t);
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
	manifest(t);
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

	manifest(t);
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

/* Names that all stand at their places, so that only their number is wrong. */
static void headers_without_data(struct tar *t)
{
	char name[128];

	start(t);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "obj/x86_64/%03u.bpf.o", i);
		tar_header(t, name, '0', BUNDLE_OBJECT_MAX_BYTES);
	}
	tar_end(t);
}

static void entries_60000(struct tar *t)
{
	start(t);
	size_t from = t->size;
	tar_file(t, OBJ_A, "x", 1);
	size_t entry = t->size - from;
	tar_bytes(t, NULL, entry * 59999);
	for (size_t i = 1; i < 60000; i++)
		memcpy(t->data + from + i * entry, t->data + from, entry);
	tar_end(t);
}

/* Old GNU sparse: a map in the header, of which little is in the file. */
static void gnu_sparse_gigabytes(struct tar *t)
{
	start(t);
	tar_file(t, OBJ_A, "x", 1);
	tar_set(t, t->header, TAR_TYPE, "S", 1);
	tar_set(t, t->header, TAR_MAGIC, "ustar  \0", 8);
	tar_set(t, t->header, 386, "77777777776\00000000000001", 24);
	tar_set(t, t->header, 483, "77777777777", 12);
	tar_end(t);
}

static void pax_sparse(struct tar *t)
{
	extended(t, 'x', "PaxHeaders/a",
		 "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n37 GNU.sparse.realsize=1099511627776\n");
}

static void pax_size(struct tar *t)
{
	extended(t, 'x', "PaxHeaders/a", "22 size=1099511627776\n");
}

static void symbolic_link_to_a_good_object(struct tar *t)
{
	start(t);
	objects(t);
	tar_header(t, "obj/x86_64/zzz.bpf.o", '2', 0);
	tar_set(t, t->header, TAR_LINK, last()->path, strlen(last()->path));
	tar_end(t);
}

static void manifest_missing(struct tar *t)
{
	files_of(t, BUNDLE_FILE_SIGNATURE);
	objects(t);
	tar_end(t);
}

static void signature_twice(struct tar *t)
{
	manifest(t);
	for (int i = 0; i < 2; i++)
		tar_file(t, base->file[1].path, base->file[1].data, base->file[1].size);
	objects(t);
	tar_end(t);
}

#define REFUSED(make, code)                                                                                            \
	{                                                                                                              \
#make, ERR_ARCHIVE_##code, make                                                                        \
	}

const struct archive_variant archive_variants[] = {
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
    REFUSED(headers_without_data, TRUNCATED),
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
    REFUSED(old_pax_noise, ENTRY_TYPE),
    REFUSED(gnu_magic, ENTRY_TYPE),
    REFUSED(gnu_sparse_gigabytes, ENTRY_TYPE),
    REFUSED(pax_sparse, ENTRY_TYPE),
    REFUSED(pax_size, ENTRY_TYPE),
    REFUSED(symbolic_link_to_a_good_object, ENTRY_TYPE),
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
    REFUSED(entries_60000, DUPLICATE),
    REFUSED(signature_twice, DUPLICATE),
    REFUSED(object_before_signature, ORDER),
    REFUSED(manifest_last, ORDER),
    REFUSED(objects_unsorted, ORDER),
    REFUSED(signatures_unsorted, ORDER),
    REFUSED(manifest_missing, ORDER),
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
_Static_assert(ARRAY_LEN(archive_variants) == ARCHIVE_VARIANT_COUNT, "the header says how many there are");

void archive_variant(const struct archive_variant *v, const struct bundle_files *good_bundle, struct tar *t)
{
	base = good_bundle;
	v->make(t);
	base = NULL;
}
