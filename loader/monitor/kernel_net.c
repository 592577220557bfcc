#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "loader/monitor/kernel_impl.h"

/* Our filters share one preference of clsact, so that they can be told from others'; the handle tells them apart. */
enum { TC_PRIORITY = 0x6f62, TC_HANDLE_FIRST = 1, TC_HANDLE_LAST = 1024, INTERFACES_MAX = 256 };

/* ---- interfaces ---- */

struct interfaces {
	int index[INTERFACES_MAX];
	size_t count;
};

static int add_interface(struct interfaces *list, int index, struct err *e)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->index[i] == index)
			return 0;
	if (list->count == INTERFACES_MAX)
		return err_set(e, ERR_KERNEL_ATTACH, "more than %d interfaces: name one", INTERFACES_MAX);
	list->index[list->count++] = index;
	return 0;
}

/* The one named, or all that are up, the loopback too. */
static int find_interfaces(const struct kernel_prog *p, struct interfaces *out, struct err *e)
{
	struct ifaddrs *all = NULL;
	int result = 0;

	out->count = 0;
	if (p->options.interface[0]) {
		unsigned index = if_nametoindex(p->options.interface);
		if (index == 0)
			return err_errno(e, ERR_KERNEL_ATTACH, "interface %s", p->options.interface);
		return add_interface(out, (int)index, e);
	}
	if (getifaddrs(&all))
		return err_errno(e, ERR_KERNEL_ATTACH, "list of interfaces");
	for (struct ifaddrs *at = all; at && result == 0; at = at->ifa_next)
		if (at->ifa_addr && at->ifa_addr->sa_family == AF_PACKET && (at->ifa_flags & IFF_UP))
			result = add_interface(out, ((struct sockaddr_ll *)at->ifa_addr)->sll_ifindex, e);
	freeifaddrs(all);
	if (result == 0 && out->count == 0)
		return err_set(e, ERR_KERNEL_ATTACH, "no interface is up");
	return result;
}

/* ---- cgroup ---- */

int net_attach_cgroup(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	OWN_FD int root = open(kb->cgroup_root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "cgroup2 at %s", kb->cgroup_root);
	const char *below = p->options.cgroup[0] ? p->options.cgroup : ".";
	OWN_FD int fd = openat(root, below, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "cgroup %s", below);
	return attachment_add_link(p, bpf_program__attach_cgroup(p->bpf, fd), e);
}

/* ---- socket filter ---- */

/* Bound last: not one packet passes before the filter stands. Nobody reads the socket, so its queue is made small. */
int net_attach_socket(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int small = 1, on = 1;
	OWN_FD int fd = -1;

	if (!kb->host.packet_socket)
		return err_set(e, ERR_KERNEL_ATTACH, "nobody here can open packet sockets");
	if (p->options.interface[0]) {
		address.sll_ifindex = (int)if_nametoindex(p->options.interface);
		if (address.sll_ifindex == 0)
			return err_errno(e, ERR_KERNEL_ATTACH, "interface %s", p->options.interface);
	}
	if (kb->host.packet_socket(kb->host.packet_ctx, &fd, e))
		return err_wrap(e, "packet socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &p->fd, sizeof(p->fd)) ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)))
		return err_errno(e, ERR_KERNEL_ATTACH, "socket filter");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return err_errno(e, ERR_KERNEL_ATTACH, "bind of a packet socket");
	return attachment_add_fd(p, &fd, e);
}

/* ---- xdp ---- */

/* The kernel takes the generic mode by itself where a driver has no native one; a driver may still refuse it for this
 * program or MTU. */
int net_attach_xdp(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct interfaces list;

	(void)kb;
	if (find_interfaces(p, &list, e))
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		LIBBPF_OPTS(bpf_link_create_opts, native);
		LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
		OWN_FD int fd = bpf_link_create(p->fd, list.index[i], BPF_XDP, &native);
		if (fd < 0 && errno != EBUSY)
			fd = bpf_link_create(p->fd, list.index[i], BPF_XDP, &generic);
		if (fd < 0) {
			char name[IF_NAMESIZE] = "?";
			int errnum = errno;
			if_indextoname((unsigned)list.index[i], name);
			errno = errnum;
			return err_errno(e, ERR_KERNEL_ATTACH, "xdp on interface %s%s", name,
					 errnum == EBUSY ? ", which has another XDP program" : "");
		}
		if (attachment_add_fd(p, &fd, e))
			return -1;
	}
	return 0;
}

/* ---- tc ---- */

enum { BOTH_SIDES = BPF_TC_INGRESS | BPF_TC_EGRESS };

/* By memset: libbpf refuses a struct whose padding is not zero. */
static void hook_init(struct bpf_tc_hook *hook, int ifindex, int side)
{
	memset(hook, 0, sizeof(*hook));
	hook->sz = sizeof(*hook);
	hook->ifindex = ifindex;
	hook->attach_point = (enum bpf_tc_attach_point)side;
}

