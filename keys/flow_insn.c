#include "keys/flow_insn.h"

#include <stdint.h>

static bool is_register(const struct bpf_insn *insn)
{
	return BPF_SRC(insn->code) == BPF_X;
}

/* Either a register or an immediate is the operand. */
static bool has_one_operand(const struct bpf_insn *insn)
{
	return is_register(insn) ? insn->imm == 0 : insn->src_reg == 0;
}

static bool alu(const struct bpf_insn *insn)
{
	bool wide = BPF_CLASS(insn->code) == BPF_ALU64;
	int16_t off = insn->off;

	switch (BPF_OP(insn->code)) {
	case BPF_END: /* in 64 bits a swap: Linux 6.6 */
		return off == 0 && insn->src_reg == 0 && !(wide && is_register(insn)) &&
		       (insn->imm == 16 || insn->imm == 32 || insn->imm == 64);
	case BPF_NEG:
		return off == 0 && insn->src_reg == 0 && insn->imm == 0 && !is_register(insn);
	case BPF_MOV: /* with signs: Linux 6.6; between address spaces: 6.9 */
		if (wide && is_register(insn) && off == 1)
			return true;
		return has_one_operand(insn) &&
		       (off == 0 || (is_register(insn) && (off == 8 || off == 16 || (wide && off == 32))));
	case BPF_DIV: /* with signs: Linux 6.6 */
	case BPF_MOD:
		return has_one_operand(insn) && (off == 0 || off == 1);
	default:
		return BPF_OP(insn->code) < BPF_END && has_one_operand(insn) && off == 0;
	}
}

static bool atomic(const struct bpf_insn *insn)
{
	if (BPF_SIZE(insn->code) != BPF_W && BPF_SIZE(insn->code) != BPF_DW)
		return false;
	switch (insn->imm) {
	case BPF_ADD:
	case BPF_AND:
	case BPF_OR:
	case BPF_XOR:
	case BPF_ADD | BPF_FETCH:
	case BPF_AND | BPF_FETCH:
	case BPF_OR | BPF_FETCH:
	case BPF_XOR | BPF_FETCH:
	case BPF_XCHG:
	case BPF_CMPXCHG:
		return true;
	default: /* Linux 6.15: loads and stores with an order */
		return false;
	}
}

static bool memory(const struct bpf_insn *insn)
{
	uint8_t mode = BPF_MODE(insn->code);

	switch (BPF_CLASS(insn->code)) {
	case BPF_LDX:
		return insn->imm == 0 && (mode == BPF_MEM || (mode == FLOW_MEMSX && BPF_SIZE(insn->code) != BPF_DW));
	case BPF_ST:
		return insn->src_reg == 0 && mode == BPF_MEM;
	default:
		return mode == BPF_ATOMIC ? atomic(insn) : mode == BPF_MEM && insn->imm == 0;
	}
}

/* The load of 16 bytes, and the old ones from packets. */
static bool load(const struct bpf_insn *insn, bool more)
{
	uint8_t mode = BPF_MODE(insn->code);

	if (insn->code == (BPF_LD | BPF_IMM | BPF_DW))
		return more && insn[0].off == 0 && insn[1].code == 0 && insn[1].dst_reg == 0 && insn[1].src_reg == 0 &&
		       insn[1].off == 0;
	return (mode == BPF_ABS || mode == BPF_IND) && BPF_SIZE(insn->code) != BPF_DW && insn->dst_reg == 0 &&
	       insn->off == 0 && (mode == BPF_IND || insn->src_reg == 0);
}

static bool jump(const struct bpf_insn *insn)
{
	bool plain = insn->dst_reg == 0 && insn->src_reg == 0;
	uint8_t op = BPF_OP(insn->code);

	switch (insn->code) {
	case BPF_JMP | BPF_EXIT:
		return plain && insn->off == 0 && insn->imm == 0;
	case BPF_JMP | BPF_CALL:
		return insn->dst_reg == 0 && insn->off == 0;
	case BPF_JMP | BPF_JA:
	case BPF_JMP | FLOW_JCOND:
		return plain && insn->imm == 0;
	case BPF_JMP32 | BPF_JA: /* Linux 6.6 */
		return plain && insn->off == 0;
	default: /* not by a register: Linux 6.19 */
		return op != BPF_JA && op != BPF_CALL && op != BPF_EXIT && op <= BPF_JSLE && has_one_operand(insn);
	}
}

bool flow_insn_known(const struct bpf_insn *insn, bool more)
{
	switch (BPF_CLASS(insn->code)) {
	case BPF_ALU:
	case BPF_ALU64:
		return alu(insn);
	case BPF_LD:
		return load(insn, more);
	case BPF_JMP:
	case BPF_JMP32:
		return jump(insn);
	default:
		return memory(insn);
	}
}
