/* What libbpf says while calls of ours run, for the log of an error. It reports through one callback of the process, which
 * has no context, so only one may listen at a time; the callback that was there comes back at the end. */
#ifndef OBS_KEYS_LIBBPF_SAID_H
#define OBS_KEYS_LIBBPF_SAID_H

#include <stddef.h>

struct libbpf_said {
	char *text; /* warnings, one behind the other; NULL: none */
	size_t size;
};

void libbpf_listen(struct libbpf_said *said);
void libbpf_listen_end(void); /* leaves errno as it is */
void libbpf_said_clear(struct libbpf_said *said);

#define OWN_LIBBPF_SAID __attribute__((cleanup(libbpf_said_clear)))

#endif
