/* For <bpf/usdt.bpf.h>, which includes <linux/errno.h>: clang does not find the architecture's own for -target bpf. */
#include <asm-generic/errno.h>
