/* ring OBJECT BURST: loads bench/spin's object, and only counts what comes through its ring: the limit of any reader.
 * Prints a line when it is attached; after SIGTERM {"events":N,"lost":N,"seconds":S}. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TICK_MS = 100, NS_PER_S = 1000000000 };

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static int on_event(void *ctx, void *record, size_t size)
{
	(void)record;
	(void)size;
	++*(uint64_t *)ctx;
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void *must(void *pointer, const char *what)
{
	if (!pointer) {
		perror(what);
		exit(1);
	}
	return pointer;
}

/* The ring's slot of obs_lost, over all processors. */
static uint64_t ring_lost(const struct bpf_object *obj)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *counts = must(calloc((size_t)cpus, sizeof(*counts)), "counts"), sum = 0;
	uint32_t slot = 0;

	if (bpf_map_lookup_elem(bpf_object__find_map_fd_by_name(obj, "obs_lost"), &slot, counts))
		perror("obs_lost");
	for (int i = 0; i < cpus; i++)
		sum += counts[i];
	free(counts);
	return sum;
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_term};
	uint64_t events = 0, first = 0, last = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: ring OBJECT BURST\n");
		return 2;
	}
	struct bpf_object *obj = must(bpf_object__open(argv[1]), argv[1]);
	uint32_t burst = (uint32_t)strtoul(argv[2], NULL, 10);
	struct bpf_map *params = must(bpf_object__find_map_by_name(obj, ".data.params"), "parameters");
	if (bpf_map__set_initial_value(params, &burst, sizeof(burst)) || bpf_object__load(obj)) {
		perror(argv[1]);
		return 1;
	}
	must(bpf_program__attach(must(bpf_object__find_program_by_name(obj, "spin_enter"), "program")), "attach");
	struct ring_buffer *ring =
	    must(ring_buffer__new(bpf_object__find_map_fd_by_name(obj, "events"), on_event, &events, NULL), "ring");
	sigaction(SIGTERM, &act, NULL);
	puts("attached");
	fflush(stdout);
	while (!stop) {
		if (ring_buffer__poll(ring, TICK_MS) == 0 && ring_buffer__consume(ring) == 0)
			continue;
		last = now_ns();
		first = first ? first : last;
	}
	printf("{\"events\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"seconds\":%.6f}\n", events, ring_lost(obj),
	       (double)(last - first) / NS_PER_S);
	ring_buffer__free(ring);
	bpf_object__close(obj);
	return 0;
}
