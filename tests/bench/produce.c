/* produce CALLS|SECONDSs [RATE]: makes the system call that bench/spin watches, on one processor: so many times or for so
 * long, as fast as it goes or RATE times a second. Prints {"calls":N,"seconds":S}. */
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MARK = 1000, BATCH = 256, NS_PER_S = 1000000000 };

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static void wait_until(uint64_t ns)
{
	const struct timespec at = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

int main(int argc, char **argv)
{
	cpu_set_t cpus;
	char *unit = NULL;

	if (argc < 2) {
		fprintf(stderr, "usage: produce CALLS|SECONDSs [RATE]\n");
		return 2;
	}
	double amount = strtod(argv[1], &unit);
	double rate = argc > 2 ? strtod(argv[2], NULL) : 0;
	bool timed = strcmp(unit, "s") == 0;

	CPU_ZERO(&cpus);
	CPU_SET((size_t)sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus)) {
		perror("produce: sched_setaffinity");
		return 1;
	}
	uint64_t start = now_ns(), end = timed ? start + (uint64_t)(amount * NS_PER_S) : UINT64_MAX, calls = 0;
	uint64_t most = timed ? UINT64_MAX : (uint64_t)amount;
	while (calls < most && now_ns() < end) {
		for (int i = 0; i < BATCH && calls < most; i++, calls++)
			syscall(MARK);
		if (rate > 0)
			wait_until(start + (uint64_t)((double)calls / rate * NS_PER_S));
	}
	printf("{\"calls\":%" PRIu64 ",\"seconds\":%.6f}\n", calls, (double)(now_ns() - start) / NS_PER_S);
	return 0;
}
