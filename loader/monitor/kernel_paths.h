/* Private to kernel_pin.c and kernel_adopt.c: where pins are.
 *
 *   <pin_root>/<namespace>/<name>/<serial>/links/<object>:<program>:<n>
 *                                         /programs/<object>:<program>
 *                                         /maps/<object>:<map>
 *                                         /tc/<object>:<program>:<ifindex>:<i|e>:<handle>   the program, as a record
 *   <pin_root>/<namespace>/<name>/<serial>+new   the same, not complete
 *   <pin_root>/+clsact/<ifindex>                 we made the clsact qdisc of that interface
 */
#ifndef OBS_MONITOR_KERNEL_PATHS_H
#define OBS_MONITOR_KERNEL_PATHS_H

#include "loader/monitor/kernel_impl.h"

MUST_CHECK int pin_base(const char *pin_root, const char *name, uint64_t serial, bool unfinished,
			char dst[static PATH_MAX], struct err *e);
MUST_CHECK int pin_path(const char *base, const char *folder, const struct kernel_object *o, const char *name,
			const char *suffix, char dst[static PATH_MAX], struct err *e);
MUST_CHECK int pin_program(struct kernel_bundle *kb, size_t i, const char *base, struct err *e);
MUST_CHECK int pin_remove_tree(const char *path, struct err *e);
void pin_remove_parents(const char *pin_root, const char *base);
bool pin_parse_tc(const char *name, struct tc_filter *out);

#endif
