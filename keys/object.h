/* Reading BPF objects: the one place that turns an ELF into what it contains, for the packager (which writes it into the
 * manifest) and for the gate (which derives it again and compares). Uses libelf, and libbpf without the kernel. */
/*
 * Capability words, which are the language of policies (obs-policy(5)):
 *
 *   helper:<name>         a helper, without "bpf_"; helper:#<id> for one that obs does not know
 *   kfunc:<name>          a kernel function;  ksym:<name>  the address or value of a kernel variable
 *   program:<type>        libbpf's name of the program type: tracing, raw_tracepoint, kprobe, sched_cls, ...
 *   attach:<kind>[/<target>]  kinds of keys/attach.h: attach:tp_btf/sched_process_exec, attach:xdp,
 *                         attach:cgroup_skb/egress, attach:uprobe//usr/lib/libssl.so.3:SSL_read
 *   map:<type>            libbpf's name of the map type: hash, ringbuf, percpu_array, prog_array, ...
 *   verdict:<kind>/<word> what an xdp, tc or cgroup_skb program may return. xdp: aborted drop pass tx redirect; tc: unspec
 *                         ok reclassify shot pipe stolen queued repeat redirect trap; cgroup_skb: deny allow
 *                         deny_congestion allow_congestion; of any kind: #<number>, or "any" if it cannot be told
 *   write:context         such a program, or a sockops program, stores into its context (mark, priority, reply, ...); or a
 *                         uprobe or USDT program does: registers of the process
 *   write:packet          it stores where only packet data may be
 */
#ifndef OBS_KEYS_OBJECT_H
#define OBS_KEYS_OBJECT_H

#include "bundles/manifest.h"

struct btf; /* libbpf's */

struct object_map {
	struct manifest_map map;
	bool data;                     /* .data/.rodata/.bss section map */
	const uint8_t *bytes;          /* its initial bytes (value_size), borrowed from the object, or NULL */
	uint32_t key_type, value_type; /* BTF type ids, 0: none */
	uint32_t def_type;             /* BTF id of the map's variable's DATASEC VAR, 0: none */
};

struct object {
	char *licence; /* of its license section; "" if none */
	bool kconfig;  /* has .kconfig externs */
	struct manifest_program *programs;
	size_t program_count;
	struct object_map *maps;
	size_t map_count;
	struct capabilities capabilities;
	struct btf *btf; /* NULL if it has none */
	void *impl;
};

/* Reads an object from memory, which is borrowed and must outlive the result. Programs in ELF order, with everything
 * that section names and declaration tags say (see <obs/obs.h>); capabilities from the instructions of every executable
 * section, relocations against .ksyms, program types, attach kinds with targets, and map types.
 * ERR_OBJECT_MALFORMED; ERR_BUILD_PROGRAM for a section that is no known attach kind. */
MUST_CHECK int object_read(const char *name, const uint8_t *elf, size_t size, struct object **out, struct err *e);
void object_free(struct object **object);

/* ERR_OBJECT_MISMATCH unless programs and maps are those of the manifest's object; ERR_CAPABILITY_MISMATCH unless the
 * capabilities are equal, naming the first difference. */
MUST_CHECK int object_compare(const struct object *object, const struct manifest_object *stated, struct err *e);

/* Declaration tags. Writes the value of the tag "obs:<key>=" on BTF type `type` (component -1: the type itself, else
 * member or parameter index) to *out, borrowed from btf; false if there is none. */
bool object_tag(const struct btf *btf, uint32_t type, int component, const char *key, const char **out);

MUST_CHECK int capabilities_add(struct capabilities *caps, const char *word, struct err *e); /* keeps sorted, unique */
void capabilities_clear(struct capabilities *caps);
/* NULL if equal, else the first word that only one has. */
const char *capabilities_difference(const struct capabilities *a, const struct capabilities *b);

#endif
