#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "loader/monitor/kernel_impl.h"
#include "loader/monitor/kernel_paths.h"

/* ---- names: bpffs refuses dots, and no name of ours has a plus ---- */

static void encode(char *dst, size_t size, const char *name)
{
	snprintf(dst, size, "%s", name);
	for (char *at = dst; *at; at++)
		if (*at == '.')
			*at = '+';
}

static void decode(char *name)
{
	for (char *at = name; *at; at++)
		if (*at == '+')
			*at = '.';
}

int pin_base(const char *pin_root, const char *name, uint64_t serial, bool unfinished, char dst[static PATH_MAX],
	     struct err *e)
{
	char encoded[2 * MANIFEST_NAME_MAX + 2];

	encode(encoded, sizeof(encoded), name);
	if (snprintf(dst, PATH_MAX, "%s/%s/%llu%s", pin_root, encoded, (unsigned long long)serial,
		     unfinished ? "+new" : "") >= PATH_MAX)
		return err_set(e, ERR_KERNEL_PIN, "path below %s is too long", pin_root);
	return 0;
}

int pin_path(const char *base, const char *folder, const struct kernel_object *o, const char *name, const char *suffix,
	     char dst[static PATH_MAX], struct err *e)
{
	char encoded[MANIFEST_IDENT_MAX + 1];

	encode(encoded, sizeof(encoded), name);
	if (snprintf(dst, PATH_MAX, "%s/%s/%s:%s%s", base, folder, o->object->name, encoded, suffix) >= PATH_MAX)
		return err_set(e, ERR_KERNEL_PIN, "path below %s is too long", base);
	return 0;
}

/* ---- folders ---- */

static int make_folders(const char *path, struct err *e)
{
	char part[PATH_MAX];
	struct statfs fs;

	snprintf(part, sizeof(part), "%s", path);
	for (char *at = part + 1;; at++) {
		if (*at != '/' && *at != '\0')
			continue;
		char was = *at;
		*at = '\0';
		if (mkdir(part, 0700) && errno != EEXIST)
			return err_errno(e, ERR_KERNEL_PIN, "%s", part);
		*at = was;
		if (was == '\0')
			break;
	}
	if (statfs(path, &fs))
		return err_errno(e, ERR_KERNEL_PIN, "%s", path);
	if ((uint32_t)fs.f_type != BPF_FS_MAGIC)
		return err_set(e, ERR_KERNEL_PIN, "%s is not on a bpffs (mount -t bpf bpf /sys/fs/bpf)", path);
	return 0;
}

static int first_error(int result, struct err *e, const char *path)
{
	if (result == 0)
		err_errno(e, ERR_KERNEL_PIN, "removing %s", path);
	return -1;
}

/* Everything below path, two levels deep, and path. A path that does not exist is done. */
int pin_remove_tree(const char *path, struct err *e)
{
	int result = 0;
	DIR *dir = opendir(path);

	if (!dir)
		return errno == ENOENT ? 0 : first_error(0, e, path);
	for (struct dirent *at; (at = readdir(dir));) {
		char below[PATH_MAX];
		if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0)
			continue;
		if (snprintf(below, sizeof(below), "%s/%s", path, at->d_name) >= PATH_MAX)
			continue;
		if (unlink(below) == 0)
			continue;
		if (errno != EISDIR && errno != EPERM)
			result = first_error(result, e, below);
		else if (pin_remove_tree(below, result ? NULL : e))
			result = -1;
		rewinddir(dir);
		if (result)
			break;
	}
	closedir(dir);
	if (result == 0 && rmdir(path) && errno != ENOENT)
		result = first_error(result, e, path);
	return result;
}

/* The folders of name and namespace, if nothing else is in them. */
void pin_remove_parents(const char *pin_root, const char *base)
{
	char path[PATH_MAX];
	size_t root = strlen(pin_root);

	snprintf(path, sizeof(path), "%s", base);
	for (char *slash; (slash = strrchr(path, '/')) && (size_t)(slash - path) > root;) {
		*slash = '\0';
		if (rmdir(path))
			return;
	}
}

