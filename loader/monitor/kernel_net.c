#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "loader/monitor/kernel_impl.h"

/* Our filters share one preference of clsact, so that they can be told from others'; the handle tells them apart. */
enum { TC_PRIORITY = 0x6f62, TC_HANDLE_FIRST = 1, TC_HANDLE_LAST = 1024, INTERFACES_MAX = 4096 };

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
static int attach_socket(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e)
{
	const struct sockaddr_ll address = {
	    .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = ifindex};
	int small = 1, on = 1;
	OWN_FD int fd = -1;

	if (!kb->host.packet_socket)
		return err_set(e, ERR_KERNEL_ATTACH, "nobody here can open packet sockets");
	if (kb->host.packet_socket(kb->host.packet_ctx, &fd, e))
		return err_wrap(e, "packet socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) ||
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &p->fd, sizeof(p->fd)) ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)))
		return err_errno(e, ERR_KERNEL_ATTACH, "socket filter");
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return err_errno(e, ERR_KERNEL_ATTACH, "bind of a packet socket");
	return attachment_add_fd(p, &fd, ifindex, e);
}

/* The kernel takes a socket off an interface that vanishes, and gives it the index -1. */
static bool socket_stands(int fd, int ifindex)
{
	struct sockaddr_ll address = {0};
	socklen_t size = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &size) == 0 && address.sll_ifindex == ifindex;
}

/* ---- xdp ---- */

/* The kernel takes a link off an interface that vanishes, and gives it the index 0. */
static bool xdp_stands(int fd, int ifindex, uint32_t program_id)
{
	struct bpf_link_info info = {0};
	uint32_t size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) == 0 && info.prog_id == program_id &&
	       info.xdp.ifindex == (uint32_t)ifindex;
}

/* The link that the bundle to be replaced has on an interface; -1: none. */
static int previous_link(const struct kernel_bundle *previous, int ifindex, int *program)
{
	for (size_t i = 0; previous && i < previous->prog_count; i++) {
		const struct kernel_prog *p = &previous->progs[i];
		for (size_t n = 0; strcmp(p->program->attach, "xdp") == 0 && n < p->attachment_count; n++) {
			const struct attachment *a = &p->attachments[n];
			if (a->ifindex != ifindex || !xdp_stands(a->fd, ifindex, previous->views[i].id))
				continue;
			*program = p->fd;
			return a->fd;
		}
	}
	return -1;
}

/* A link is shared once: of two programs for one hook the second is refused, as it is without an upgrade. */
static bool is_shared(const struct kernel_bundle *kb, int ifindex)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		for (size_t n = 0; n < kb->progs[i].attachment_count; n++)
			if (kb->progs[i].attachments[n].hold == HOLD_SHARED &&
			    kb->progs[i].attachments[n].ifindex == ifindex)
				return true;
	return false;
}

static int share_link(struct kernel_prog *p, int link, int program, int ifindex, struct err *e)
{
	OWN_FD int fd = fcntl(link, F_DUPFD_CLOEXEC, 0);
	OWN_FD int before = fcntl(program, F_DUPFD_CLOEXEC, 0);

	if (fd < 0 || before < 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "a link to share");
	if (attachment_add_fd(p, &fd, ifindex, e))
		return -1;
	p->attachments[p->attachment_count - 1].hold = HOLD_SHARED;
	p->attachments[p->attachment_count - 1].before = TAKE_FD(before);
	return 0;
}

static int swap_program(int link, int from, int to)
{
	LIBBPF_OPTS(bpf_link_update_opts, opts, .flags = BPF_F_REPLACE, .old_prog_fd = (uint32_t)from);

	return bpf_link_update(link, to, &opts);
}

void net_give_back(struct kernel_prog *p, struct attachment *a)
{
	if (a->hold == HOLD_OWN)
		return;
	/* It fails where the interface is gone, and cannot elsewhere: that program was there a moment ago. */
	if (a->hold == HOLD_TAKEN)
		swap_program(a->fd, p->fd, a->before);
	close(a->before);
	a->hold = HOLD_OWN;
}

