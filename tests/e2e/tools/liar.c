/* Loaded before libc: a hash map of eight entries becomes one of nine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/bpf.h>
#include <stdarg.h>
#include <sys/syscall.h>

long syscall(long number, ...)
{
	long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"), a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (number == SYS_bpf && a[0] == BPF_MAP_CREATE) {
		union bpf_attr *attr = (union bpf_attr *)a[1];
		if (attr->map_type == BPF_MAP_TYPE_HASH && attr->max_entries == 8)
			attr->max_entries = 9;
	}
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