/* ---- tc ---- */

static int tc_record_path(const struct kernel_bundle *kb, const struct kernel_prog *p, const struct tc_filter *tc,
			  char dst[static PATH_MAX], struct err *e)
{
	char base[PATH_MAX], suffix[64];

	snprintf(suffix, sizeof(suffix), ":%d:%c:%u", tc->ifindex, tc->egress ? 'e' : 'i', tc->handle);
	if (pin_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, !kb->pins, base, e))
		return -1;
	return pin_path(base, "tc", &kb->objects[p->object], p->program->name, suffix, dst, e);
}

int pin_tc_record(struct kernel_bundle *kb, struct kernel_prog *p, const struct tc_filter *tc, struct err *e)
{
	char folder[PATH_MAX], path[PATH_MAX];

	if (tc_record_path(kb, p, tc, path, e))
		return -1;
	snprintf(folder, sizeof(folder), "%s", path);
	*strrchr(folder, '/') = '\0';
	if (make_folders(folder, e))
		return -1;
	kb->tc_record = true;
	if (unlink(path) && errno != ENOENT)
		return err_errno(e, ERR_KERNEL_PIN, "%s", path);
	if (bpf_obj_pin(p->fd, path))
		return err_errno(e, ERR_KERNEL_PIN, "%s", path);
	return 0;
}

void pin_tc_forget(const struct kernel_bundle *kb, const struct kernel_prog *p, const struct tc_filter *tc)
{
	char path[PATH_MAX];

	if (tc_record_path(kb, p, tc, path, NULL) == 0)
		unlink(path);
}

bool pin_parse_tc(const char *name, struct tc_filter *out)
{
	char side;
	const char *colon = strchr(name, ':');

	colon = colon ? strchr(colon + 1, ':') : NULL;
	/* NOLINTNEXTLINE(cert-err34-c): a number out of range names no filter, which is checked against the kernel. */
	if (!colon || sscanf(colon, ":%d:%c:%u", &out->ifindex, &side, &out->handle) != 3)
		return false;
	out->egress = side == 'e';
	return true;
}

/* Filters that a folder of pins records are removed from their interfaces. */
static int remove_recorded_filters(const char *pin_root, const char *base, struct err *e)
{
	char folder[PATH_MAX];
	int result = 0;

	if (snprintf(folder, sizeof(folder), "%s/tc", base) >= PATH_MAX)
		return 0;
	DIR *dir = opendir(folder);
	if (!dir)
		return errno == ENOENT ? 0 : first_error(0, e, folder);
	for (struct dirent *at; (at = readdir(dir));) {
		char path[PATH_MAX];
		struct tc_filter tc;
		struct bpf_prog_info info;
		if (!pin_parse_tc(at->d_name, &tc) ||
		    snprintf(path, sizeof(path), "%s/%s", folder, at->d_name) >= PATH_MAX)
			continue;
		OWN_FD int fd = bpf_obj_get(path);
		if (fd < 0 || view_program(fd, &info, NULL, NULL, NULL))
			continue;
		if (net_detach_tc(pin_root, &tc, info.id, result ? NULL : e))
			result = -1;
	}
	closedir(dir);
	return result;
}

void pin_drop_unfinished(struct kernel_bundle *kb)
{
	char base[PATH_MAX];

	if (pin_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, true, base, NULL) == 0 &&
	    pin_remove_tree(base, NULL) == 0)
		pin_remove_parents(kb->pin_root, base);
	kb->tc_record = false;
}

static bool qdisc_path(const char *pin_root, int ifindex, char dst[static PATH_MAX])
{
	return snprintf(dst, PATH_MAX, "%s/+clsact/%d", pin_root, ifindex) < PATH_MAX;
}

int pin_note_qdisc(const char *pin_root, int ifindex, struct err *e)
{
	char path[PATH_MAX];

	if (!qdisc_path(pin_root, ifindex, path))
		return err_set(e, ERR_KERNEL_PIN, "path below %s is too long", pin_root);
	return make_folders(path, e);
}

