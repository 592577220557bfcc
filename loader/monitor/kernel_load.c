#include <fcntl.h>
#include <string.h>

#include "keys/libbpf_said.h"
#include "loader/monitor/kernel_impl.h"

/* ---- what libbpf says ----
 * libbpf loads a program without a log first; if that fails, again with the log. Left alone, it would double a buffer of
 * its own until all of the log fits, and have the program verified each time: of one that runs until the verifier gives
 * up, these are more than 100 MB and half a minute. Newer kernels keep the end of a log that does not fit, older ones its
 * beginning. Of it only what the verifier writes is ever touched. */

enum { LOG_BYTES = 8 << 20 };

/* The first line of libbpf that starts so. */
static const char *find_line(const char *text, const char *start)
{
	while (text && strncmp(text, start, strlen(start)) != 0) {
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return text;
}

/* 'name' between quotes after a prefix, into dst. */
static bool quoted_name(const char *text, const char *prefix, char *dst, size_t size)
{
	const char *at = find_line(text, prefix);

	if (!at)
		return false;
	at += strlen(prefix);
	const char *end = strchr(at, '\'');
	if (!end || (size_t)(end - at) >= size)
		return false;
	memcpy(dst, at, (size_t)(end - at));
	dst[end - at] = '\0';
	return true;
}

static bool is_statistics(const char *line, size_t len)
{
	static const char *const start[] = {
	    "processed ", "verification time", "stack depth", "peak_states", "mark_read", "-- END", "insns"};

	for (size_t i = 0; i < ARRAY_LEN(start); i++)
		if (len >= strlen(start[i]) && strncmp(line, start[i], strlen(start[i])) == 0)
			return true;
	return len == 0;
}

/* The last line of the log that is no statistics: there the verifier says what it refuses. Linux 7 puts a report for
 * people after it, of many lines. */
static bool log_cause(const char *log, char *dst, size_t size)
{
	const char *report = log ? strstr(log, "\nVerification failed: ") : NULL;
	const char *end = log && !report ? log + strlen(log) : report;

	while (end && end > log) {
		const char *line = end;
		while (line > log && line[-1] != '\n')
			line--;
		size_t len = (size_t)(end - line);
		while (len && (line[len - 1] == '\n' || line[len - 1] == ' ' || line[len - 1] == '\r'))
			len--;
		if (!is_statistics(line, len)) {
			snprintf(dst, size, "%.*s", (int)(len < size ? len : size - 1), line);
			return true;
		}
		end = line > log ? line - 1 : log;
	}
	return false;
}

/* ---- one load of one object ---- */

struct refusal {
	size_t prog; /* index in kb->progs, prog_count: not a program */
	size_t map;  /* index in the object's maps, map_count: not a map */
	int errnum;
	char cause[160];
	char *log;
};

static void refusal_free(struct refusal *r)
{
	free(r->log);
}

void object_close_libbpf(struct kernel_bundle *kb, struct kernel_object *o)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		if (&kb->objects[kb->progs[i].object] == o)
			kb->progs[i].bpf = NULL;
	for (size_t i = 0; i < o->libbpf_count; i++)
		bpf_object__close(o->libbpf[i]);
	free(o->libbpf);
	o->libbpf = NULL;
	o->libbpf_count = 0;
}

static bool wants(const struct kernel_bundle *kb, size_t i, const struct kernel_object *o)
{
	return &kb->objects[kb->progs[i].object] == o && kb->progs[i].chosen && kb->progs[i].fd < 0;
}

static bool is_uprobe(const struct kernel_prog *p)
{
	return strcmp(p->program->attach, "uprobe") == 0 || strcmp(p->program->attach, "uretprobe") == 0 ||
	       strcmp(p->program->attach, "usdt") == 0;
}

static void set_up_program(const struct kernel_bundle *kb, const struct kernel_prog *p, struct bpf_program *program)
{
	bpf_program__set_autoload(program, true);
	if (kb->uprobe_multi && is_uprobe(p))
		bpf_program__set_expected_attach_type(program, (enum bpf_attach_type)UPROBE_MULTI);
}

