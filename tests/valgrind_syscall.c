/* syscall(2) of programs that are built with VALGRIND=1, also for the libraries that they use. Valgrind 3.19 (Debian 12)
 * ends a process at the first BPF command of a kernel younger than 5.5, and answers ENOSYS to pidfd_open(2). Those are
 * made on the real processor instead, where valgrind does not see what the kernel wrote: it is told here.
 *
 * Everything else goes the way it always goes, and is checked. */
#include <errno.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/memcheck.h>

struct call {
	long number, arg[6];
};

static long raw(const struct call *c)
{
	register long r10 __asm__("r10") = c->arg[3];
	register long r8 __asm__("r8") = c->arg[4];
	register long r9 __asm__("r9") = c->arg[5];
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(c->number), "D"(c->arg[0]), "S"(c->arg[1]), "d"(c->arg[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* Valgrind's thread number comes first. */
static long unseen(unsigned long thread, const struct call *c)
{
	(void)thread;
	return raw(c);
}

static size_t per_element(uint32_t type, uint32_t value_size)
{
	bool per_cpu = type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
		       type == BPF_MAP_TYPE_LRU_PERCPU_HASH;

	return per_cpu ? (size_t)sysconf(_SC_NPROCESSORS_CONF) * ((value_size + 7) / 8 * 8) : value_size;
}

/* The only ones of these commands that write elsewhere than into their attributes. */
static void batch_was_written(const union bpf_attr *attr)
{
	struct bpf_map_info info;
	union bpf_attr ask;

	memset(&info, 0, sizeof(info));
	memset(&ask, 0, sizeof(ask));
	ask.info.bpf_fd = attr->batch.map_fd;
	ask.info.info = (uint64_t)(uintptr_t)&info;
	ask.info.info_len = sizeof(info);
	if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &ask, sizeof(ask)))
		return;
	(void)VALGRIND_MAKE_MEM_DEFINED(&info, sizeof(info));
	size_t count = attr->batch.count;
	(void)VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)attr->batch.keys, count * info.key_size);
	(void)VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)attr->batch.values,
					count * per_element(info.type, info.value_size));
	/* The kernel's mark where to go on: a key, or for hashes a number of four bytes. */
	(void)VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)attr->batch.out_batch,
					info.key_size > 4 ? info.key_size : 4);
}

/* Valgrind knows this command, but not that a program's description has lists of its own. */
static long info_seen(const struct call *c)
{
	const union bpf_attr *attr = (union bpf_attr *)c->arg[1];
	char path[32], target[64] = "";
	uint32_t room = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%u", attr->info.bpf_fd);
	if (readlink(path, target, sizeof(target) - 1) < 0 || strcmp(target, "anon_inode:bpf-prog") != 0)
		return raw(c);
	struct bpf_prog_info *info = (struct bpf_prog_info *)(uintptr_t)attr->info.info;
	if (attr->info.info_len >= sizeof(*info))
		room = info->nr_map_ids;
	long result = raw(c);
	if (!result && room)
		(void)VALGRIND_MAKE_MEM_DEFINED((void *)(uintptr_t)info->map_ids,
						sizeof(uint32_t) * (room < info->nr_map_ids ? room : info->nr_map_ids));
	return result;
}

static long bpf_unseen(const struct call *c)
{
	union bpf_attr *attr = (union bpf_attr *)c->arg[1];

	if (VALGRIND_CHECK_MEM_IS_DEFINED(attr, (size_t)c->arg[2]))
		return -EFAULT;
	long result = (long)VALGRIND_NON_SIMD_CALL1(unseen, c);
	(void)VALGRIND_MAKE_MEM_DEFINED(attr, (size_t)c->arg[2]);
	if (c->arg[0] == BPF_MAP_LOOKUP_BATCH || c->arg[0] == BPF_MAP_LOOKUP_AND_DELETE_BATCH)
		batch_was_written(attr);
	return result;
}

long syscall(long number, ...)
{
	struct call c = {.number = number};
	va_list ap;
	long result;

	va_start(ap, number);
	for (size_t i = 0; i < 6; i++)
		c.arg[i] = va_arg(ap, long);
	va_end(ap);
	/* A caller passes as many as the call takes: the others are whatever was in the registers. */
	(void)VALGRIND_MAKE_MEM_DEFINED(c.arg, sizeof(c.arg));
	if (number == SYS_bpf && (c.arg[0] == BPF_BTF_GET_NEXT_ID || c.arg[0] > BPF_BTF_GET_NEXT_ID))
		result = bpf_unseen(&c);
	else if (number == SYS_bpf && c.arg[0] == BPF_OBJ_GET_INFO_BY_FD)
		result = info_seen(&c);
	else if (number == SYS_pidfd_open)
		result = (long)VALGRIND_NON_SIMD_CALL1(unseen, &c);
	else
		result = raw(&c);
	if (result < 0 && result >= -4095) {
		errno = (int)-result;
		return -1;
	}
	return result;
}