static void hook_of(struct bpf_tc_hook *hook, const struct tc_filter *tc)
{
	hook_init(hook, tc->ifindex, tc->egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
}

static int make_qdisc(const struct kernel_bundle *kb, int ifindex, struct err *e)
{
	struct bpf_tc_hook hook;

	hook_init(&hook, ifindex, BOTH_SIDES);
	int error = bpf_tc_hook_create(&hook);
	if (error && error != -EEXIST) {
		errno = -error;
		return err_errno(e, ERR_KERNEL_ATTACH, "needs the clsact qdisc (kernel module sch_ingress)");
	}
	return error ? 0 : pin_note_qdisc(kb->pin_root, ifindex, e);
}

/* The record comes before the filter: after a crash between the two, the filter can still be found. */
static int attach_filter(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e)
{
	struct tc_filter tc = {.ifindex = ifindex, .egress = p->options.egress};
	struct bpf_tc_hook hook;
	int error = -EEXIST;

	hook_of(&hook, &tc);
	for (tc.handle = TC_HANDLE_FIRST; tc.handle <= TC_HANDLE_LAST && error == -EEXIST; tc.handle++) {
		LIBBPF_OPTS(bpf_tc_opts, look, .handle = tc.handle, .priority = TC_PRIORITY);
		if (bpf_tc_query(&hook, &look) == 0)
			continue;
		if (pin_tc_record(kb, p, &tc, e))
			return -1;
		LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = p->fd, .handle = tc.handle, .priority = TC_PRIORITY);
		error = bpf_tc_attach(&hook, &opts);
		if (error == 0)
			return attachment_add(p, &(struct attachment){.kind = ATTACHMENT_TC, .fd = -1, .tc = tc}, e);
	}
	errno = -error;
	return err_errno(e, ERR_KERNEL_ATTACH, "tc filter (kernel module cls_bpf)");
}

int net_attach_tc(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct interfaces list;

	if (find_interfaces(p, &list, e))
		return -1;
	for (size_t i = 0; i < list.count; i++) {
		char name[IF_NAMESIZE] = "?";
		if_indextoname((unsigned)list.index[i], name);
		if (make_qdisc(kb, list.index[i], e) || attach_filter(kb, p, list.index[i], e))
			return err_wrap(e, "interface %s", name);
	}
	return 0;
}

bool net_tc_is_attached(const struct tc_filter *tc, uint32_t program_id)
{
	struct bpf_tc_hook hook;
	LIBBPF_OPTS(bpf_tc_opts, look, .handle = tc->handle, .priority = TC_PRIORITY);
	libbpf_print_fn_t before = libbpf_set_print(NULL);

	hook_of(&hook, tc);
	int error = bpf_tc_query(&hook, &look);
	libbpf_set_print(before);
	return error == 0 && look.prog_id == program_id;
}

/* How many filters hang on one side of the interface's clsact, of anybody; -1: cannot be told. */
static int count_filters(int ifindex, uint32_t minor)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
	    .header = {.nlmsg_len = sizeof(request),
		       .nlmsg_type = RTM_GETTFILTER,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		       .nlmsg_seq = 1},
	    .tc = {.tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = TC_H_MAKE(TC_H_CLSACT, minor)},
	};
	OWN_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	union {
		struct nlmsghdr align;
		char bytes[32768];
	} reply;
	int count = 0;

	if (fd < 0 || send(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
		return -1;
	for (;;) {
		ssize_t got = recv(fd, &reply, sizeof(reply), 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		size_t left = (size_t)got;
		for (struct nlmsghdr *h = &reply.align; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return count;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -1;
			count += h->nlmsg_type == RTM_NEWTFILTER;
		}
	}
}

static void drop_qdisc(const char *pin_root, int ifindex)
{
	struct bpf_tc_hook hook;

	if (!pin_noted_qdisc(pin_root, ifindex))
		return;
	if (count_filters(ifindex, TC_H_MIN_INGRESS) != 0 || count_filters(ifindex, TC_H_MIN_EGRESS) != 0)
		return;
	hook_init(&hook, ifindex, BOTH_SIDES);
	bpf_tc_hook_destroy(&hook);
	pin_forget_qdisc(pin_root, ifindex);
}

int net_detach_tc(const char *pin_root, const struct tc_filter *tc, uint32_t program_id, struct err *e)
{
	struct bpf_tc_hook hook;
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = tc->handle, .priority = TC_PRIORITY);
	int error = 0;

	hook_of(&hook, tc);
	if (net_tc_is_attached(tc, program_id))
		error = bpf_tc_detach(&hook, &opts);
	if (error) {
		errno = -error;
		return err_errno(e, ERR_KERNEL_ATTACH, "removing a tc filter from interface %d", tc->ifindex);
	}
	drop_qdisc(pin_root, tc->ifindex);
	return 0;
}