bool pin_noted_qdisc(const char *pin_root, int ifindex)
{
	char path[PATH_MAX];

	return qdisc_path(pin_root, ifindex, path) && access(path, F_OK) == 0;
}

void pin_forget_qdisc(const char *pin_root, int ifindex)
{
	char path[PATH_MAX];

	if (qdisc_path(pin_root, ifindex, path) && rmdir(path) == 0)
		pin_remove_parents(pin_root, path);
}

/* Folders of namespaces (depth 0) and names (1) that hold nothing, and notes of qdiscs that hold no filter. */
static void sweep_folder(const char *pin_root, const char *path, int depth)
{
	DIR *dir = opendir(path);

	for (struct dirent *at; dir && (at = readdir(dir));) {
		char below[PATH_MAX];
		int ifindex = atoi(at->d_name); /* NOLINT(cert-err34-c): 0 and others that are none are not noted */
		if (at->d_name[0] == '.' || snprintf(below, sizeof(below), "%s/%s", path, at->d_name) >= PATH_MAX)
			continue;
		if (depth == 0)
			sweep_folder(pin_root, below, 1);
		if (depth == 1 && strstr(path, "/+clsact"))
			net_drop_qdisc(pin_root, ifindex); /* with its note, which is a folder too */
		else
			rmdir(below); /* where something is in it, it stays */
	}
	if (dir)
		closedir(dir);
}

void kernel_sweep(const struct kernel_host *host)
{
	sweep_folder(host->pin_root, host->pin_root, 0);
}

/* ---- pin ---- */

static int link_path(const char *base, const struct kernel_object *o, const struct kernel_prog *p,
		     const struct attachment *a, char dst[static PATH_MAX], struct err *e)
{
	char suffix[24];

	snprintf(suffix, sizeof(suffix), ":%u", a->number);
	return pin_path(base, "links", o, p->program->name, suffix, dst, e);
}

static int pin_link(const char *base, const struct kernel_object *o, const struct kernel_prog *p, size_t n,
		    bool *pinned, struct err *e)
{
	char path[PATH_MAX];
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);
	int fd = attachment_fd(&p->attachments[n]);

	*pinned = p->attachments[n].kind == ATTACHMENT_TC;
	/* Perf events before Linux 5.15 and sockets have no link of the kernel's. */
	if (*pinned || fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return 0;
	if (link_path(base, o, p, &p->attachments[n], path, e))
		return -1;
	if (bpf_obj_pin(fd, path))
		return err_errno(e, ERR_KERNEL_PIN, "link of %s", p->program->name);
	*pinned = true;
	return 0;
}

int pin_late(const struct kernel_bundle *kb, const struct kernel_prog *p, size_t n, struct err *e)
{
	char base[PATH_MAX];
	bool pinned;

	if (pin_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, false, base, e) ||
	    pin_link(base, &kb->objects[p->object], p, n, &pinned, e))
		return -1;
	return 0;
}

void pin_forget(const struct kernel_bundle *kb, const struct kernel_prog *p, const struct attachment *a)
{
	char base[PATH_MAX], path[PATH_MAX];

	if (a->kind == ATTACHMENT_TC)
		pin_tc_forget(kb, p, &a->tc);
	else if (pin_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, false, base, NULL) == 0 &&
		 link_path(base, &kb->objects[p->object], p, a, path, NULL) == 0)
		unlink(path);
}

int pin_program(struct kernel_bundle *kb, size_t i, const char *base, struct err *e)
{
	struct kernel_prog *p = &kb->progs[i];
	const struct kernel_object *o = &kb->objects[p->object];
	bool all = p->attachment_count > 0 || interface_pins(p);
	char path[PATH_MAX];

	if (pin_path(base, "programs", o, p->program->name, "", path, e))
		return -1;
	if (bpf_obj_pin(p->fd, path))
		return err_errno(e, ERR_KERNEL_PIN, "program %s", p->program->name);
	for (size_t n = 0; n < p->attachment_count; n++) {
		bool pinned = false;
		if (pin_link(base, o, p, n, &pinned, e))
			return -1;
		all &= pinned;
	}
	p->pinned = all;
	return 0;
}

