#include "keys/attach.h"

#include <stddef.h>
#include <string.h>

#include "bundles/base/own.h"

/* After libbpf's section_defs. target: what follows the prefix and a '/' is the target; without it the name must be the
 * whole section, as libbpf demands. */
static const struct {
	const char *prefix, *kind;
	bool target;
} kinds[] = {
    {"tracepoint", "tp", true},
    {"tp", "tp", true},
    {"raw_tracepoint", "raw_tp", true},
    {"raw_tp", "raw_tp", true},
    {"raw_tracepoint.w", "raw_tp.w", true},
    {"raw_tp.w", "raw_tp.w", true},
    {"tp_btf", "tp_btf", true},
    {"kprobe", "kprobe", true},
    {"kretprobe", "kretprobe", true},
    {"kprobe.multi", "kprobe.multi", true},
    {"kretprobe.multi", "kretprobe.multi", true},
    {"ksyscall", "ksyscall", true},
    {"kretsyscall", "kretsyscall", true},
    {"uprobe", "uprobe", true},
    {"uprobe.s", "uprobe", true},
    {"uretprobe", "uretprobe", true},
    {"uretprobe.s", "uretprobe", true},
    {"usdt", "usdt", true},
    {"fentry", "fentry", true},
    {"fentry.s", "fentry", true},
    {"fexit", "fexit", true},
    {"fexit.s", "fexit", true},
    {"fmod_ret", "fmod_ret", true},
    {"fmod_ret.s", "fmod_ret", true},
    {"freplace", "freplace", true},
    {"lsm", "lsm", true},
    {"lsm.s", "lsm", true},
    {"lsm_cgroup", "lsm_cgroup", true},
    {"iter", "iter", true},
    {"iter.s", "iter", true},
    {"struct_ops", "struct_ops", true},
    {"struct_ops.s", "struct_ops", true},
    {"perf_event", "perf_event", false},
    {"socket", "socket", false},
    {"sockops", "sockops", false},
    {"tc", "tc", false},
    {"classifier", "tc", false},
    {"action", "action", false},
    {"xdp", "xdp", false},
    {"xdp.frags", "xdp", false},
    {"syscall", "syscall", false},
    {"lwt_in", "lwt_in", false},
    {"lwt_out", "lwt_out", false},
    {"lwt_xmit", "lwt_xmit", false},
    {"lwt_seg6local", "lwt_seg6local", false},
    {"sk_msg", "sk_msg", false},
    {"sk_lookup", "sk_lookup", false},
    {"lirc_mode2", "lirc_mode2", false},
    {"flow_dissector", "flow_dissector", false},
    /* Families whose section says the hook: all of it is one word, or kind and target. */
    {"xdp/devmap", "xdp_devmap", false},
    {"xdp.frags/devmap", "xdp_devmap", false},
    {"xdp/cpumap", "xdp_cpumap", false},
    {"xdp.frags/cpumap", "xdp_cpumap", false},
    {"cgroup_skb/ingress", "cgroup_skb", false},
    {"cgroup_skb/egress", "cgroup_skb", false},
    {"sk_reuseport", "sk_reuseport", true},
    {"sk_skb", "sk_skb", true},
    {"cgroup", "cgroup", true},
};

bool attach_split(const char *section, const char **kind, const char **target)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		size_t len = strlen(kinds[i].prefix);

		if (strncmp(section, kinds[i].prefix, len) != 0)
			continue;
		if (section[len] != '\0' && !(kinds[i].target && section[len] == '/'))
			continue;
		*kind = kinds[i].kind;
		if (strcmp(*kind, "cgroup_skb") == 0)
			*target = section + sizeof("cgroup_skb/") - 1;
		else
			*target = section[len] ? section + len + 1 : "";
		return true;
	}
	return false;
}
