/* Whether BTF holds together: what libbpf 1.1 takes for granted when it opens an object. */
#ifndef OBS_KEYS_BTF_CHECK_H
#define OBS_KEYS_BTF_CHECK_H

#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

/* Checks the bytes of a .BTF section: every type it names exists, every name lies in its strings, no chain of typedefs
 * and qualifiers goes on for ever, and section variables are variables (or functions). ERR_OBJECT_MALFORMED. */
MUST_CHECK int btf_check(const uint8_t *bytes, size_t size, struct err *e);

#endif
