/* At each limit accepted, or refused for what comes later; one past it refused as too large. */
#include <stdlib.h>
#include <string.h>

#include "keys/object.h"
#include "tests/reject/reject.h"
#include "tests/unit/bundles_tar.h"

static void must(bool ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

/* ---- sizes and numbers of files ---- */

/* The observer with zeros behind it: still an object. */
static struct elf padded_object(size_t size)
{
	struct elf elf = {calloc(1, size), size};

	must(elf.data, "calloc");
	memcpy(elf.data, observer.data, observer.size);
	return elf;
}

struct objects {
	size_t count;
	const struct elf *first, *last; /* all are like the first but for the last */
};

static struct objects wanted;

static void name_object(size_t i, char name[static 32])
{
	snprintf(name, 32, "o%03zu", i);
}

/* The one object becomes many of other names; no manifest can state one too many. */
static void many(struct manifest *m)
{
	struct err e = ERR_INIT;
	char name[32];

	for (size_t i = 1; i < wanted.count && i < BUNDLE_MAX_OBJECTS; i++) {
		const struct elf *elf = i + 1 == wanted.count ? wanted.last : wanted.first;
		OWN(object) struct object *o = NULL;
		must(object_read("probe", elf->data, elf->size, &o, &e) == 0, "object_read");
		struct manifest_object *to = manifest_grow(&m->objects, &m->object_count, sizeof(*to), &e);
		must(to, "manifest_grow");
		const struct manifest_object *first = &m->objects[0];
		name_object(i, name);
		to->name = strdup(name);
		to->arch = strdup(first->arch);
		to->size = elf->size;
		must(digest_of(elf->data, elf->size, &to->digest, &e) == 0, "digest_of");
		to->capabilities = o->capabilities;
		o->capabilities = (struct capabilities){};
		to->programs = TAKE_PTR(o->programs);
		to->program_count = o->program_count;
		o->program_count = 0;
		for (size_t k = 0; k < first->map_count; k++) {
			struct manifest_map *map = manifest_grow(&to->maps, &to->map_count, sizeof(*map), &e);
			must(map, "manifest_grow");
			*map = first->maps[k];
			map->name = strdup(map->name);
			map->type = strdup(map->type);
		}
	}
	name_object(0, name);
	free(m->objects[0].name);
	m->objects[0].name = strdup(name);
}

static void build_many(struct objects objects, struct tar *t)
{
	char path[160], object[32];

	wanted = objects;
	OWN(bundle_files)
	struct bundle_files *files = assemble(&(struct parts){.stated = objects.first, .change = many});
	const char *probe = files->file[2].path, *slash = strrchr(probe, '/');
	for (size_t i = 0; i < 2; i++)
		tar_file(t, files->file[i].path, files->file[i].data, files->file[i].size);
	for (size_t i = 0; i < objects.count; i++) {
		const struct elf *elf = i + 1 == objects.count ? objects.last : objects.first;
		name_object(i, object);
		snprintf(path, sizeof(path), "%.*s/%s.bpf.o", (int)(slash - probe), probe, object);
		tar_file(t, path, elf->data, elf->size);
	}
	tar_end(t);
}

static void refuse_many(struct reject *r, enum err_code code, const char *name, struct objects objects)
{
	struct tar t = {0};

	build_many(objects, &t);
	r->take(r, code, name, t.data, t.size);
	tar_free(&t);
}

/* Four objects, the last as large as makes the archive this large. The size of a signature differs by a byte or two from
 * one to the next: until it fits. */
static void refuse_total(struct reject *r, enum err_code code, const char *name, const struct elf *full, size_t total)
{
	size_t size = BUNDLE_OBJECT_MAX_BYTES - 16 * TAR_BLOCK;

	for (;;) {
		struct elf last = padded_object(size);
		struct tar t = {0};
		build_many((struct objects){4, full, &last}, &t);
		bool fits = t.size == total;
		if (fits)
			r->take(r, code, name, t.data, t.size);
		size += total - t.size;
		tar_free(&t);
		free(last.data);
		if (fits)
			return;
	}
}

static void sized_objects(struct reject *r)
{
	struct elf full = padded_object(BUNDLE_OBJECT_MAX_BYTES), over = padded_object(BUNDLE_OBJECT_MAX_BYTES + 1);

	refuse_many(r, ERR_NONE, "objects_256", (struct objects){BUNDLE_MAX_OBJECTS, &observer, &observer});
	refuse_many(r, ERR_ARCHIVE_TOO_LARGE, "objects_257_listed",
		    (struct objects){BUNDLE_MAX_OBJECTS + 1, &observer, &observer});
	refuse_many(r, ERR_NONE, "object_of_16_mib", (struct objects){1, &full, &full});
	refuse_many(r, ERR_ARCHIVE_TOO_LARGE, "object_of_16_mib_and_a_byte", (struct objects){1, &full, &over});
	refuse_total(r, ERR_NONE, "bytes_64_mib", &full, BUNDLE_MAX_BYTES);
	refuse_total(r, ERR_ARCHIVE_TOO_LARGE, "bytes_64_mib_and_a_block", &full, BUNDLE_MAX_BYTES + TAR_BLOCK);
	free(full.data);
	free(over.data);
}

static void sized_manifests(struct reject *r)
{
	struct text m = manifest_of(&(struct parts){});
	char *spaces = malloc(BUNDLE_MANIFEST_MAX_BYTES + 2);

	must(spaces, "malloc");
	memset(spaces, ' ', BUNDLE_MANIFEST_MAX_BYTES + 1);
	memcpy(spaces, m.data, m.size);
	refuse(r, ERR_NONE, "manifest_of_1_mib",
	       (struct parts){.signed_manifest = spaces, .signed_size = BUNDLE_MANIFEST_MAX_BYTES});
	struct tar t = {0};
	tar_file(&t, "manifest.json", spaces, BUNDLE_MANIFEST_MAX_BYTES + 1);
	tar_end(&t);
	r->take(r, ERR_ARCHIVE_TOO_LARGE, "manifest_of_1_mib_and_a_byte", t.data, t.size);
	tar_free(&t);
	free(spaces);
	free(m.data);
}

static void fill_64_kib(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	(void)content, (void)content_size;
	*der = realloc(*der, BUNDLE_SIGNATURE_MAX_BYTES);
	must(*der, "realloc");
	memset(*der + *size, 0, BUNDLE_SIGNATURE_MAX_BYTES - *size);
	*size = BUNDLE_SIGNATURE_MAX_BYTES;
}

static void signatures(struct reject *r)
{
	struct pki *signer[BUNDLE_MAX_SIGNATURES + 1] = {alice};
	char path[BUNDLE_PATH_MAX + 1];

	refuse(r, ERR_SIGNATURE_MALFORMED, "signature_of_64_kib", (struct parts){.spoil = fill_64_kib});
	for (size_t i = 1; i < BUNDLE_MAX_SIGNATURES; i++)
		signer[i] = pki_make((struct pki_spec){.name = "one of many"});
	refuse(r, ERR_NONE, "signatures_16", (struct parts){.signers = signer});
	OWN(bundle_files) struct bundle_files *files = assemble(&(struct parts){.signers = signer});
	struct tar t = {0};
	for (size_t i = 0; i < files->count; i++) {
		if (files->file[i].kind == BUNDLE_FILE_OBJECT) {
			snprintf(path, sizeof(path), "sig/%.64s.p7s",
				 "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff");
			tar_file(&t, path, files->file[1].data, files->file[1].size);
		}
		tar_file(&t, files->file[i].path, files->file[i].data, files->file[i].size);
	}
	tar_end(&t);
	r->take(r, ERR_ARCHIVE_TOO_LARGE, "signatures_17_well_formed", t.data, t.size);
	tar_free(&t);
	for (size_t i = 1; i < BUNDLE_MAX_SIGNATURES; i++)
		pki_free(&signer[i]);
}

void reject_limits(struct reject *r)
{
	sized_manifests(r);
	signatures(r);
	sized_objects(r);
}
