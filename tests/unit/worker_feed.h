/* A real BPF ring and a real program that puts given bytes into it: a socket filter, run by BPF_PROG_TEST_RUN, copies the
 * packet's bytes into a record. */
#ifndef OBS_TESTS_WORKER_FEED_H
#define OBS_TESTS_WORKER_FEED_H

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FEED_ETH = 14, FEED_MAX = 512 };

struct feed {
	int map, prog, discard;
	uint32_t size; /* of every record */
};

#define FEED_INSN(c, d, s, o, i)                                                                                       \
	(struct bpf_insn)                                                                                              \
	{                                                                                                              \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)                                    \
	}

static inline int feed_load(int map, uint32_t size, bool discard, uint64_t flags)
{
	const struct bpf_insn insns[] = {
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0), /* r6 = skb */
	    FEED_INSN(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
	    FEED_INSN(0, 0, 0, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)size),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0),
	    FEED_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ringbuf_reserve),
	    FEED_INSN(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 9, 0), /* full: return 0 */
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 7, 0, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 3, 7, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, (int)size),
	    FEED_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_skb_load_bytes),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 7, 0, 0),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, (int)flags),
	    FEED_INSN(BPF_JMP | BPF_CALL, 0, 0, 0, discard ? BPF_FUNC_ringbuf_discard : BPF_FUNC_ringbuf_submit),
	    FEED_INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
	    FEED_INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, discard ? "feed_discard" : "feed", "GPL", insns,
			     sizeof(insns) / sizeof(insns[0]), NULL);
}

/* False: this machine cannot do BPF; the test says so and skips. */
static inline bool feed_open(struct feed *f, uint32_t ring_bytes, uint32_t size, uint64_t flags)
{
	*f = (struct feed){.map = -1, .prog = -1, .discard = -1, .size = size};
	f->map = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "feed", 0, 0, ring_bytes, NULL);
	if (f->map >= 0) {
		f->prog = feed_load(f->map, size, false, flags);
		f->discard = feed_load(f->map, size, true, flags);
	}
	if (f->prog < 0 || f->discard < 0) {
		perror("BPF ring or program");
		return false;
	}
	return true;
}

static inline void feed_close(struct feed *f)
{
	close(f->map);
	close(f->prog);
	close(f->discard);
}

/* `times` records of f->size bytes. 0, or -1 with errno. */
static inline int feed_put(const struct feed *f, const void *record, unsigned times, bool discard)
{
	uint8_t packet[FEED_ETH + FEED_MAX] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = FEED_ETH + f->size,
		    .repeat = (int)times);

	memcpy(packet + FEED_ETH, record, f->size);
	return bpf_prog_test_run_opts(discard ? f->discard : f->prog, &run);
}

#endif
