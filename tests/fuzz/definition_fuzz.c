/* Any bytes as a bundle.json: a build machine compiles for others. What is accepted names nothing outside of its folder,
 * in which there are ways out to name. */
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "packager/packager.h"
#include "tests/fuzz/need.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/dev/shm/obs-definition-fuzz.XXXXXX";
static char path[PATH_MAX];

static int remove_one(const char *name, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(name);
}

static void clean_up(void)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *inside(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void set_up(void)
{
	static const char *const sources[] = {"a.bpf.c", "sub/b.bpf.c", "sub/a.bpf.c"};
	struct err e = ERR_INIT;

	need(!mkdtemp(folder) || atexit(clean_up) || mkdir(inside("sub"), 0700));
	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		need(file_write(inside(sources[i]), "", 0, 0600, &e));
	need(symlink("/etc", inside("out")) || symlink("/etc/passwd", inside("out.bpf.c")) ||
	     symlink("sub", inside("in")));
}

static void check_inside(const struct texts *list)
{
	char real[PATH_MAX];

	for (size_t i = 0; i < list->count; i++) {
		need(strlen(list->text[i]) > 200 || !realpath(inside(list->text[i]), real));
		need(strncmp(real, folder, sizeof(folder) - 1) != 0);
	}
}

static void check_text(const char *text)
{
	need(!text[0]);
	for (const char *p = text; *p; p++)
		need((unsigned char)*p < 0x20 || *p == 0x7f);
}

static void check(const struct definition *d)
{
	char name[MANIFEST_IDENT_MAX + 1];

	need(!manifest_name_valid(d->name) || d->serial < 1 || d->serial > (1ULL << 53) - 1);
	check_text(d->version);
	check_text(d->description);
	check_text(d->licence);
	need(!d->sources.count || !d->arches.count || d->arches.count > 2);
	check_inside(&d->sources);
	check_inside(&d->includes);
	for (size_t i = 0; i < d->sources.count; i++)
		need(!definition_object_name(d->sources.text[i], name));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(definition) struct definition *d = NULL;
	struct err e = ERR_INIT;

	if (!path[0])
		set_up();
	FILE *f = fopen(inside("bundle.json"), "w");
	need(!f || fwrite(data, 1, size, f) != size || fclose(f));
	if (definition_read(folder, &d, &e))
		need(d || e.code == ERR_NONE || e.code == ERR_INTERNAL);
	else
		check(d);
	return 0;
}
