/* What the code of an object can do, from its instructions. Words in keys/object.h. */
#ifndef OBS_KEYS_CAPABILITIES_H
#define OBS_KEYS_CAPABILITIES_H

#include "keys/code.h"
#include "keys/object.h"

/* Adds the words of all code (every executable section, so that a function no program names counts too) and of the
 * object's programs and maps, which are read already, to caps. ERR_OBJECT_MALFORMED for code that no compiler makes:
 * above all instructions that name a kernel object (a map's fd, a BTF id, a kfunc) by number, which would mean whatever
 * has that number in the process that loads it. */
MUST_CHECK int capabilities_derive(const struct object *object, const struct code *code, struct capabilities *caps,
				   struct err *e);

#endif
