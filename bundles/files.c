#include "bundles/files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bundles/base/file.h"
#include "bundles/digest.h"

enum { OBJECT_NAME_MAX = 48 };

static const char *const architectures[] = {"x86_64", "aarch64"};

int bundle_files_new(struct bundle_files **out, struct err *e)
{
	struct bundle_files *files = calloc(1, sizeof(*files));

	if (!files)
		return err_errno(e, ERR_NOMEM, "an empty bundle");
	*out = files;
	return 0;
}

void bundle_files_free(struct bundle_files **files)
{
	if (!*files)
		return;
	for (size_t i = 0; i < (*files)->count; i++) {
		struct bundle_file *file = &(*files)->file[i];
		if (file->fd >= 0) {
			munmap((void *)(uintptr_t)file->data, file->size);
			close(file->fd);
		} else if (!file->part) {
			free((void *)(uintptr_t)file->data);
		}
	}
	free((*files)->archive);
	free(*files);
	*files = NULL;
}

/* The rest of text after prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static bool is_signature_path(const char *path)
{
	const char *hex = after(path, "sig/");

	return hex && strspn(hex, "0123456789abcdef") == 2 * DIGEST_BYTES &&
	       strcmp(hex + 2 * DIGEST_BYTES, ".p7s") == 0;
}

bool bundle_object_path_valid(const char *path)
{
	const char *rest = after(path, "obj/");
	const char *name = NULL;

	for (size_t i = 0; rest && !name && i < ARRAY_LEN(architectures); i++) {
		name = after(rest, architectures[i]);
		name = name && *name == '/' ? name + 1 : NULL;
	}
	if (!name)
		return false;
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
	return length >= 1 && length <= OBJECT_NAME_MAX && strcmp(name + length, ".bpf.o") == 0;
}

static int kind_of(const char *path, enum bundle_file_kind *out, struct err *e)
{
	if (strcmp(path, "manifest.json") == 0)
		*out = BUNDLE_FILE_MANIFEST;
	else if (is_signature_path(path))
		*out = BUNDLE_FILE_SIGNATURE;
	else if (bundle_object_path_valid(path))
		*out = BUNDLE_FILE_OBJECT;
	else
		return err_set(e, ERR_ARCHIVE_ENTRY_NAME, "%.*s: no file of a bundle", BUNDLE_PATH_MAX, path);
	return 0;
}

static int check_place(const struct bundle_files *files, const char *path, enum bundle_file_kind kind, struct err *e)
{
	if (bundle_files_find(files, path))
		return err_set(e, ERR_ARCHIVE_DUPLICATE, "%s: it is there twice", path);
	if (files->count == 0) {
		if (kind != BUNDLE_FILE_MANIFEST)
			return err_set(e, ERR_ARCHIVE_ORDER, "%s: manifest.json is not the first file", path);
		return 0;
	}
	const struct bundle_file *last = &files->file[files->count - 1];
	if (kind < last->kind || (kind == last->kind && strcmp(path, last->path) < 0))
		return err_set(e, ERR_ARCHIVE_ORDER, "%s: it stands after %s", path, last->path);
	return 0;
}

static int check_size(const struct bundle_files *files, const char *path, enum bundle_file_kind kind, size_t size,
		      struct err *e)
{
	static const struct {
		size_t bytes, files;
	} limit[] = {
	    [BUNDLE_FILE_MANIFEST] = {BUNDLE_MANIFEST_MAX_BYTES, 1},
	    [BUNDLE_FILE_SIGNATURE] = {BUNDLE_SIGNATURE_MAX_BYTES, BUNDLE_MAX_SIGNATURES},
	    [BUNDLE_FILE_OBJECT] = {BUNDLE_OBJECT_MAX_BYTES, BUNDLE_MAX_OBJECTS},
	};
	size_t same = 0;

	if (size == 0)
		return err_set(e, ERR_ARCHIVE_MALFORMED, "%s: it is empty", path);
	if (size > limit[kind].bytes)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%s: %zu bytes, at most %zu are allowed", path, size,
			       limit[kind].bytes);
	for (size_t i = 0; i < files->count; i++)
		same += files->file[i].kind == kind;
	if (same >= limit[kind].files)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%s: more than %zu files of its kind", path,
			       limit[kind].files);
	if (size > BUNDLE_MAX_BYTES - files->total)
		return err_set(e, ERR_ARCHIVE_TOO_LARGE, "%s: with it more than %d bytes in all", path,
			       BUNDLE_MAX_BYTES);
	return 0;
}

static int check_file(const struct bundle_files *files, const char *path, size_t size, enum bundle_file_kind *kind,
		      struct err *e)
{
	if (kind_of(path, kind, e) || check_place(files, path, *kind, e) || check_size(files, path, *kind, size, e))
		return -1;
	return 0;
}

/* path passed kind_of, so that it fits. */
static void append(struct bundle_files *files, enum bundle_file_kind kind, const char *path, const uint8_t *data,
		   size_t size, bool part, int fd)
{
	struct bundle_file *file = &files->file[files->count++];

	file->kind = kind;
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->data = data;
	file->size = size;
	file->part = part;
	file->fd = fd;
	files->total += size;
}

int bundle_files_add(struct bundle_files *files, const char *path, const uint8_t *data, size_t size, struct err *e)
{
	enum bundle_file_kind kind = BUNDLE_FILE_MANIFEST;

	if (check_file(files, path, size, &kind, e))
		return -1;
	uint8_t *copy = malloc(size);
	if (!copy)
		return err_errno(e, ERR_NOMEM, "%s: %zu bytes", path, size);
	memcpy(copy, data, size);
	append(files, kind, path, copy, size, false, -1);
	return 0;
}

int bundle_files_add_part(struct bundle_files *files, const char *path, const uint8_t *data, size_t size, struct err *e)
{
	enum bundle_file_kind kind = BUNDLE_FILE_MANIFEST;

	if (check_file(files, path, size, &kind, e))
		return -1;
	append(files, kind, path, data, size, true, -1);
	return 0;
}

int bundle_files_add_fd(struct bundle_files *files, const char *path, int fd, struct err *e)
{
	enum bundle_file_kind kind = BUNDLE_FILE_MANIFEST;
	size_t size = 0;

	if (file_check_sealed(fd, SIZE_MAX, &size, e))
		return err_wrap(e, "%.*s", BUNDLE_PATH_MAX, path);
	if (check_file(files, path, size, &kind, e))
		return -1;
	const uint8_t *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return err_errno(e, ERR_NOMEM, "%s: map %zu bytes", path, size);
	append(files, kind, path, data, size, false, fd);
	return 0;
}

const struct bundle_file *bundle_files_find(const struct bundle_files *files, const char *path)
{
	for (size_t i = 0; i < files->count; i++)
		if (strcmp(files->file[i].path, path) == 0)
			return &files->file[i];
	return NULL;
}

const struct bundle_file *bundle_files_manifest(const struct bundle_files *files)
{
	if (files->count && files->file[0].kind == BUNDLE_FILE_MANIFEST)
		return &files->file[0];
	return NULL;
}
