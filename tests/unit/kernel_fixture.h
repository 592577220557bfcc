/* Verified bundles of the objects in tests/bpf, made when a test runs, through the real gate; and a host of the test's own:
 * mount and network namespace, bpffs, tracefs. Ends the program on failure. */
#ifndef OBS_TESTS_KERNEL_FIXTURE_H
#define OBS_TESTS_KERNEL_FIXTURE_H

#include <linux/limits.h>

#include "keys/gate.h"
#include "loader/monitor/kernel.h"

struct fixture_spec {
	const char *name; /* "test/x" */
	uint64_t serial;
	const char *const *objects; /* names in tests/bpf, sorted, NULL-terminated */
	/* May change the manifest before it is signed; NULL. */
	void (*change)(struct manifest *m);
};

/* The file of an object of tests/bpf. */
void fixture_object_path(const char *name, char path[static PATH_MAX]);

struct verified_bundle *fixture_bundle(const struct fixture_spec *spec);

/* Needs root. Call once, before any test. */
void fixture_host(struct kernel_host *out);
void fixture_host_undo(void);

/* Sum of slot `slot` of map `hits` of an object; the program ends if there is no such map. */
uint64_t fixture_hits(const struct kernel_bundle *kb, const char *object, uint32_t slot);
/* How many programs of that name the kernel holds. Waits until there are at most `most`, two seconds at the longest. */
unsigned fixture_programs(const char *name, unsigned most);
/* Whether anything is below the pin root. */
bool fixture_pins_left(void);

/* ---- steps of a test, which fails where they do ---- */

/* Shows the error of a result that is not 0. */
void fixture_must(int result, const struct err *e);
/* test/kernel, serial 7, with this object alone. */
struct verified_bundle *fixture_bundle_of(const char *object);
/* Loaded, attached, pinned. */
struct kernel_bundle *fixture_started(const struct kernel_host *host, const struct verified_bundle *bundle);
const struct kernel_program *fixture_program(const struct kernel_bundle *kb, const char *name);
/* A real connection over loopback, with a byte sent. */
void fixture_connect(void);
/* Debian has tc's parts as modules, which a small virtual machine may not hold. */
bool fixture_no_tc(void);

/* ---- interfaces, which live as long as their descriptors; what is written there comes in ---- */

int fixture_interface_down(const char *name, int index);
void fixture_set_up(const char *name);
/* The same, and up. */
int fixture_interface(const char *name, int index);
/* Somebody else's XDP program on an interface, as long as the descriptor lives. */
int fixture_other_xdp(int index);

#endif