/* The kernel takes the generic mode by itself where a driver has no native one; a driver may still refuse it for this
 * program or MTU. */
static int attach_xdp(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e)
{
	LIBBPF_OPTS(bpf_link_create_opts, native);
	LIBBPF_OPTS(bpf_link_create_opts, generic, .flags = XDP_FLAGS_SKB_MODE);
	int program, shared = previous_link(kb->previous, ifindex, &program);

	if (shared >= 0 && !is_shared(kb, ifindex))
		return share_link(p, shared, program, ifindex, e);
	OWN_FD int fd = bpf_link_create(p->fd, ifindex, BPF_XDP, &native);
	if (fd < 0 && errno != EBUSY)
		fd = bpf_link_create(p->fd, ifindex, BPF_XDP, &generic);
	if (fd < 0) {
		char name[IF_NAMESIZE] = "?";
		int errnum = errno;
		if_indextoname((unsigned)ifindex, name);
		errno = errnum;
		return err_errno(e, ERR_KERNEL_ATTACH, "xdp on interface %s%s", name,
				 errnum == EBUSY ? ", which has another XDP program" : "");
	}
	return attachment_add_fd(p, &fd, ifindex, e);
}

/* The link is taken out of one bundle's hands and given to the other's with one call for each interface: a packet meets
 * one program or the other. */
int kernel_take_over(struct kernel_bundle *kb, struct err *e)
{
	int result = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		for (size_t n = 0; n < p->attachment_count; n++) {
			struct attachment *a = &p->attachments[n];
			if (a->hold != HOLD_SHARED || result)
				continue;
			if (swap_program(a->fd, a->before, p->fd) == 0)
				a->hold = HOLD_TAKEN;
			else if (errno != ENOLINK) /* its interface is gone */
				result = err_errno(e, ERR_KERNEL_ATTACH, "replacing the XDP program on interface %d",
						   a->ifindex);
		}
	}
	for (size_t i = 0; result && i < kb->prog_count; i++)
		for (size_t n = 0; n < kb->progs[i].attachment_count; n++)
			net_give_back(&kb->progs[i], &kb->progs[i].attachments[n]);
	return result;
}

bool kernel_has_taken_over(const struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->prog_count; i++)
		for (size_t n = 0; n < kb->progs[i].attachment_count; n++)
			if (kb->progs[i].attachments[n].hold == HOLD_TAKEN)
				return true;
	return false;
}

void kernel_settle(struct kernel_bundle *kb)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		for (size_t n = 0; n < p->attachment_count; n++) {
			if (p->attachments[n].hold == HOLD_OWN)
				continue;
			close(p->attachments[n].before);
			p->attachments[n].hold = HOLD_OWN;
		}
	}
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

/* How many filters (RTM_GETTFILTER) or qdiscs (RTM_GETQDISC) of an interface have that parent, of anybody; -1: cannot be
 * told. */
static int count_tc(uint16_t type, int ifindex, uint32_t parent)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg tc;
	} request = {
	    .header = {.nlmsg_len = sizeof(request),
		       .nlmsg_type = type,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		       .nlmsg_seq = 1},
	    .tc = {.tcm_family = AF_UNSPEC, .tcm_ifindex = ifindex, .tcm_parent = parent},
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
			const struct tcmsg *tc = NLMSG_DATA(h);
			/* Filters are asked for by interface and parent, qdiscs come all. */
			count +=
			    h->nlmsg_type == RTM_NEWTFILTER ||
			    (h->nlmsg_type == RTM_NEWQDISC && tc->tcm_ifindex == ifindex && tc->tcm_parent == parent);
		}
	}
}

/* The note comes before the qdisc, so that after a crash between the two nothing is left that nobody takes away; hence the
 * question first whether it is another's. */
