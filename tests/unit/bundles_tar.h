/* A tar of a bundle, header by header, written without libarchive: what archive_write gives is compared with it, and
 * broken variants are made from it. */
#ifndef OBS_TESTS_BUNDLES_TAR_H
#define OBS_TESTS_BUNDLES_TAR_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAR_BLOCK = 512 };

/* Offsets of ustar's header (POSIX.1-1988). */
enum {
	TAR_NAME = 0,
	TAR_MODE = 100,
	TAR_UID = 108,
	TAR_GID = 116,
	TAR_SIZE = 124,
	TAR_MTIME = 136,
	TAR_CHECKSUM = 148,
	TAR_TYPE = 156,
	TAR_LINK = 157,
	TAR_MAGIC = 257,
	TAR_UNAME = 265,
	TAR_GNAME = 297,
	TAR_DEVMAJOR = 329,
	TAR_DEVMINOR = 337,
	TAR_PREFIX = 345,
};

struct tar {
	uint8_t *data;
	size_t size;
	size_t header; /* of the entry that was added last */
};

static inline void tar_free(struct tar *t)
{
	free(t->data);
	*t = (struct tar){0};
}

static inline void tar_bytes(struct tar *t, const void *bytes, size_t size)
{
	t->data = realloc(t->data, t->size + size + 1);
	assert(t->data);
	if (bytes)
		memcpy(t->data + t->size, bytes, size);
	else
		memset(t->data + t->size, 0, size);
	t->size += size;
}

/* After a header was changed. */
static inline void tar_checksum(struct tar *t, size_t header)
{
	uint8_t *h = t->data + header;
	unsigned sum = 0;

	memset(h + TAR_CHECKSUM, ' ', 8);
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + TAR_CHECKSUM, 7, "%06o", sum);
}

static inline void tar_set(struct tar *t, size_t header, size_t offset, const void *bytes, size_t size)
{
	memcpy(t->data + header + offset, bytes, size);
	tar_checksum(t, header);
}

static inline void tar_header(struct tar *t, const char *name, char type, size_t size)
{
	char number[32];

	t->header = t->size;
	tar_bytes(t, NULL, TAR_BLOCK);
	uint8_t *h = t->data + t->header;
	memcpy(h + TAR_NAME, name, strlen(name) < 100 ? strlen(name) : 100);
	memcpy(h + TAR_MODE, "000644 ", 7);
	memcpy(h + TAR_UID, "000000 ", 7);
	memcpy(h + TAR_GID, "000000 ", 7);
	snprintf(number, sizeof(number), "%011zo ", size);
	memcpy(h + TAR_SIZE, number, 12);
	memcpy(h + TAR_MTIME, "00000000005 ", 12);
	h[TAR_TYPE] = (uint8_t)type;
	memcpy(h + TAR_MAGIC, "ustar\00000", 8);
	memcpy(h + TAR_DEVMAJOR, "000000 ", 7);
	memcpy(h + TAR_DEVMINOR, "000000 ", 7);
	tar_checksum(t, t->header);
}

/* data NULL: zeros. */
static inline void tar_file(struct tar *t, const char *name, const void *data, size_t size)
{
	tar_header(t, name, '0', size);
	size_t header = t->header;
	tar_bytes(t, data, size);
	if (size % TAR_BLOCK)
		tar_bytes(t, NULL, TAR_BLOCK - size % TAR_BLOCK);
	t->header = header;
}

static inline void tar_end(struct tar *t)
{
	tar_bytes(t, NULL, (size_t)2 * TAR_BLOCK);
}

#endif
