#include "loader/monitor/loop.h"

#include <time.h>

int loop_open(struct loop *loop, struct err *e)
{
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return err_errno(e, ERR_IO, "epoll");
	return 0;
}

void loop_close(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

static int control(const struct loop *loop, int op, struct source *source, uint32_t events, struct err *e)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	if (epoll_ctl(loop->epoll_fd, op, source->fd, &event))
		return err_errno(e, ERR_IO, "epoll_ctl");
	return 0;
}

int loop_add(struct loop *loop, struct source *source, uint32_t events, struct err *e)
{
	return control(loop, EPOLL_CTL_ADD, source, events, e);
}

int loop_change(struct loop *loop, struct source *source, uint32_t events, struct err *e)
{
	return control(loop, EPOLL_CTL_MOD, source, events, e);
}

void loop_remove(struct loop *loop, const struct source *source)
{
	if (source->fd >= 0)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

int loop_wait(struct loop *loop, int timeout_ms, struct err *e)
{
	struct epoll_event event;
	int n = epoll_wait(loop->epoll_fd, &event, 1, timeout_ms);

	if (n < 0 && errno != EINTR)
		return err_errno(e, ERR_IO, "epoll_wait");
	if (n == 1) {
		struct source *source = event.data.ptr;
		source->ready(source->ctx, event.events);
	}
	return 0;
}

uint64_t loop_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