static int open_object(struct kernel_bundle *kb, struct kernel_object *o, char *log, struct bpf_object **out,
		       struct err *e)
{
	/* A custom BTF path, even the usual one, keeps libbpf 1.1 from looking at modules' BTF, which needs
	 * CAP_SYS_ADMIN and would fail the load. */
	const char *vmlinux = "/sys/kernel/btf/vmlinux";
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = o->object->name,
		    .btf_custom_path = access(vmlinux, R_OK) == 0 ? vmlinux : NULL);
	struct bpf_object *obj = bpf_object__open_mem(o->file->data, o->file->size, &opts);
	struct bpf_program *program;

	if (!obj)
		return err_errno(e, ERR_KERNEL_LOAD, "object %s", o->object->name);
	*out = obj;
	bpf_object__for_each_program(program, obj)
	{
		bpf_program__set_autoload(program, false);
		if (bpf_program__set_log_buf(program, log, LOG_BYTES))
			return err_errno(e, ERR_KERNEL_LOAD, "object %s", o->object->name);
		for (size_t i = 0; i < kb->prog_count; i++)
			if (wants(kb, i, o) && strcmp(kb->progs[i].program->name, bpf_program__name(program)) == 0)
				set_up_program(kb, &kb->progs[i], program);
	}
	return 0;
}

/* Maps are matched before reuse, which gives them the kernel's shortened names. */
static int prepare_maps(struct kernel_object *o, struct bpf_object *obj, struct bpf_map **maps, struct err *e)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
	{
		const char *name = bpf_map__name(map);
		size_t m = 0;
		while (m < o->object->map_count && strcmp(o->maps[m].map->name, name) != 0)
			m++;
		if (m == o->object->map_count)
			return err_set(e, ERR_OBJECT_MISMATCH, "map %s is not in the manifest", name);
		maps[m] = map;
		/* An object must not reach maps that others have pinned. */
		if (bpf_map__set_pin_path(map, NULL))
			return err_errno(e, ERR_KERNEL_LOAD, "map %s", name);
		if (o->maps[m].absent && bpf_map__set_autocreate(map, false))
			return err_errno(e, ERR_KERNEL_LOAD, "map %s", name);
	}
	for (size_t m = 0; m < o->object->map_count; m++)
		if (maps[m] && o->maps[m].fd >= 0 && bpf_map__reuse_fd(maps[m], o->maps[m].fd))
			return err_errno(e, ERR_KERNEL_LOAD, "map %s", o->maps[m].map->name);
	return 0;
}

static int dup_fd(int fd, int *out, struct err *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return err_errno(e, ERR_KERNEL_LOAD, "descriptor");
	*out = copy;
	return 0;
}

static int take_maps(struct kernel_object *o, struct bpf_map *const *maps, struct err *e)
{
	for (size_t m = 0; m < o->object->map_count; m++)
		if (maps[m] && o->maps[m].fd < 0 && bpf_map__fd(maps[m]) >= 0 &&
		    dup_fd(bpf_map__fd(maps[m]), &o->maps[m].fd, e))
			return -1;
	return 0;
}

static int take_programs(struct kernel_bundle *kb, struct kernel_object *o, struct bpf_object *obj, struct err *e)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		struct bpf_prog_info info;
		if (!wants(kb, i, o))
			continue;
		p->bpf = bpf_object__find_program_by_name(obj, p->program->name);
		if (!p->bpf || bpf_program__fd(p->bpf) < 0)
			return err_set(e, ERR_KERNEL_LOAD, "program %s was not loaded", p->program->name);
		if (dup_fd(bpf_program__fd(p->bpf), &p->fd, e) || view_program(p->fd, &info, NULL, NULL, e))
			return -1;
		kb->views[i].id = info.id;
		prog_set_state(kb, i, KERNEL_LOADED);
	}
	return 0;
}

static int keep_libbpf_object(struct kernel_object *o, struct bpf_object *obj, struct err *e)
{
	struct bpf_object **grown = reallocarray(o->libbpf, o->libbpf_count + 1, sizeof(struct bpf_object *));

	if (!grown)
		return err_errno(e, ERR_NOMEM, "object %s", o->object->name);
	o->libbpf = grown;
	o->libbpf[o->libbpf_count++] = obj;
	return 0;
}

