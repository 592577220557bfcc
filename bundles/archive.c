#include "bundles/archive.h"

#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

enum { BLOCK = 512, END = 2 * BLOCK, TYPE_AT = 156, MAGIC_AT = 257 };

static const int64_t mtime_max = (1LL << 33) - 1; /* eleven octal digits */

/* What archive_write gives goes to memory, or is compared with what was read. */
struct sink {
	uint8_t *copy;         /* or NULL */
	const uint8_t *expect; /* or NULL */
	size_t size, used;
	bool differs;
	size_t differs_at;
};

static void own_writer(struct archive **a)
{
	if (*a)
		archive_write_free(*a);
}

static void own_entry(struct archive_entry **entry)
{
	archive_entry_free(*entry);
}

static size_t padded(size_t size)
{
	return (size + BLOCK - 1) / BLOCK * BLOCK;
}

static size_t canonical_size(const struct bundle_files *files)
{
	size_t size = END;

	for (size_t i = 0; i < files->count; i++)
		size += BLOCK + padded(files->file[i].size);
	return size;
}

/* ---- writing ---- */

static la_ssize_t sink_write(struct archive *a, void *ctx, const void *data, size_t size)
{
	struct sink *sink = ctx;

	if (size > sink->size - sink->used) {
		archive_set_error(a, EFBIG, "longer than computed");
		return -1;
	}
	if (sink->copy)
		memcpy(sink->copy + sink->used, data, size);
	if (sink->expect && !sink->differs && memcmp(sink->expect + sink->used, data, size) != 0) {
		const uint8_t *bytes = data;
		sink->differs = true;
		for (sink->differs_at = sink->used; sink->expect[sink->differs_at] == *bytes; bytes++)
			sink->differs_at++;
	}
	sink->used += size;
	return (la_ssize_t)size;
}

static int write_error(struct archive *a, const char *what, struct err *e)
{
	const char *text = archive_error_string(a);

	return err_set(e, archive_errno(a) == ENOMEM ? ERR_NOMEM : ERR_INTERNAL, "writing %s: %s", what,
		       text ? text : "libarchive gives no reason");
}

static int write_file(struct archive *a, const struct bundle_file *file, int64_t mtime, struct err *e)
{
	__attribute__((cleanup(own_entry))) struct archive_entry *entry = archive_entry_new2(a);

	if (!entry)
		return err_errno(e, ERR_NOMEM, "%s", file->path);
	archive_entry_set_pathname(entry, file->path);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_uid(entry, 0);
	archive_entry_set_gid(entry, 0);
	archive_entry_set_mtime(entry, mtime, 0);
	archive_entry_set_size(entry, (la_int64_t)file->size);
	if (archive_write_header(a, entry) != ARCHIVE_OK ||
	    archive_write_data(a, file->data, file->size) != (la_ssize_t)file->size)
		return write_error(a, file->path, e);
	return 0;
}

static int write_all(const struct bundle_files *files, int64_t mtime, struct sink *sink, struct err *e)
{
	__attribute__((cleanup(own_writer))) struct archive *a = archive_write_new();

	if (!a)
		return err_errno(e, ERR_NOMEM, "libarchive");
	/* Unbuffered: no padding past the two zero blocks. */
	if (archive_write_set_format_ustar(a) != ARCHIVE_OK || archive_write_add_filter_none(a) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(a, 0) != ARCHIVE_OK ||
	    archive_write_open(a, sink, NULL, sink_write, NULL) != ARCHIVE_OK)
		return write_error(a, "the archive", e);
	for (size_t i = 0; i < files->count; i++)
		if (write_file(a, &files->file[i], mtime, e))
			return -1;
	if (archive_write_close(a) != ARCHIVE_OK)
		return write_error(a, "the archive's end", e);
	if (sink->used != sink->size)
		return err_set(e, ERR_INTERNAL, "the archive has %zu bytes, not %zu", sink->used, sink->size);
	return 0;
}