static int pin_maps(const struct kernel_object *o, const char *base, struct err *e)
{
	char path[PATH_MAX];

	for (size_t m = 0; m < o->object->map_count; m++) {
		if (o->maps[m].fd < 0)
			continue;
		if (pin_path(base, "maps", o, o->maps[m].map->name, "", path, e))
			return -1;
		if (bpf_obj_pin(o->maps[m].fd, path))
			return err_errno(e, ERR_KERNEL_PIN, "map %s", o->maps[m].map->name);
	}
	return 0;
}

static int pin_all(struct kernel_bundle *kb, const char *base, struct err *e)
{
	static const char *const folders[] = {"links", "programs", "maps"};

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		char path[PATH_MAX];
		if (snprintf(path, sizeof(path), "%s/%s", base, folders[i]) >= PATH_MAX)
			return err_set(e, ERR_KERNEL_PIN, "path below %s is too long", base);
		if (make_folders(path, e))
			return -1;
	}
	for (size_t i = 0; i < kb->object_count; i++)
		if (pin_maps(&kb->objects[i], base, e))
			return err_wrap(e, "object %s", kb->objects[i].object->name);
	for (size_t i = 0; i < kb->prog_count; i++)
		if (kb->progs[i].attached && pin_program(kb, i, base, e))
			return err_wrap(e, "object %s", kb->views[i].object->name);
	return 0;
}

/* What pin_all made; the records of tc filters stay as long as the filters do. */
static void unpin(struct kernel_bundle *kb, const char *base)
{
	static const char *const folders[] = {"links", "programs", "maps"};

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		char path[PATH_MAX];
		if (snprintf(path, sizeof(path), "%s/%s", base, folders[i]) < PATH_MAX && pin_remove_tree(path, NULL))
			continue; /* the reconciliation at the next start removes it */
	}
	for (size_t i = 0; i < kb->prog_count; i++)
		kb->progs[i].pinned = false;
	if (!kb->tc_record && rmdir(base) == 0)
		pin_remove_parents(kb->pin_root, base);
}

/* Pins are made in a folder "<serial>+new" and renamed when they are complete: one that exists is whole. */
int kernel_pin(struct kernel_bundle *kb, struct err *e)
{
	char unfinished[PATH_MAX], base[PATH_MAX];
	const struct manifest *m = kb->manifest;

	if (pin_base(kb->pin_root, m->name, m->serial, true, unfinished, e) ||
	    pin_base(kb->pin_root, m->name, m->serial, false, base, e))
		return -1;
	if (pin_all(kb, unfinished, e)) {
		unpin(kb, unfinished);
		return err_wrap(e, "pins of %s", m->name);
	}
	if (rename(unfinished, base)) {
		err_errno(e, ERR_KERNEL_PIN, "rename to %s", base);
		unpin(kb, unfinished);
		return -1;
	}
	kb->pins = true;
	for (size_t i = 0; i < kb->prog_count; i++)
		if (kb->progs[i].pinned)
			prog_set_state(kb, i, KERNEL_ATTACHED);
	return 0;
}

/* ---- remove ---- */

static int remove_base(const char *pin_root, const char *name, uint64_t serial, bool unfinished, struct err *e)
{
	char base[PATH_MAX];
	int result = 0;

	if (pin_base(pin_root, name, serial, unfinished, base, e))
		return -1;
	if (remove_recorded_filters(pin_root, base, e))
		result = -1;
	if (pin_remove_tree(base, result ? NULL : e))
		result = -1;
	pin_remove_parents(pin_root, base);
	return result;
}

int kernel_remove_pins(const struct kernel_host *host, const char *name, uint64_t serial, struct err *e)
{
	int finished = remove_base(host->pin_root, name, serial, false, e);
	int unfinished = remove_base(host->pin_root, name, serial, true, finished ? NULL : e);

	return finished || unfinished ? -1 : 0;
}

/* Links leave bpffs while their descriptors are still held: then the last close detaches at once, where an unlink of the
 * last reference would leave it to a work queue. */
