#include "loader/monitor/interfaces.h"

#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

/* At most so many messages for one wake-up: other sources have their turn in between. */
enum { MESSAGES_AT_ONCE = 64, MESSAGE_BYTES = 32768 };

bool interfaces_add(struct interfaces *i, int index)
{
	for (size_t n = 0; n < i->count; n++)
		if (i->queue[(i->head + n) % INTERFACES_QUEUE] == index)
			return true;
	if (i->count == INTERFACES_QUEUE)
		return false;
	i->queue[(i->head + i->count++) % INTERFACES_QUEUE] = index;
	return true;
}

bool interfaces_next(struct interfaces *i, int *index)
{
	if (i->count == 0)
		return false;
	*index = i->queue[i->head];
	i->head = (i->head + 1) % INTERFACES_QUEUE;
	i->count--;
	return true;
}

int interfaces_list(struct interfaces *i, struct err *e)
{
	struct if_nameindex *all = if_nameindex();
	bool fits = true;

	if (!all)
		return err_errno(e, ERR_IO, "list of interfaces");
	for (struct if_nameindex *at = all; at->if_index && fits; at++)
		fits = interfaces_add(i, (int)at->if_index);
	if_freenameindex(all);
	i->all = false;
	return fits ? 0
		    : err_set(e, ERR_LIMIT, "more than %d interfaces: the others are not looked at", INTERFACES_QUEUE);
}

void interfaces_message(struct interfaces *i, const void *message, size_t size)
{
	const uint8_t *p = message, *end = p + size;

	/* As NLMSG_OK and NLMSG_NEXT go, without their mixture of signs. */
	while ((size_t)(end - p) >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *h = (const void *)p;
		const struct ifinfomsg *info = NLMSG_DATA(h);
		if (h->nlmsg_len < sizeof(*h) || h->nlmsg_len > (size_t)(end - p))
			break;
		size_t step = NLMSG_ALIGN(h->nlmsg_len);
		p = step < (size_t)(end - p) ? p + step : end;
		if (h->nlmsg_type != RTM_NEWLINK && h->nlmsg_type != RTM_DELLINK)
			continue;
		if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) || !interfaces_add(i, info->ifi_index))
			i->all = true;
	}
	if (p != end)
		i->all = true;
}

static void ready(void *ctx, uint32_t events)
{
	struct interfaces *i = ctx;
	union {
		struct nlmsghdr align;
		char bytes[MESSAGE_BYTES];
	} buffer;

	(void)events;
	for (int n = 0; n < MESSAGES_AT_ONCE; n++) {
		struct sockaddr_nl from = {0};
		struct iovec iov = {.iov_base = &buffer, .iov_len = sizeof(buffer)};
		struct msghdr msg = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1};
		ssize_t got = recvmsg(i->source.fd, &msg, MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* ENOBUFS: messages were lost. */
		if (got < 0 || (msg.msg_flags & MSG_TRUNC))
			i->all = true;
		else if (from.nl_pid == 0) /* others than the kernel have nothing to tell */
			interfaces_message(i, &buffer, (size_t)got);
	}
}

void interfaces_close(struct interfaces *i)
{
	if (i->source.fd >= 0)
		close(i->source.fd);
	i->source.fd = -1;
}

int interfaces_open(struct interfaces *i, struct loop *loop, struct err *e)
{
	const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	OWN_FD int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)))
		return err_errno(e, ERR_IO, "rtnetlink");
	i->source = (struct source){.fd = TAKE_FD(fd), .ready = ready, .ctx = i};
	i->all = true;
	if (loop_add(loop, &i->source, EPOLLIN, e)) {
		interfaces_close(i);
		return -1;
	}
	return 0;
}