static int make_qdisc(const struct kernel_bundle *kb, int ifindex, struct err *e)
{
	bool noted = pin_noted_qdisc(kb->pin_root, ifindex);
	struct bpf_tc_hook hook;

	if (count_tc(RTM_GETQDISC, ifindex, TC_H_CLSACT) > 0)
		return 0;
	if (!noted && pin_note_qdisc(kb->pin_root, ifindex, e))
		return -1;
	hook_init(&hook, ifindex, BOTH_SIDES);
	int error = bpf_tc_hook_create(&hook);
	if (error && error != -EEXIST && count_tc(RTM_GETQDISC, ifindex, TC_H_CLSACT) > 0)
		return 0; /* only the kernel's answer was not taken in */
	if (error && !noted)
		pin_forget_qdisc(kb->pin_root, ifindex);
	if (error && error != -EEXIST) {
		errno = -error;
		return err_errno(e, ERR_KERNEL_ATTACH, "needs the clsact qdisc (kernel module sch_ingress)");
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
		/* Also where only the kernel's answer was not taken in. */
		if (error == 0 || net_tc_is_attached(&tc, kb->views[p - kb->progs].id))
			return attachment_add(
			    p, &(struct attachment){.kind = ATTACHMENT_TC, .fd = -1, .tc = tc, .ifindex = ifindex}, e);
		pin_tc_forget(kb, p, &tc);
	}
	errno = -error;
	return err_errno(e, ERR_KERNEL_ATTACH, "tc filter (kernel module cls_bpf)");
}

static int attach_tc(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e)
{
	char name[IF_NAMESIZE] = "?";

	if (make_qdisc(kb, ifindex, e) == 0 && attach_filter(kb, p, ifindex, e) == 0)
		return 0;
	if_indextoname((unsigned)ifindex, name);
	return err_wrap(e, "interface %s", name);
}

void net_drop_qdisc(const char *pin_root, int ifindex)
{
	struct bpf_tc_hook hook;

	if (!pin_noted_qdisc(pin_root, ifindex))
		return;
	if (count_tc(RTM_GETTFILTER, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)) != 0 ||
	    count_tc(RTM_GETTFILTER, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) != 0)
		return;
	hook_init(&hook, ifindex, BOTH_SIDES);
	if (count_tc(RTM_GETQDISC, ifindex, TC_H_CLSACT) != 0)
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
	if (error && net_tc_is_attached(tc, program_id)) {
		errno = -error;
		return err_errno(e, ERR_KERNEL_ATTACH, "removing a tc filter from interface %d", tc->ifindex);
	}
	net_drop_qdisc(pin_root, tc->ifindex);
	return 0;
}

void net_let_go_tc(const char *pin_root, const struct tc_filter *tc, uint32_t program_id)
{
	/* Whose the qdisc is cannot be told where our filter is not: its device may be another by now. */
	if (!net_tc_is_attached(tc, program_id) || net_detach_tc(pin_root, tc, program_id, NULL))
		pin_forget_qdisc(pin_root, tc->ifindex);
}

/* ---- every kind ---- */

int net_attach_to(struct kernel_bundle *kb, struct kernel_prog *p, int ifindex, struct err *e)
{
	const char *kind = p->program->attach;

	if (p->attachment_count >= INTERFACES_MAX)
		return err_set(e, ERR_LIMIT, "more than %d interfaces: name one", INTERFACES_MAX);
	if (strcmp(kind, "xdp") == 0)
		return attach_xdp(kb, p, ifindex, e);
	return strcmp(kind, "tc") == 0 ? attach_tc(kb, p, ifindex, e) : attach_socket(kb, p, ifindex, e);
}

bool net_stands(const struct attachment *a, uint32_t program_id)
{
	if (a->kind == ATTACHMENT_TC)
		return net_tc_is_attached(&a->tc, program_id);
	return xdp_stands(a->fd, a->ifindex, program_id) || socket_stands(a->fd, a->ifindex);
}
