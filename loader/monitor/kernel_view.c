#include <string.h>

#include "loader/monitor/kernel_impl.h"

/* What the kernel says it holds, compared with what was signed. */

enum { MAP_IDS_MAX = MANIFEST_MAX_MAPS };

int view_program(int fd, struct bpf_prog_info *out, uint32_t *map_ids, uint32_t *map_id_count, struct err *e)
{
	uint32_t size = sizeof(*out);

	memset(out, 0, sizeof(*out));
	if (map_ids) {
		out->map_ids = (uint64_t)(uintptr_t)map_ids;
		out->nr_map_ids = *map_id_count;
	}
	if (bpf_obj_get_info_by_fd(fd, out, &size))
		return err_errno(e, ERR_KERNEL_VIEW, "the kernel's account of a program");
	if (map_ids) {
		if (out->nr_map_ids > *map_id_count)
			return err_set(e, ERR_KERNEL_VIEW, "program %.16s uses %u maps", out->name, out->nr_map_ids);
		*map_id_count = out->nr_map_ids;
	}
	return 0;
}

int view_map(int fd, struct bpf_map_info *out, struct err *e)
{
	uint32_t size = sizeof(*out);

	memset(out, 0, sizeof(*out));
	if (bpf_obj_get_info_by_fd(fd, out, &size))
		return err_errno(e, ERR_KERNEL_VIEW, "the kernel's account of a map");
	return 0;
}

/* The kernel keeps 15 characters. */
static bool same_name(const char *kernel, const char *stated)
{
	return strncmp(kernel, stated, BPF_OBJ_NAME_LEN - 1) == 0;
}

static bool object_has_map_id(const struct kernel_object *o, uint32_t id)
{
	for (size_t i = 0; i < o->object->map_count; i++) {
		struct bpf_map_info info;
		if (o->maps[i].fd >= 0 && view_map(o->maps[i].fd, &info, NULL) == 0 && info.id == id)
			return true;
	}
	return false;
}

int view_check_program(const struct kernel_bundle *kb, size_t i, int fd, struct err *e)
{
	const struct kernel_prog *p = &kb->progs[i];
	uint32_t ids[MAP_IDS_MAX], count = MAP_IDS_MAX;
	struct bpf_prog_info info;
	char label[256];

	prog_label(kb, i, label, sizeof(label));
	if (view_program(fd, &info, ids, &count, e))
		return err_wrap(e, "%s", label);
	const char *type = libbpf_bpf_prog_type_str(info.type);
	if (!type || strcmp(type, p->program->type) != 0)
		return err_set(e, ERR_KERNEL_VIEW, "%s: type %s in the kernel, %s in the manifest", label,
			       type ? type : "unknown", p->program->type);
	if (!same_name(info.name, p->program->name))
		return err_set(e, ERR_KERNEL_VIEW, "%s: named %.16s in the kernel", label, info.name);
	for (uint32_t m = 0; m < count; m++)
		if (!object_has_map_id(&kb->objects[p->object], ids[m]))
			return err_set(e, ERR_KERNEL_VIEW, "%s: uses map %u, which is not of its object", label,
				       ids[m]);
	return 0;
}

/* libbpf rounds rings up to a power of two of pages and gives perf event arrays one slot a CPU; the kernel rounds maps
 * with a list for each CPU up to a multiple of the CPUs. */
static bool same_entries(const struct manifest_map *m, const struct bpf_map_info *info)
{
	uint32_t more = info->max_entries - m->max_entries; /* wraps below, to more than any CPUs */
	int cpus = libbpf_num_possible_cpus();

	if (more == 0)
		return true;
	if (info->type == BPF_MAP_TYPE_PERF_EVENT_ARRAY)
		return m->max_entries == 0;
	if (info->map_flags & BPF_F_NO_COMMON_LRU)
		return cpus > 0 && more < (uint32_t)cpus;
	if (info->type == BPF_MAP_TYPE_RINGBUF)
		return info->max_entries > m->max_entries &&
		       (info->max_entries / 2 < m->max_entries || info->max_entries == (uint32_t)sysconf(_SC_PAGESIZE));
	return false;
}

int view_check_map(const struct kernel_map *m, int fd, struct err *e)
{
	struct bpf_map_info info;

	if (view_map(fd, &info, e))
		return err_wrap(e, "map %s", m->map->name);
	const char *type = libbpf_bpf_map_type_str(info.type);
	if (!type || strcmp(type, m->map->type) != 0)
		return err_set(e, ERR_KERNEL_VIEW, "map %s: type %s in the kernel, %s in the manifest", m->map->name,
			       type ? type : "unknown", m->map->type);
	if (info.key_size != m->map->key_size || info.value_size != m->map->value_size || !same_entries(m->map, &info))
		return err_set(e, ERR_KERNEL_VIEW,
			       "map %s: key %u, value %u, entries %u in the kernel; %u, %u, %u in the manifest",
			       m->map->name, info.key_size, info.value_size, info.max_entries, m->map->key_size,
			       m->map->value_size, m->map->max_entries);
	if (!same_name(info.name, m->map->name))
		return err_set(e, ERR_KERNEL_VIEW, "map %s: named %.16s in the kernel", m->map->name, info.name);
	return 0;
}
