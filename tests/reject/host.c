/* What only a host can judge: it remembers serials, and has a kernel. The good bundle runs there with serial 6. */
#include <stdlib.h>
#include <string.h>

#include "tests/reject/reject.h"

static const struct {
	const char *name;
	enum err_code code;
	const char *source;
} programs[] = {
    {"unchecked_pointer", ERR_KERNEL_VERIFIER,
     "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0;\n"
     "__u64 *v = bpf_map_lookup_elem(&counts, &k); return *v; }\n"},
    {"no_end", ERR_KERNEL_VERIFIER,
     "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0;\n"
     "while (bpf_map_lookup_elem(&counts, &k) || 1) k++; return 0; }\n"},
    {"map_of_no_entries", ERR_KERNEL_LOAD,
     "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 0); __type(key, __u32); __type(value, __u32); }\n"
     "none SEC(\".maps\");\n"
     "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0; return bpf_map_lookup_elem(&none, &k) != 0; }\n"},
    {"no_such_interface", ERR_KERNEL_ATTACH,
     "OBS_ATTACH(\"interface=obsnone0\") SEC(\"xdp\") int on(void *ctx) { return 2; }\n"},
    {"no_such_function", ERR_KERNEL_REQUIREMENT,
     "SEC(\"fentry/obs_no_such_function\") int on(void *ctx) { return 0; }\n"},
};

#ifdef __x86_64__
static const char foreign[] = "aarch64";
#else
static const char foreign[] = "x86_64";
#endif

static void serial_below(struct manifest *m)
{
	m->serial = 5;
}

static void same_serial(struct manifest *m)
{
	m->serial = 6;
	m->description[0] = 'A';
}

static void kernel_999(struct manifest *m)
{
	m->kernel_major = 999;
}

void reject_host(struct reject *r)
{
	refuse(r, ERR_SERIAL_DOWNGRADE, "lower", (struct parts){.change = serial_below});
	refuse(r, ERR_SERIAL_REUSED, "other_bytes", (struct parts){.change = same_serial});
	refuse(r, ERR_KERNEL_REQUIREMENT, "linux_999", (struct parts){.change = kernel_999});
	for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
		struct elf elf = elf_compile(programs[i].source);
		refuse(r, programs[i].code, programs[i].name, (struct parts){.stated = &elf});
		free(elf.data);
	}
	refuse(r, ERR_OBJECT_ARCH, "other_architecture_only", (struct parts){.arch = foreign});
}
