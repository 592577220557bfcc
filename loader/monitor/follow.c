#include "loader/ipc/log.h"
#include "loader/monitor/bundles.h"

/* Between two clients' requests; an interface that changes often has its turn as often as the others. */
enum { FOLLOW_AT_ONCE = 16, FOLLOW_REFUSED_MS = 30000, FOLLOW_RETRY_MS = 1000 };

/* All let go before one attaches: what the last one leaves (a qdisc) is not taken from the first that comes. */
static void look_at(struct bundles *b, int index)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->bundle[i]->kernel)
			kernel_interface_drop(b->bundle[i]->kernel, index);
	for (size_t i = 0; i < b->count; i++) {
		struct err e = ERR_INIT;
		if (b->bundle[i]->kernel && kernel_interface_attach(b->bundle[i]->kernel, index, &e))
			log_err(LOG_LEVEL_WARNING, &e);
	}
}

static void add(void *ctx, int index)
{
	/* What does not fit is looked at when it changes. */
	interfaces_add(ctx, index);
}

static void add_of_bundles(struct bundles *b, bool refused_only)
{
	for (size_t i = 0; i < b->count; i++)
		if (b->bundle[i]->kernel)
			kernel_each_interface(b->bundle[i]->kernel, refused_only, add, &b->interfaces);
}

void bundles_follow(struct bundles *b, uint64_t now_ms, uint64_t *next_ms)
{
	struct err e = ERR_INIT;
	uint64_t again_ms = now_ms;
	int index;

	/* Not while the queue has what came before: so that all do get their turn. */
	if (b->interfaces.all && b->interfaces.count == 0) {
		add_of_bundles(b, false);
		if (interfaces_list(&b->interfaces, &e)) {
			log_err(LOG_LEVEL_WARNING, &e);
			again_ms = now_ms + FOLLOW_RETRY_MS;
		}
	}
	if (now_ms >= b->refused_ms) {
		add_of_bundles(b, true);
		b->refused_ms = now_ms + FOLLOW_REFUSED_MS;
	}
	for (size_t n = 0; n < FOLLOW_AT_ONCE && interfaces_next(&b->interfaces, &index); n++)
		look_at(b, index);
	if (b->interfaces.count)
		*next_ms = now_ms;
	else if (b->interfaces.all)
		*next_ms = loop_sooner(*next_ms, again_ms);
	*next_ms = loop_sooner(*next_ms, b->refused_ms);
}