static void read_refusal(const struct kernel_bundle *kb, const struct kernel_object *o, const char *text,
			 const char *log, int errnum, struct refusal *r)
{
	char name[MANIFEST_IDENT_MAX + 1];

	r->errnum = errnum;
	r->prog = kb->prog_count;
	r->map = o->object->map_count;
	if (quoted_name(text, "libbpf: prog '", name, sizeof(name))) {
		for (size_t i = 0; i < kb->prog_count; i++)
			if (wants(kb, i, o) && strcmp(kb->progs[i].program->name, name) == 0)
				r->prog = i;
		r->log = log[0] ? strdup(log) : NULL;
	}
	/* The log did not fit: that is no news, and why the program was refused stands in it. */
	if (r->log && errnum == ENOSPC)
		r->errnum = E2BIG;
	if (r->prog == kb->prog_count && (quoted_name(text, "libbpf: map '", name, sizeof(name)) ||
					  quoted_name(text, "libbpf: Error in bpf_create_map_xattr(", name, 1)))
		for (size_t m = 0; m < o->object->map_count; m++)
			if (strcmp(o->maps[m].map->name, name) == 0)
				r->map = m;
	if (!log_cause(r->log, r->cause, sizeof(r->cause)))
		snprintf(r->cause, sizeof(r->cause), "%s", strerror(errnum));
	if (!r->log && text[0])
		r->log = strdup(text);
}

enum load_result { LOAD_DONE, LOAD_REFUSED, LOAD_FAILED };

static enum load_result load_object(struct kernel_bundle *kb, struct kernel_object *o, struct refusal *r, struct err *e)
{
	OWN_FREE struct bpf_map **maps = calloc(o->object->map_count + 1, sizeof(struct bpf_map *));
	struct bpf_object *obj = NULL;
	OWN_LIBBPF_SAID struct libbpf_said said = {0};
	OWN_FREE char *log = malloc(LOG_BYTES);
	enum load_result result = LOAD_FAILED;

	if (!maps || !log) {
		err_errno(e, ERR_NOMEM, "object %s", o->object->name);
		return LOAD_FAILED;
	}
	log[0] = '\0';
	libbpf_listen(&said);
	if (open_object(kb, o, log, &obj, e) || prepare_maps(o, obj, maps, e))
		goto out;
	int error = bpf_object__load(obj);
	if (error) {
		read_refusal(kb, o, said.text ? said.text : "", log, -error, r);
		result = LOAD_REFUSED;
		goto out;
	}
	if (take_maps(o, maps, e) || take_programs(kb, o, obj, e) || keep_libbpf_object(o, obj, e))
		goto out;
	obj = NULL;
	result = LOAD_DONE;
out:
	libbpf_listen_end();
	if (result == LOAD_FAILED)
		err_log(e, said.text);
	bpf_object__close(obj);
	return result;
}

/* ---- what a refusal means ---- */

/* A map that this kernel does not have may belong to alternatives only: go on without it; programs that need it are then
 * refused one by one, and say so. */
static bool drop_map(struct kernel_object *o, const struct refusal *r)
{
	if (r->map == o->object->map_count || o->maps[r->map].absent)
		return false;
	struct kernel_map *m = &o->maps[r->map];
	m->absent = true;
	snprintf(m->failure, sizeof(m->failure), "map %s (%s, %u entries): %s", m->map->name, m->map->type,
		 m->map->max_entries, strerror(r->errnum));
	return true;
}

static const struct kernel_map *missing_map(const struct kernel_object *o, const struct refusal *r)
{
	for (size_t m = 0; m < o->object->map_count; m++) {
		char quoted[MANIFEST_IDENT_MAX + 8];
		snprintf(quoted, sizeof(quoted), "'%s'", o->maps[m].map->name);
		if (o->maps[m].absent && r->log && strstr(r->log, quoted) && strstr(r->log, "wasn't created"))
			return &o->maps[m];
	}
	return NULL;
}

/* Without a log the kernel did not come as far as verifying: it has no such programs, or does not let us. */
static bool has_log(const struct refusal *r)
{
	return r->log && strncmp(r->log, "libbpf: ", strlen("libbpf: ")) != 0 && r->log[0];
}

