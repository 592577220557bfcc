/* ELF section names of programs, as attach words (obs-bundle(5)): "tp/sched/sched_switch" is kind "tp", target
 * "sched/sched_switch". */
#ifndef OBS_KEYS_ATTACH_H
#define OBS_KEYS_ATTACH_H

#include <stdbool.h>

/* Splits a section name. *kind is a constant; *target is borrowed from section, "" if it has none. The kinds for
 * observing are tp, raw_tp, tp_btf, kprobe, kretprobe, uprobe, uretprobe, usdt, fentry, fexit, perf_event, cgroup_skb,
 * sockops, socket, tc, xdp and iter; aliases ("tracepoint", "classifier", "uprobe.s") give the same word. Everything else
 * that libbpf knows keeps libbpf's name, so that a policy can refuse it. False: libbpf does not know it either. */
bool attach_split(const char *section, const char **kind, const char **target);

#endif