static int detach(struct kernel_bundle *kb, struct err *e)
{
	char links[PATH_MAX], base[PATH_MAX];
	int result = 0;

	if (pin_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, false, base, e))
		return -1;
	if (kb->pins && snprintf(links, sizeof(links), "%s/links", base) < PATH_MAX && pin_remove_tree(links, e))
		result = -1;
	for (size_t i = 0; i < kb->prog_count; i++) {
		kb->progs[i].pinned = false;
		detach_prog(kb, i);
	}
	return result;
}

void kernel_detach(struct kernel_bundle *kb)
{
	int tried_again = detach(kb, NULL);

	(void)tried_again;
	/* Programs run inside of RCU read sections: this waits for those that began before. Refused with nohz_full, where a run
	 * that is still on its way may come too late. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

int kernel_remove(struct kernel_bundle **out, struct err *e)
{
	struct kernel_bundle *kb = TAKE_PTR(*out);
	int result = 0;

	if (!kb)
		return 0;
	if (detach(kb, e))
		result = -1;
	/* Only what is its own: the same serial may run, pinned by another. */
	if (remove_base(kb->pin_root, kb->manifest->name, kb->manifest->serial, !kb->pins, result ? NULL : e))
		result = -1;
	kb->tc_record = false;
	kernel_bundle_free(&kb);
	return result;
}

/* ---- list ---- */

struct pinned_name {
	char name[2 * MANIFEST_NAME_MAX + 2];
	uint64_t serial;
};

struct pinned_list {
	struct pinned_name *item;
	size_t count;
};

static void pinned_list_free(struct pinned_list *l)
{
	free(l->item);
}

static int list_add(struct pinned_list *l, const char *name, const char *serial, struct err *e)
{
	char *end;
	unsigned long long n = strtoull(serial, &end, 10);

	if (serial[0] < '0' || serial[0] > '9' || (*end && strcmp(end, "+new") != 0) ||
	    strlen(name) >= sizeof(l->item->name))
		return 0;
	for (size_t i = 0; i < l->count; i++)
		if (l->item[i].serial == n && strcmp(l->item[i].name, name) == 0)
			return 0;
	struct pinned_name *grown = reallocarray(l->item, l->count + 1, sizeof(*grown));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "list of pins");
	l->item = grown;
	snprintf(grown[l->count].name, sizeof(grown[l->count].name), "%s", name);
	grown[l->count++].serial = n;
	return 0;
}

/* Folders of depth 0 are namespaces, of depth 1 names, of depth 2 serials. */
static int list_folder(struct pinned_list *l, const char *path, const char *name, int depth, struct err *e)
{
	DIR *dir = opendir(path);
	int result = 0;

	if (!dir)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_errno(e, ERR_KERNEL_PIN, "%s", path);
	for (struct dirent *at; result == 0 && (at = readdir(dir));) {
		char below[PATH_MAX], longer[512];
		if (at->d_name[0] == '.' || at->d_name[0] == '+')
			continue;
		if (depth == 2) {
			result = list_add(l, name, at->d_name, e);
			continue;
		}
		if (snprintf(below, sizeof(below), "%s/%s", path, at->d_name) >= PATH_MAX ||
		    snprintf(longer, sizeof(longer), "%s%s%s", name, depth ? "/" : "", at->d_name) >=
			(int)sizeof(longer))
			continue;
		decode(longer);
		result = list_folder(l, below, longer, depth + 1, e);
	}
	closedir(dir);
	return result;
}

int kernel_each_pinned(const struct kernel_host *host,
		       int (*each)(void *ctx, const char *name, uint64_t serial, struct err *e), void *ctx,
		       struct err *e)
{
	struct pinned_list list __attribute__((cleanup(pinned_list_free))) = {0};

	/* Listed first: each() may remove what it is told of. */
	if (list_folder(&list, host->pin_root, "", 0, e))
		return -1;
	for (size_t i = 0; i < list.count; i++)
		if (each(ctx, list.item[i].name, list.item[i].serial, e))
			return -1;
	return 0;
}
