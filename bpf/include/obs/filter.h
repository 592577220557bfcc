/* What every stock bundle can be limited by. The parameters are variables of each object that includes this; those
 * of the same name are one parameter of the bundle. Every check is a few loads when nothing is set; ask before doing
 * work. */
#ifndef OBS_FILTER_H
#define OBS_FILTER_H

#include <obs/socket.h>

OBS_PARAM_LIST(__u32, pid_include, 16, 1, 4194304, "pid", "only these processes");
OBS_PARAM_LIST(__u32, pid_exclude, 16, 1, 4194304, "pid", "not these processes");
OBS_PARAM_TEXT(comm, 16, "only processes of this name");
OBS_PARAM_LIST(__u64, cgroup_include, 8, 1, 18446744073709551615, "cgroup", "only processes directly in these cgroups (id)");
OBS_PARAM_LIST(__u64, cgroup_exclude, 8, 1, 18446744073709551615, "cgroup", "not processes directly in these cgroups (id)");
OBS_PARAM_LIST(__u16, port_include, 16, 1, 65535, "port", "only with one of these ports at either end");
OBS_PARAM_LIST(__u16, port_exclude, 16, 1, 65535, "port", "not with one of these ports at either end");
OBS_PARAM_CIDRS(cidr_include, 8, "only with an end in one of these networks");
OBS_PARAM_CIDRS(cidr_exclude, 8, "not with an end in one of these networks");
OBS_PARAM(__u32, sample_every, 1, 1, 1000000, "follow one of so many sockets; the others are counted as lost to sampling");

enum { OBS_FILTER_PIDS = 16, OBS_FILTER_CGROUPS = 8, OBS_FILTER_PORTS = 16, OBS_FILTER_CIDRS = 8 };

/* Lists are packed: the first zero ends them. */
#define obs_listed_(list, capacity, test)                                                                              \
	({                                                                                                             \
		bool found_ = false;                                                                                   \
		for (int i_ = 0; i_ < (capacity); i_++) {                                                              \
			typeof(list[0]) it_ = list[i_];                                                                \
			if (!it_)                                                                                      \
				break;                                                                                 \
			if (test) {                                                                                    \
				found_ = true;                                                                         \
				break;                                                                                 \
			}                                                                                              \
		}                                                                                                      \
		found_;                                                                                                \
	})

static __noinline bool obs_comm_wanted_(const struct obs_process *p)
{
	for (int i = 0; i < 16; i++) {
		char c = comm[i];

		if (c != p->comm[i])
			return false;
		if (!c)
			break;
	}
	return true;
}

static __noinline bool obs_process_listed_(const struct obs_process *p)
{
	if (pid_include[0] && !obs_listed_(pid_include, OBS_FILTER_PIDS, it_ == p->pid))
		return false;
	if (obs_listed_(pid_exclude, OBS_FILTER_PIDS, it_ == p->pid))
		return false;
	if (cgroup_include[0] && !obs_listed_(cgroup_include, OBS_FILTER_CGROUPS, it_ == p->cgroup))
		return false;
	if (obs_listed_(cgroup_exclude, OBS_FILTER_CGROUPS, it_ == p->cgroup))
		return false;
	return !comm[0] || obs_comm_wanted_(p);
}

/* Whether it matters which process it is. */
static __always_inline bool obs_process_filtered(void)
{
	return pid_include[0] || pid_exclude[0] || cgroup_include[0] || cgroup_exclude[0] || comm[0];
}

/* A process that is not known (pid 0) is in no list. */
static __always_inline bool obs_process_wanted(const struct obs_process *p)
{
	return !obs_process_filtered() || obs_process_listed_(p);
}

static __always_inline bool obs_cidr_has_(const volatile struct obs_cidr *net, const __u8 *address)
{
	const volatile __be32 *a = (const volatile __be32 *)net->address;
	const __be32 *b = (const __be32 *)address;
	int bits = net->prefix_len;

	/* ::/0 is all of IPv6, and none of IPv4. */
	if (bits < 96 && obs_address_mapped(address))
		return false;
	for (int i = 0; i < 4; i++, bits -= 32) {
		__u32 mask = bits >= 32 ? 0xffffffff : bits <= 0 ? 0 : 0xffffffffU << (32 - bits);

		if ((a[i] ^ b[i]) & bpf_htonl(mask))
			return false;
	}
	return true;
}

static __noinline bool obs_endpoint_listed_(const struct obs_endpoint *e)
{
	bool inside = !cidr_include[0].used;

	if (port_include[0] &&
	    !obs_listed_(port_include, OBS_FILTER_PORTS, it_ == e->local_port || it_ == e->peer_port))
		return false;
	if (obs_listed_(port_exclude, OBS_FILTER_PORTS, it_ == e->local_port || it_ == e->peer_port))
		return false;
	for (int i = 0; i < OBS_FILTER_CIDRS && cidr_exclude[i].used; i++)
		if (obs_cidr_has_(&cidr_exclude[i], e->peer_address) || obs_cidr_has_(&cidr_exclude[i], e->local_address))
			return false;
	for (int i = 0; i < OBS_FILTER_CIDRS && !inside && cidr_include[i].used; i++)
		inside = obs_cidr_has_(&cidr_include[i], e->peer_address) ||
			 obs_cidr_has_(&cidr_include[i], e->local_address);
	return inside;
}

static __always_inline bool obs_endpoint_wanted(const struct obs_endpoint *e)
{
	if (!port_include[0] && !port_exclude[0] && !cidr_include[0].used && !cidr_exclude[0].used)
		return true;
	return obs_endpoint_listed_(e);
}

/* By socket, so that all events of one are there or none; what is left out is counted. Cookies are given in order,
 * so two ends on one host would take turns: their hash does not (Knuth's multiplicative method). */
static __always_inline bool obs_sampled(__u64 cookie)
{
	__u32 every = sample_every;

	if (every <= 1 || (cookie * 0x9e3779b97f4a7c15ULL >> 32) % every == 0)
		return true;
	obs_count_lost(OBS_LOST_SAMPLING);
	return false;
}

#endif