int archive_write(const struct bundle_files *files, int64_t mtime, uint8_t **out, size_t *out_size, struct err *e)
{
	OWN_FREE uint8_t *tar = NULL;
	size_t size = canonical_size(files);

	if (!bundle_files_manifest(files))
		return err_set(e, ERR_MANIFEST_MISSING, "a bundle needs its manifest.json");
	if (mtime < 0 || mtime > mtime_max)
		return err_set(e, ERR_USAGE, "a time of %lld s: ustar holds 0 to %lld", (long long)mtime,
			       (long long)mtime_max);
	if (size > BUNDLE_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%zu bytes, at most %d are allowed", size, BUNDLE_MAX_BYTES);
	tar = malloc(size);
	if (!tar)
		return err_errno(e, ERR_NOMEM, "an archive of %zu bytes", size);
	struct sink sink = {.copy = tar, .size = size};
	if (write_all(files, mtime, &sink, e))
		return -1;
	*out = TAKE_PTR(tar);
	*out_size = size;
	return 0;
}

/* ---- reading ---- */

struct reading {
	const uint8_t *tar;
	size_t size, done; /* bytes: of the archive, and up to the next entry */
	struct archive *a;
};

static void own_reading(struct reading *r)
{
	if (r->a)
		archive_read_free(r->a);
}

static int check_size(size_t size, struct err *e)
{
	if (size > BUNDLE_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%zu bytes, at most %d are allowed", size, BUNDLE_MAX_BYTES);
	if (size < BLOCK)
		return err_set(e, ERR_ARCHIVE_TRUNCATED, "%zu bytes are no archive", size);
	return 0;
}

/* Tar only and no filter: libarchive's other parsers never see these bytes. */
static int reading_open(struct reading *r, struct err *e)
{
	if (check_size(r->size, e))
		return -1;
	r->a = archive_read_new();
	if (!r->a)
		return err_errno(e, ERR_NOMEM, "libarchive");
	if (archive_read_support_format_tar(r->a) != ARCHIVE_OK ||
	    archive_read_open_memory(r->a, r->tar, r->size) != ARCHIVE_OK)
		return err_set(e, ERR_ARCHIVE_MALFORMED, "%s", archive_error_string(r->a));
	return 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	while (size && bytes[size - 1] == 0)
		size--;
	return size == 0;
}

/* Extension entries are found here, so that libarchive's parsers of pax and GNU attributes, which replace names and sizes,
 * do not run on them. These go by the type alone, so that nothing but the types of POSIX gets there without the magic. */
static int check_extension(const struct reading *r, struct err *e)
{
	static const char extensions[] = "ADKLMNSVXgx"; /* of pax, GNU tar, Solaris and star */
	const uint8_t *header = r->tar + r->done;

	if (r->size - r->done < BLOCK || is_zero(header, BLOCK))
		return 0;
	uint8_t type = header[TYPE_AT];
	if (type == '\0' || (type >= '0' && type <= '7'))
		return 0;
	if (memcmp(header + MAGIC_AT, "ustar", 5) != 0 && !strchr(extensions, type))
		return err_set(e, ERR_ARCHIVE_MALFORMED, "the header at byte %zu is none of ustar", r->done);
	return err_set(e, ERR_ARCHIVE_ENTRY_TYPE, "the entry at byte %zu: an extension of type 0x%02x", r->done, type);
}

/* Moves to the next entry: 1, or 0 at the end. */
static int next_entry(struct reading *r, struct archive_entry **entry, struct err *e)
{
	if (check_extension(r, e))
		return -1;
	int status = archive_read_next_header(r->a, entry);
	if (status == ARCHIVE_EOF)
		return 0;
	if (status == ARCHIVE_OK)
		return 1;
	if (archive_errno(r->a) == ENOMEM)
		return err_set(e, ERR_NOMEM, "libarchive");
	if (r->size - r->done < BLOCK)
		return err_set(e, ERR_ARCHIVE_TRUNCATED, "the header at byte %zu is cut off", r->done);
	return err_set(e, ERR_ARCHIVE_MALFORMED, "the header at byte %zu: %s", r->done, archive_error_string(r->a));
}

/* Extensions first, again: what they say would have replaced the name, the size and the kind already. */
static int check_entry(struct archive *a, struct archive_entry *entry, const char *name, struct err *e)
{
	int format = archive_format(a);

	if (format == ARCHIVE_FORMAT_TAR_PAX_INTERCHANGE || format == ARCHIVE_FORMAT_TAR_PAX_RESTRICTED)
		return err_set(e, ERR_ARCHIVE_ENTRY_TYPE, "%s: pax extensions", name);
	if (format == ARCHIVE_FORMAT_TAR_GNUTAR)
		return err_set(e, ERR_ARCHIVE_ENTRY_TYPE, "%s: GNU extensions", name);
	if (archive_entry_hardlink(entry) || archive_entry_symlink(entry))
		return err_set(e, ERR_ARCHIVE_ENTRY_TYPE, "%s: a link", name);
	if (archive_entry_filetype(entry) != AE_IFREG)
		return err_set(e, ERR_ARCHIVE_ENTRY_TYPE, "%s: no regular file", name);
	if (format != ARCHIVE_FORMAT_TAR_USTAR)
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "%s: not ustar", name);
	return 0;
}

static int check_attributes(struct archive_entry *entry, const char *name, int64_t mtime, struct err *e)
{
	const char *uname = archive_entry_uname(entry), *gname = archive_entry_gname(entry);

	if (archive_entry_perm(entry) != 0644)
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "%s: mode %04o, not 0644", name,
			       (unsigned)archive_entry_perm(entry));
	if (archive_entry_uid(entry) != 0 || archive_entry_gid(entry) != 0 || (uname && *uname) || (gname && *gname))
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "%s: it names an owner", name);
	if (archive_entry_mtime(entry) != mtime)
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "%s: its time differs from the first file's", name);
	return 0;
}

