/* The tar of a bundle: strict ustar, one canonical form (obs-bundle(5)). The only user of libarchive. */
#ifndef OBS_BUNDLES_ARCHIVE_H
#define OBS_BUNDLES_ARCHIVE_H

#include "bundles/files.h"

/* Takes a bundle apart. Accepts exactly the bytes that archive_write would give for the same files and one mtime:
 * anything else (links, devices, pax and GNU entries, odd modes or owners, trailing bytes, missing end) is refused with
 * a code archive.*. tar is borrowed. */
MUST_CHECK int archive_read(const uint8_t *tar, size_t size, struct bundle_files **out, struct err *e);

/* The same without a copy: takes *tar, which free() frees, over on success. */
MUST_CHECK int archive_take(uint8_t **tar, size_t size, struct bundle_files **out, struct err *e);

/* The canonical tar of files: their order, uid and gid 0, mode 0644, the given mtime (seconds, not negative), two zero
 * blocks at the end, no further padding. The caller frees *out. */
MUST_CHECK int archive_write(const struct bundle_files *files, int64_t mtime, uint8_t **out, size_t *out_size,
			     struct err *e);

/* The mtime of the first entry, for signing a bundle again without changing anything else. */
MUST_CHECK int archive_mtime(const uint8_t *tar, size_t size, int64_t *out, struct err *e);

#endif
