/* <obs/usdt.h>: arguments of USDT probes, for SEC("usdt/file:provider:name"): bpf_usdt_arg(ctx, number, &value),
 * bpf_usdt_arg_cnt(ctx). The maps that the loader needs to attach such programs are declared here too, so a source with
 * a USDT program includes this header. Linux 5.15 or later.
 *
 * libbpf's header asks the kernel's configuration whether attach cookies exist, which a shipped object must not; they are
 * taken for granted here, and older kernels refuse the program with that reason. */
#ifndef OBS_USDT_H
#define OBS_USDT_H

#include <obs/obs.h>

#ifndef __VMLINUX_H__
#define __VMLINUX_H__ /* registers have the kernel's names, as in <obs/types.h> */
#endif
#undef __kconfig
#define __kconfig __weak
const _Bool LINUX_HAS_BPF_COOKIE __weak = 1;

#include <bpf/usdt.bpf.h>

#undef __kconfig
#define __kconfig __attribute__((section(".kconfig")))

#endif
