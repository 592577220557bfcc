/* The stored bundles of state.h. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "bundles/manifest.h"
#include "loader/monitor/state.h"

enum { STORE_PATH_BYTES = STATE_NAME_BYTES + 64 };

static void path_of(const char *name, uint64_t serial, char dst[static STORE_PATH_BYTES])
{
	snprintf(dst, STORE_PATH_BYTES, "bundles/%s/%" PRIu64 ".tar", name, serial);
}

static int make_at(int dir_fd, const char *path, struct err *e)
{
	if (mkdirat(dir_fd, path, 0700) && errno != EEXIST)
		return err_errno(e, ERR_STATE_IO, "folder %s", path);
	return 0;
}

/* A folder that is not on the disk yet loses the bundle with it at a power cut. */
static int sync_folder(int dir_fd, const char *path, struct err *e)
{
	OWN_FD int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return err_errno(e, ERR_STATE_IO, "fsync of %s", path);
	return 0;
}

int state_store(const struct state *state, const char *name, uint64_t serial, const void *data, size_t size,
		struct err *e)
{
	char path[STORE_PATH_BYTES], folder[STORE_PATH_BYTES];
	const char *slash = strchr(name, '/');

	if (!slash || !manifest_name_valid(name))
		return err_set(e, ERR_INTERNAL, "%s is no bundle's name", name);
	path_of(name, serial, path);
	if (make_at(state->dir_fd, "bundles", e))
		return -1;
	snprintf(folder, sizeof(folder), "bundles/%.*s", (int)(slash - name), name);
	if (make_at(state->dir_fd, folder, e) || sync_folder(state->dir_fd, ".", e) ||
	    sync_folder(state->dir_fd, "bundles", e))
		return -1;
	char inner[STORE_PATH_BYTES];
	snprintf(inner, sizeof(inner), "bundles/%s", name);
	if (make_at(state->dir_fd, inner, e) || sync_folder(state->dir_fd, folder, e))
		return -1;
	if (file_replace_at(state->dir_fd, path, data, size, 0600, e)) {
		if (e)
			e->code = ERR_STATE_IO;
		return -1;
	}
	return 0;
}

int state_stored(const struct state *state, const char *name, uint64_t serial, int *out_fd, struct err *e)
{
	char path[STORE_PATH_BYTES];

	path_of(name, serial, path);
	int fd = openat(state->dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_errno(e, errno == ENOENT || errno == ELOOP ? ERR_STATE_CORRUPT : ERR_STATE_IO,
				 "stored bundle %s", path);
	*out_fd = fd;
	return 0;
}

/* The folders of a bundle go when they are empty; that they are not is no error. */
static void drop_folders(int dir_fd, const char *name)
{
	char folder[STORE_PATH_BYTES];

	snprintf(folder, sizeof(folder), "bundles/%s", name);
	for (char *slash = folder; slash; slash = strrchr(folder, '/')) {
		if (slash != folder)
			*slash = '\0';
		if (unlinkat(dir_fd, folder, AT_REMOVEDIR) && errno != ENOENT)
			return;
	}
}

int state_unstore(const struct state *state, const char *name, uint64_t serial, struct err *e)
{
	char path[STORE_PATH_BYTES];

	path_of(name, serial, path);
	if (unlinkat(state->dir_fd, path, 0) && errno != ENOENT)
		return err_errno(e, ERR_STATE_IO, "%s", path);
	drop_folders(state->dir_fd, name);
	return 0;
}

static bool is_installed(const struct state *state, const char *name, const char *file)
{
	const struct state_bundle *b = state_find(state, name);
	char expected[32];

	if (!b || !b->installed)
		return false;
	snprintf(expected, sizeof(expected), "%" PRIu64 ".tar", b->serial);
	return strcmp(expected, file) == 0;
}

static void dir_owner_close(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define OWN_DIR __attribute__((cleanup(dir_owner_close)))

static DIR *open_folder(int dir_fd, const char *path, struct err *e)
{
	int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir) {
		err_errno(e, ERR_STATE_IO, "%s", path);
		if (fd >= 0)
			close(fd);
	}
	return dir;
}

static const struct dirent *next(DIR *dir)
{
	const struct dirent *entry;

	do
		entry = readdir(dir);
	while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
	return entry;
}

static int sweep_name(const struct state *state, const char *name, struct err *e)
{
	char folder[STORE_PATH_BYTES];
	const struct dirent *entry;

	snprintf(folder, sizeof(folder), "bundles/%s", name);
	OWN_DIR DIR *dir = open_folder(state->dir_fd, folder, e);
	if (!dir)
		return -1;
	while ((entry = next(dir)))
		if (!is_installed(state, name, entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0))
			return err_errno(e, ERR_STATE_IO, "%s/%s", folder, entry->d_name);
	drop_folders(state->dir_fd, name);
	return 0;
}

static int sweep_namespace(const struct state *state, const char *namespace, struct err *e)
{
	char folder[STORE_PATH_BYTES], name[STATE_NAME_BYTES];
	const struct dirent *entry;

	if (strlen(namespace) > MANIFEST_NAME_MAX)
		return err_set(e, ERR_STATE_CORRUPT, "bundles/%s is none of obsload's", namespace);
	snprintf(folder, sizeof(folder), "bundles/%.*s", MANIFEST_NAME_MAX, namespace);
	OWN_DIR DIR *dir = open_folder(state->dir_fd, folder, e);
	if (!dir)
		return -1;
	while ((entry = next(dir))) {
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", namespace, entry->d_name) >= sizeof(name) ||
		    !manifest_name_valid(name))
			return err_set(e, ERR_STATE_CORRUPT, "%s/%s is none of obsload's", folder, entry->d_name);
		if (sweep_name(state, name, e))
			return -1;
	}
	drop_folders(state->dir_fd, namespace);
	return 0;
}

