/* Which instructions keys/flow.c knows. Kernels give new meanings to codes and to fields that had none: the sign of a division
 * and the address space of a move lie in the offset, the order of an atomic in its immediate. So one that is known has each
 * field as Documentation/bpf/standardization/instruction-set.rst has it, and what is reserved there is zero. */
#ifndef OBS_KEYS_FLOW_INSN_H
#define OBS_KEYS_FLOW_INSN_H

#include <linux/bpf.h>
#include <stdbool.h>

/* Not in the headers of Debian 12: loads that extend the sign, Linux 6.6; may_goto, of BPF_JMP, Linux 6.9. */
enum { FLOW_MEMSX = 0x80, FLOW_JCOND = 0xe0 };

/* more: another instruction follows, which is half of the load of 16 bytes. */
bool flow_insn_known(const struct bpf_insn *insn, bool more);

#endif
