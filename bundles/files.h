/* The files of one bundle in memory, in archive order. Nothing here says that they are genuine. */
#ifndef OBS_BUNDLES_FILES_H
#define OBS_BUNDLES_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"
#include "bundles/limits.h"

enum bundle_file_kind {
	BUNDLE_FILE_MANIFEST,  /* manifest.json */
	BUNDLE_FILE_SIGNATURE, /* sig/<64 lower hex>.p7s */
	BUNDLE_FILE_OBJECT,    /* obj/<arch>/<name>.bpf.o, name [a-z0-9_-]{1,48} */
};

struct bundle_file {
	enum bundle_file_kind kind;
	char path[BUNDLE_PATH_MAX + 1];
	const uint8_t *data; /* owned by the bundle_files */
	size_t size;
	bool part; /* data lies in the archive */
	int fd;    /* sealed memfd that data maps, or -1 where data is plain memory */
};

struct bundle_files {
	struct bundle_file file[BUNDLE_MAX_FILES];
	size_t count;
	size_t total;     /* bytes of all files */
	uint8_t *archive; /* or NULL */
};

/* obj/<arch>/<name>.bpf.o with a known architecture. */
bool bundle_object_path_valid(const char *path);

/* An empty set; NULL with ERR_NOMEM. */
MUST_CHECK int bundle_files_new(struct bundle_files **out, struct err *e);
void bundle_files_free(struct bundle_files **files);

/* Adds a file after checking path grammar, order (manifest, signatures sorted, objects sorted by path), duplicates and
 * every limit: codes archive.*. The one place that decides which files a bundle may hold. Copies data. */
MUST_CHECK int bundle_files_add(struct bundle_files *files, const char *path, const uint8_t *data, size_t size,
				struct err *e);

/* The same without a copy: data is a part of what will be files->archive. */
MUST_CHECK int bundle_files_add_part(struct bundle_files *files, const char *path, const uint8_t *data, size_t size,
				     struct err *e);

/* The same from a sealed memfd (checked to be one), which is mapped, not copied; takes fd over on success. */
MUST_CHECK int bundle_files_add_fd(struct bundle_files *files, const char *path, int fd, struct err *e);

/* NULL if there is none. */
const struct bundle_file *bundle_files_find(const struct bundle_files *files, const char *path);

/* The manifest, or NULL. */
const struct bundle_file *bundle_files_manifest(const struct bundle_files *files);

#endif