/* ---- every one ---- */

struct walk {
	const struct state *state;
	int (*each)(void *ctx, const char *name, uint64_t serial, struct err *e);
	void *ctx;
};

static int each_of_name(const struct walk *w, const char *name, struct err *e)
{
	char folder[STORE_PATH_BYTES], expected[32];
	const struct dirent *entry;

	snprintf(folder, sizeof(folder), "bundles/%s", name);
	OWN_DIR DIR *dir = open_folder(w->state->dir_fd, folder, e);
	if (!dir)
		return -1;
	while ((entry = next(dir))) {
		uint64_t serial = strtoull(entry->d_name, NULL, 10);
		snprintf(expected, sizeof(expected), "%" PRIu64 ".tar", serial);
		if (serial && serial <= INT64_MAX && strcmp(expected, entry->d_name) == 0 &&
		    w->each(w->ctx, name, serial, e))
			return -1;
	}
	return 0;
}

static int each_of_namespace(const struct walk *w, const char *namespace, struct err *e)
{
	char folder[STORE_PATH_BYTES], name[STATE_NAME_BYTES];
	const struct dirent *entry;

	if ((size_t)snprintf(folder, sizeof(folder), "bundles/%s", namespace) >= sizeof(folder))
		return 0;
	OWN_DIR DIR *dir = open_folder(w->state->dir_fd, folder, e);
	if (!dir)
		return -1;
	while ((entry = next(dir)))
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", namespace, entry->d_name) < sizeof(name) &&
		    manifest_name_valid(name) && each_of_name(w, name, e))
			return -1;
	return 0;
}

int state_each_stored(const struct state *state,
		      int (*each)(void *ctx, const char *name, uint64_t serial, struct err *e), void *ctx,
		      struct err *e)
{
	const struct walk w = {.state = state, .each = each, .ctx = ctx};
	const struct dirent *entry;
	struct stat st;

	if (fstatat(state->dir_fd, "bundles", &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
		return 0;
	OWN_DIR DIR *dir = open_folder(state->dir_fd, "bundles", e);
	if (!dir)
		return -1;
	while ((entry = next(dir)))
		if (each_of_namespace(&w, entry->d_name, e))
			return -1;
	return 0;
}

int state_sweep(const struct state *state, struct err *e)
{
	struct stat st;
	const struct dirent *entry;

	if (file_sweep_at(state->dir_fd, ".", e))
		return -1;
	if (fstatat(state->dir_fd, "bundles", &st, AT_SYMLINK_NOFOLLOW) && errno == ENOENT)
		return 0;
	OWN_DIR DIR *dir = open_folder(state->dir_fd, "bundles", e);
	if (!dir)
		return -1;
	while ((entry = next(dir)))
		if (sweep_namespace(state, entry->d_name, e))
			return -1;
	unlinkat(state->dir_fd, "bundles", AT_REMOVEDIR); /* an install that came no further */
	return 0;
}