static void refusal_reason(const struct kernel_bundle *kb, const struct refusal *r, char *dst, size_t size)
{
	const struct kernel_prog *p = &kb->progs[r->prog];
	const struct kernel_map *map = missing_map(&kb->objects[p->object], r);
	char since[48];

	probe_since(p->program, "; needs ", since, sizeof(since));
	if (map)
		snprintf(dst, size, "needs %s%s", map->failure, since);
	else if (has_log(r))
		snprintf(dst, size, "refused by the verifier: %s%s", r->cause, since);
	else
		snprintf(dst, size, "needs %s programs, which this kernel refuses: %s%s", p->program->attach,
			 strerror(r->errnum), since);
}

static int refused(struct kernel_bundle *kb, struct kernel_object *o, const struct refusal *r, struct err *e)
{
	char label[300];

	if (r->prog == kb->prog_count) {
		errno = r->errnum;
		err_errno(e, ERR_KERNEL_LOAD, "object %s", o->object->name);
		err_log(e, r->log);
		return -1;
	}
	const struct kernel_map *map = missing_map(o, r);
	prog_label(kb, r->prog, label, sizeof(label));
	if (map)
		err_set(e, ERR_KERNEL_LOAD, "%s: %s", label, map->failure);
	else if (has_log(r))
		err_set(e, ERR_KERNEL_VERIFIER, "%s: %s", label, r->cause);
	else
		err_set(e, ERR_KERNEL_LOAD, "%s: this kernel refuses it: %s", label, strerror(r->errnum));
	if (e)
		e->errnum = r->errnum;
	err_log(e, r->log);
	return -1;
}

static struct kernel_object *next_to_load(struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		if (kb->progs[i].chosen && kb->progs[i].fd < 0)
			return &kb->objects[kb->progs[i].object];
	return NULL;
}

static void drop_unchosen(struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (p->chosen || p->fd < 0 || p->attached)
			continue;
		close(p->fd);
		p->fd = -1;
		p->bpf = NULL;
		kb->views[i].id = 0;
	}
}

static int handle_refusal(struct kernel_bundle *kb, struct kernel_object *o, const struct refusal *r, struct err *e)
{
	char reason[sizeof(kb->views[0].reason)];

	if (drop_map(o, r))
		return 0;
	if (r->errnum == ENOMEM || r->prog == kb->prog_count || !choose_can_do_without(kb, r->prog))
		return refused(kb, o, r, e);
	refusal_reason(kb, r, reason, sizeof(reason));
	prog_unavailable(kb, r->prog, reason);
	if (choose_programs(kb, e))
		return -1;
	drop_unchosen(kb);
	return 0;
}

/* Objects of which another one's alternatives took the place. */
static void release_unused_objects(struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->object_count; i++) {
		struct kernel_object *o = &kb->objects[i];
		bool used = false;
		for (size_t p = 0; p < kb->prog_count; p++)
			used |= kb->progs[p].object == i && kb->progs[p].fd >= 0;
		if (used)
			continue;
		object_close_libbpf(kb, o);
		for (size_t m = 0; m < o->object->map_count; m++) {
			if (o->maps[m].fd >= 0)
				close(o->maps[m].fd);
			o->maps[m].fd = -1;
		}
	}
}

int load_chosen(struct kernel_bundle *kb, struct err *e)
{
	struct kernel_object *o;
	size_t step = 0;

	drop_unchosen(kb);
	while ((o = next_to_load(kb))) {
		struct refusal r __attribute__((cleanup(refusal_free))) = {0};
		kernel_progress(kb, "loading", step++, kb->object_count);
		enum load_result result = load_object(kb, o, &r, e);
		if (result == LOAD_FAILED)
			return err_wrap(e, "object %s", o->object->name);
		if (result == LOAD_REFUSED && handle_refusal(kb, o, &r, e))
			return -1;
	}
	release_unused_objects(kb);
	return 0;
}

int load_check_view(struct kernel_bundle *kb, struct err *e)
{
	for (size_t i = 0; i < kb->object_count; i++)
		for (size_t m = 0; m < kb->objects[i].object->map_count; m++) {
			const struct kernel_map *map = &kb->objects[i].maps[m];
			if (map->fd >= 0 && view_check_map(map, map->fd, e))
				return err_wrap(e, "object %s", kb->objects[i].object->name);
		}
	for (size_t i = 0; i < kb->prog_count; i++)
		if (kb->progs[i].fd >= 0 && view_check_program(kb, i, kb->progs[i].fd, e))
			return -1;
	return 0;
}