/* The entry's bytes as a file, and on to what follows them. */
static int read_entry(struct reading *r, struct archive_entry *entry, int64_t mtime, struct bundle_files *files,
		      struct err *e)
{
	const char *name = archive_entry_pathname(entry);
	la_int64_t size = archive_entry_size(entry), header = archive_read_header_position(r->a);

	if (check_entry(r->a, entry, name ? name : "(no name)", e))
		return -1;
	if (!name)
		return err_set(e, ERR_ARCHIVE_ENTRY_NAME, "the entry at byte %zu has no readable name", r->done);
	if (size < 0 || size > BUNDLE_OBJECT_MAX_BYTES)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%.*s: %lld bytes", BUNDLE_PATH_MAX, name, (long long)size);
	if (header < 0 || (size_t)header > r->size || r->size - (size_t)header < BLOCK + padded((size_t)size))
		return err_set(e, ERR_ARCHIVE_TRUNCATED, "%.*s: it is cut off", BUNDLE_PATH_MAX, name);
	/* Where they lie in the canonical form: check_canonical refuses any other. */
	if (bundle_files_add_part(files, name, r->tar + header + BLOCK, (size_t)size, e) ||
	    check_attributes(entry, name, mtime, e))
		return -1;
	r->done = (size_t)header + BLOCK + padded((size_t)size);
	return 0;
}

static int check_canonical(const struct bundle_files *files, int64_t mtime, const uint8_t *tar, size_t size,
			   struct err *e)
{
	size_t expected = canonical_size(files);

	if (size < expected)
		return err_set(e, ERR_ARCHIVE_TRUNCATED, "the end of the archive is missing");
	if (size > expected)
		return err_set(e, ERR_ARCHIVE_TRAILING, "%zu bytes follow the end of the archive", size - expected);
	if (mtime < 0 || mtime > mtime_max)
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "a time of %lld s", (long long)mtime);
	struct sink sink = {.expect = tar, .size = size};
	if (write_all(files, mtime, &sink, e))
		return -1;
	if (sink.differs)
		return err_set(e, ERR_ARCHIVE_NOT_CANONICAL, "byte %zu is not as obspkg writes it", sink.differs_at);
	return 0;
}

int archive_take(uint8_t **tar, size_t size, struct bundle_files **out, struct err *e)
{
	__attribute__((cleanup(own_reading))) struct reading r = {.tar = *tar, .size = size};
	OWN(bundle_files) struct bundle_files *files = NULL;
	struct archive_entry *entry;
	int64_t mtime = 0;
	int more;

	if (reading_open(&r, e) || bundle_files_new(&files, e))
		return -1;
	while ((more = next_entry(&r, &entry, e)) > 0) {
		if (files->count == 0)
			mtime = archive_entry_mtime(entry);
		if (read_entry(&r, entry, mtime, files, e))
			return -1;
	}
	if (more < 0)
		return -1;
	if (files->count == 0)
		return err_set(e, ERR_ARCHIVE_MALFORMED, "the archive is empty");
	if (check_canonical(files, mtime, *tar, size, e))
		return -1;
	files->archive = TAKE_PTR(*tar);
	*out = TAKE_PTR(files);
	return 0;
}

int archive_read(const uint8_t *tar, size_t size, struct bundle_files **out, struct err *e)
{
	OWN_FREE uint8_t *copy = NULL;

	if (check_size(size, e))
		return -1;
	copy = malloc(size);
	if (!copy)
		return err_errno(e, ERR_NOMEM, "an archive of %zu bytes", size);
	memcpy(copy, tar, size);
	return archive_take(&copy, size, out, e);
}

int archive_mtime(const uint8_t *tar, size_t size, int64_t *out, struct err *e)
{
	__attribute__((cleanup(own_reading))) struct reading r = {.tar = tar, .size = size};
	struct archive_entry *entry;

	if (reading_open(&r, e))
		return -1;
	int more = next_entry(&r, &entry, e);
	if (more < 0)
		return -1;
	if (more == 0)
		return err_set(e, ERR_ARCHIVE_MALFORMED, "the archive is empty");
	*out = archive_entry_mtime(entry);
	return 0;
}
