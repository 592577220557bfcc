#include "loader/worker/stats.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

const char *const loss_source_names[LOSS_SOURCE_COUNT] = {
    [LOSS_RING] = "ring",         [LOSS_MAP] = "map",     [LOSS_PARSER] = "parser", [LOSS_SUBSCRIBER] = "subscriber",
    [LOSS_SAMPLING] = "sampling", [LOSS_TABLE] = "table", [LOSS_MISSED] = "missed",
};

int stats_map(int fd, struct worker_stats **out, struct err *e)
{
	struct stat st;

	/* A shorter file would mean SIGBUS at the first count. */
	if (fstat(fd, &st))
		return err_errno(e, ERR_IO, "fstat of the counters");
	if ((uint64_t)st.st_size < sizeof(struct worker_stats))
		return err_set(e, ERR_DAEMON_PROTOCOL, "counters of %lld bytes, not %zu", (long long)st.st_size,
			       sizeof(struct worker_stats));
	void *map = mmap(NULL, sizeof(struct worker_stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(e, ERR_IO, "map the counters");
	*out = map;
	return 0;
}

void stats_unmap(struct worker_stats **s)
{
	if (*s)
		munmap(*s, sizeof(struct worker_stats));
	*s = NULL;
}

struct worker_bundle_stats *stats_bundle(struct worker_stats *s, uint32_t handle,
					 int (*live)(void *ctx, uint64_t handle), void *ctx)
{
	struct worker_bundle_stats *slot = &s->bundle[handle % WORKER_STATS_SLOTS];

	if (slot->bundle != handle) {
		if (slot->bundle && live(ctx, slot->bundle))
			return NULL;
		memset(slot, 0, sizeof(*slot));
		slot->bundle = handle;
	}
	return slot;
}
