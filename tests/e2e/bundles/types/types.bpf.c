/* A known value of every kind. A program that starts under the name t.<letter> asks for what do_<letter> sends. */
#include <obs/obs.h>

#include <bpf/bpf_endian.h>

OBS_RING(small, 64 * 1024);
OBS_RING(large, 4 * 1024 * 1024);

enum color { color__red = 1, color__green = 2, color__dark_blue = 7 };
enum temperature { COLD = -5, WARM = 5 };

struct numbers {
	struct obs_header header;
	__u64 u64, bytes_sent OBS_FORMAT("bytes");
	__s64 s64;
	__u64 took_ns OBS_FORMAT("ns"), took_us OBS_FORMAT("us"), mask OBS_FORMAT("hex"), at OBS_FORMAT("time");
	__u32 u32;
	__s32 s32;
	enum color named, unnamed;
	enum temperature cold, colder;
	__u16 u16, port OBS_FORMAT("port");
	__s16 s16;
	__u8 u8, byte_enum OBS_TAG("enum=color");
	__s8 s8;
	bool yes, no;
} OBS_EVENT(numbers, 1, "types.numbers");

struct texts {
	struct obs_header header;
	char full[8], stopped[8], empty[4], control[12], c1[4], invalid[6], unicode[16], quoted[8];
	char escaped[16] OBS_AS("terminal.title"), list[2][4];
	__u8 text_bytes[8] OBS_FORMAT("string"), raw[5] OBS_FORMAT("hex"), raws[2][3] OBS_FORMAT("hex"), plain[3];
	__u8 used, many;
	char part[8] OBS_LENGTH("used");
	__u8 cut[8] OBS_FORMAT("hex") OBS_LENGTH("used"), beyond[2] OBS_FORMAT("hex") OBS_LENGTH("many");
} OBS_EVENT(texts, 2, "types.texts");

struct addresses {
	struct obs_header header;
	__u8 v4[4] OBS_FORMAT("ip"), v6[16] OBS_FORMAT("ip"), mapped[16] OBS_FORMAT("ip"), any[16] OBS_FORMAT("ip");
	__u8 two[2][4] OBS_FORMAT("ip"), mac[6] OBS_FORMAT("mac");
	__u16 _pad;
	__be32 number OBS_FORMAT("ip");
} OBS_EVENT(addresses, 3, "types.addresses");

struct leaf {
	__u32 depth;
	__u16 weight, gone OBS_OMIT_ZERO;
};
struct branch {
	__u32 length;
	struct leaf leaf OBS_AS("leaf");
	struct leaf flat;
};
struct absent {
	__u32 a OBS_OMIT_ZERO;
	char b[4] OBS_OMIT_ZERO;
};

struct nested {
	struct obs_header header;
	struct branch branch OBS_AS("tree.branch");
	struct absent absent OBS_AS("absent");
	__u32 present OBS_AS("tree.present") OBS_OMIT_ZERO;
	__u32 used, too_many;
	__u32 all[3], some[4] OBS_LENGTH("used"), clamped[2] OBS_LENGTH("too_many");
	__s16 below[2];
	bool flags[3];
	enum color colors[3];
	__u64 none[2] OBS_OMIT_ZERO;
} OBS_EVENT(nested, 4, "types.nested");

struct bits {
	struct obs_header header;
	__u32 a : 3, b : 7, c : 13, d : 9;
	__s32 e : 5, f : 11, g : 16;
	__u64 h : 40, i : 24;
	__u64 one : 1, wide : 62, last : 1;
	__s64 low : 33, high : 31;
	enum color color : 4;
	__u8 _pad : 1, j : 6;
	bool k : 1;
} OBS_EVENT(bits, 5, "types.bits");

struct stack {
	struct obs_header header;
	__u64 stack[32] OBS_FORMAT("kstack");
} OBS_EVENT(stack, 6, "types.stack");

struct tail {
	struct obs_header header;
	__u64 number;
	__u8 data[] OBS_FORMAT("hex");
} OBS_EVENT(tail, 7, "types.tail");

struct burst {
	struct obs_header header;
	__u32 number;
	__u8 _filler[4000];
} OBS_EVENT(burst, 8, "types.burst");

struct flood {
	struct obs_header header;
	__u32 number;
	__u8 filler[4000] OBS_FORMAT("hex");
} OBS_EVENT(flood, 9, "flood.record");

struct tick {
	struct obs_header header;
	__u64 number;
} OBS_EVENT(tick, 10, "tick.one");

struct message {
	struct obs_header header;
	__u8 message[16] OBS_FORMAT("dns");
} OBS_EVENT(message, 11, "types.message");

/* ---- sampled ---- */

OBS_PARAM(__u32, sample_ms, 200, 100, 3600000, "Milliseconds between samples of the map flows.");
enum words {
	words__a_word_that_makes_this_list_of_words_long_00,
	words__a_word_that_makes_this_list_of_words_long_01,
	words__a_word_that_makes_this_list_of_words_long_02,
	words__a_word_that_makes_this_list_of_words_long_03,
	words__a_word_that_makes_this_list_of_words_long_04,
	words__a_word_that_makes_this_list_of_words_long_05,
	words__a_word_that_makes_this_list_of_words_long_06,
	words__a_word_that_makes_this_list_of_words_long_07,
	words__a_word_that_makes_this_list_of_words_long_08,
	words__a_word_that_makes_this_list_of_words_long_09,
	words__a_word_that_makes_this_list_of_words_long_10,
	words__a_word_that_makes_this_list_of_words_long_11,
	words__a_word_that_makes_this_list_of_words_long_12,
	words__a_word_that_makes_this_list_of_words_long_13,
	words__a_word_that_makes_this_list_of_words_long_14,
	words__a_word_that_makes_this_list_of_words_long_15,
};
OBS_PARAM(enum words, wordy, 0, 0, 15, "More names than a line has.");
OBS_PARAM_LIST(__s8, offsets, 4096, -128, 127, "", "As long a text as a parameter of numbers can have.");

struct flow_key {
	__u8 peer[16] OBS_AS("peer.address") OBS_FORMAT("ip");
	__u16 port OBS_AS("peer.port") OBS_FORMAT("port");
	__u16 _pad;
	enum color color;
};
struct flow_value {
	__u64 sent_bytes OBS_FORMAT("bytes");
	__s32 balance;
	char name[8];
	__u32 _pad;
};
struct amounts {
	__u64 total;
	__s32 balance;
	char name[4];
};
struct log2_slots {
	__u64 slots[16] OBS_AS("latency") OBS_FORMAT("log2");
};
struct linear_slots {
	__u32 slots[8] OBS_AS("level") OBS_LINEAR(-10, 5);
};

struct prefix {
	__u32 bits OBS_AS("prefix.bits");
	__u8 address[4] OBS_AS("prefix.address") OBS_FORMAT("ip");
};

#define MAP(kind, entries, key_type, value_type)                                                                       \
	struct {                                                                                                       \
		__uint(type, kind);                                                                                    \
		__uint(max_entries, entries);                                                                          \
		__type(key, key_type);                                                                                 \
		__type(value, value_type);                                                                             \
	}

MAP(BPF_MAP_TYPE_HASH, 64, struct flow_key, struct flow_value)
flows SEC(".maps") OBS_SAMPLE("types.flow", 200) OBS_SAMPLE_INTERVAL_PARAM("sample_ms");
MAP(BPF_MAP_TYPE_LRU_HASH, 1024, __u32, __u64)
recent SEC(".maps") OBS_SAMPLE("types.recent", 100) OBS_SAMPLE_CHANGED OBS_KEY("id") OBS_VALUE("count");
MAP(BPF_MAP_TYPE_ARRAY, 3, __u32, __s16)
levels SEC(".maps") OBS_SAMPLE("types.level", 100) OBS_SAMPLE_CHANGED OBS_KEY("slot") OBS_VALUE("level");
MAP(BPF_MAP_TYPE_PERCPU_HASH, 64, __u64, struct amounts)
sums SEC(".maps") OBS_SAMPLE("types.sum", 100) OBS_SAMPLE_CHANGED OBS_KEY("id");
MAP(BPF_MAP_TYPE_LRU_PERCPU_HASH, 1024, __u16, __u64)
counts SEC(".maps") OBS_SAMPLE("types.count", 100) OBS_SAMPLE_CLEAR OBS_KEY("id") OBS_VALUE("count");
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 1, __u32, struct log2_slots)
latency SEC(".maps") OBS_SAMPLE("types.latency", 100) OBS_SAMPLE_CHANGED;
MAP(BPF_MAP_TYPE_ARRAY, 1, __u32, struct linear_slots)
linear SEC(".maps") OBS_SAMPLE("types.linear", 100) OBS_SAMPLE_CHANGED OBS_SAMPLE_CLEAR;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, struct prefix);
	__type(value, __u64);
} networks SEC(".maps") OBS_SAMPLE("types.network", 100) OBS_SAMPLE_CHANGED OBS_VALUE("count");

/* So seldom that it is only ever read when the bundle comes and goes. */
MAP(BPF_MAP_TYPE_PERCPU_HASH, 2048, __u32, __u64)
kept SEC(".maps") OBS_SAMPLE("types.kept", 3600000) OBS_SAMPLE_CLEAR OBS_KEY("id") OBS_VALUE("count");

MAP(BPF_MAP_TYPE_HASH, 4, __u32, __u32) full SEC(".maps");

/* ---- what each letter does ---- */

#define RESERVE(e, map, type, id)                                                                                      \
	struct type *e = obs_reserve(&map, struct type, id);                                                           \
	if (!e)                                                                                                        \
		return;                                                                                                \
	__builtin_memset((char *)e + sizeof(e->header), 0, sizeof(*e) - sizeof(e->header))

#define SET(field, ...) __builtin_memcpy(field, ((const __u8[sizeof(field)])__VA_ARGS__), sizeof(field))

static __always_inline void send_numbers(void)
{
	RESERVE(e, large, numbers, 1);
	e->u8 = 255;
	e->u16 = 65535;
	e->u32 = 4294967295;
	e->u64 = 18446744073709551615ULL;
	e->s8 = -128;
	e->s16 = -32768;
	e->s32 = -2147483647 - 1;
	e->s64 = -9223372036854775807LL - 1;
	e->bytes_sent = 9007199254740993ULL;
	e->took_ns = 1500000000;
	e->took_us = 7;
	e->mask = 0xdeadbeef;
	e->at = e->header.time_ns;
	e->port = 443;
	e->named = color__dark_blue;
	e->unnamed = (enum color)77;
	e->cold = COLD;
	e->colder = (enum temperature) - 77;
	e->byte_enum = color__green;
	e->yes = true;
	obs_submit(&large, e);
}

static __always_inline void send_texts(void)
{
	RESERVE(e, large, texts, 2);
	SET(e->full, {'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'});
	SET(e->stopped, {'a', 'b', 0, 'd', 'e'});
	SET(e->control, {1, '\t', '\n', '\r', 8, 12, 0x7f, 0x1f, '.'});
	SET(e->c1, {0xc2, 0x9b, 'x'});
	SET(e->invalid, {'a', 0xff, 0xc3, '(', 0xe2, 0x82});
	SET(e->unicode, {0xc3, 0xa4, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80});
	SET(e->quoted, {'"', '\\', '/', '<'});
	SET(e->escaped, {0x1b, ']', '0', ';', 'p', 'w', 'n', 7, 0x1b, '[', '3', '1', 'm'});
	SET(e->list[0], {'o', 'n', 'e'});
	SET(e->list[1], {'f', 'o', 'u', 'r'});
	SET(e->text_bytes, {'b', 'y', 't', 'e'});
	SET(e->raw, {0xde, 0xad, 0, 0xbe, 0xef});
	SET(e->raws[0], {1, 2, 3});
	SET(e->raws[1], {0xfd, 0xfe, 0xff});
	SET(e->plain, {9, 0, 255});
	e->used = 3;
	e->many = 200;
	SET(e->part, {'p', 0, 'r', 't', 's'});
	SET(e->cut, {0x10, 0x20, 0x30, 0x40});
	SET(e->beyond, {0xaa, 0xbb});
	obs_submit(&large, e);
}

static __always_inline void send_addresses(void)
{
	RESERVE(e, large, addresses, 3);
	SET(e->v4, {192, 0, 2, 255});
	SET(e->v6, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x2a});
	SET(e->mapped, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3});
	SET(e->two[0], {127, 0, 0, 1});
	SET(e->two[1], {8, 8, 4, 4});
	SET(e->mac, {0x02, 0x42, 0xac, 0x11, 0x00, 0x0f});
	e->number = bpf_htonl(0xc6336407);
	obs_submit(&large, e);
}

static __always_inline void send_nested(void)
{
	RESERVE(e, large, nested, 4);
	e->branch.length = 12;
	e->branch.leaf = (struct leaf){.depth = 3, .weight = 4};
	e->branch.flat = (struct leaf){.depth = 5, .weight = 6, .gone = 7};
	e->present = 1;
	e->used = 2;
	e->too_many = 4000000000;
	e->all[0] = 1;
	e->all[2] = 4294967295;
	e->some[0] = 10;
	e->some[1] = 11;
	e->some[2] = 12;
	e->clamped[0] = 20;
	e->clamped[1] = 21;
	e->below[0] = -1;
	e->below[1] = -32768;
	e->flags[1] = true;
	e->colors[0] = color__red;
	e->colors[1] = color__green;
	e->colors[2] = (enum color)99;
	obs_submit(&large, e);
}

static __always_inline void send_bits(void)
{
	RESERVE(e, large, bits, 5);
	e->a = 5;
	e->b = 0x55;
	e->c = 0x1abc;
	e->d = 0x1ff;
	e->e = -16;
	e->f = -1;
	e->g = 32767;
	e->h = 0xabcdef0123;
	e->i = 0xfedcba;
	e->one = 1;
	e->wide = 0x2aaaaaaaaaaaaaaaULL;
	e->last = 1;
	e->low = -4294967296LL;
	e->high = 1073741823;
	e->color = color__dark_blue;
	e->j = 42;
	e->k = true;
	obs_submit(&large, e);
}

static __always_inline void send_stack(void *ctx)
{
	RESERVE(e, large, stack, 6);
	bpf_get_stack(ctx, e->stack, sizeof(e->stack), 0);
	obs_submit(&large, e);
}

static __always_inline void send_tail(void)
{
	__u8 room[sizeof(struct tail) + 3] __attribute__((aligned(8))) = {[sizeof(struct tail)] = 0x0a, 0x0b, 0x0c};
	struct tail *e = (struct tail *)room;

	e->header.time_ns = bpf_ktime_get_ns();
	e->header.event = 7;
	e->number = 1;
	bpf_ringbuf_output(&large, room, sizeof(room), 0);
	e->number = 2;
	bpf_ringbuf_output(&large, room, sizeof(struct tail), 0);
}

static __always_inline void count(void)
{
	struct flow_key key = {.peer = {[10] = 0xff, 0xff, 10, 0, 0, 7}, .port = 443, .color = color__green};
	struct flow_value flow = {.sent_bytes = 9007199254740993ULL, .balance = -7, .name = "curl"};
	struct amounts fresh = {.total = 5, .balance = -3, .name = "cpu"}, *sum;
	__u64 id = 18446744073709551615ULL, one = 1, *n;
	__u16 small_id = 65535;
	__u32 zero = 0;

	bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
	key.peer[0] = 0xfd;
	key.color = (enum color)0;
	bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
	sum = bpf_map_lookup_elem(&sums, &id);
	if (sum) {
		sum->total += 5;
		sum->balance -= 3;
		__builtin_memcpy(sum->name, fresh.name, sizeof(sum->name));
	} else {
		bpf_map_update_elem(&sums, &id, &fresh, BPF_ANY);
	}
	n = bpf_map_lookup_elem(&counts, &small_id);
	if (n)
		(*n)++;
	else
		bpf_map_update_elem(&counts, &small_id, &one, BPF_ANY);
	struct log2_slots *log2 = bpf_map_lookup_elem(&latency, &zero);
	if (log2) {
		log2->slots[0] += 1;
		log2->slots[3] += 10;
		log2->slots[15] += 2;
	}
}

static __always_inline void change(void)
{
	__u32 id = 4294967295, zero = 0, two = 2;
	__u64 one = 1, more = 2, *n = bpf_map_lookup_elem(&recent, &id);
	__s16 level = -32768;
	struct prefix outer = {.bits = 8, .address = {10}}, inner = {.bits = 12, .address = {10, 16}};

	if (n)
		(*n)++;
	else
		bpf_map_update_elem(&recent, &id, &one, BPF_ANY);
	bpf_map_update_elem(&levels, &two, &level, BPF_ANY);
	struct linear_slots *slots = bpf_map_lookup_elem(&linear, &zero);
	if (slots) {
		slots->slots[0] += 1;
		slots->slots[2] += 4;
		slots->slots[7] += 2;
	}
	bpf_map_update_elem(&networks, &outer, &one, BPF_ANY);
	bpf_map_update_elem(&networks, &inner, &more, BPF_ANY);
}

/* Of what is done many times, each is a global function: the verifier looks at it once, not at each turn. */
#define EACH __attribute__((noinline)) int

EACH keep(__u32 id)
{
	__u64 one = 1, *n = bpf_map_lookup_elem(&kept, &id);

	if (n)
		(*n)++;
	else
		bpf_map_update_elem(&kept, &id, &one, BPF_ANY);
	return 0;
}

EACH send_burst(__u32 number)
{
	struct burst *e = obs_reserve(&small, struct burst, 8);

	if (!e)
		return 0;
	e->number = number;
	obs_submit(&small, e);
	return 0;
}

EACH send_flood(__u32 number)
{
	struct flood *e = obs_reserve(&large, struct flood, 9);

	if (!e)
		return 0;
	e->number = number;
	obs_submit(&large, e);
	return 0;
}

EACH send_tick(__u32 number)
{
	struct tick *e = obs_reserve(&large, struct tick, 10);

	if (!e)
		return 0;
	e->number = number;
	obs_submit(&large, e);
	return 0;
}

/* Losses that programs and decoder count: 6 of map, 6 of parser, 2 of table, 5 of sampling. */
static __always_inline void lose(void)
{
	struct obs_header header = {.time_ns = bpf_ktime_get_ns(), .event = 99};

	for (__u32 i = 0; i < 10; i++)
		if (bpf_map_update_elem(&full, &i, &i, BPF_NOEXIST))
			obs_count_lost(OBS_LOST_MAP);
	for (int i = 0; i < 3; i++)
		obs_count_lost(OBS_LOST_PARSER);
	for (int i = 0; i < 2; i++)
		obs_count_lost(OBS_LOST_TABLE);
	for (int i = 0; i < 5; i++)
		obs_count_lost(OBS_LOST_SAMPLING);
	/* No such event, a record that is too short for its event, and a message that is none. */
	bpf_ringbuf_output(&large, &header, sizeof(header), 0);
	header.event = 1;
	bpf_ringbuf_output(&large, &header, sizeof(header), 0);
	RESERVE(e, large, message, 11);
	SET(e->message, {0xff, 0xff, 0xff});
	obs_submit(&large, e);
}

SEC("tp_btf/sched_process_exec")
int on_exec(void *ctx)
{
	char name[16] = "";

	bpf_get_current_comm(name, sizeof(name));
	if (name[0] != 't' || name[1] != '.' || name[3])
		return 0;
	(void)offsets[0];
	(void)wordy;
	switch (name[2]) {
	case 'v':
		send_numbers();
		send_texts();
		send_addresses();
		send_nested();
		send_bits();
		send_stack(ctx);
		send_tail();
		break;
	case 'c':
		count();
		break;
	case 'h':
		change();
		break;
	case 'k':
		for (__u32 i = 0; i < 1000; i++)
			keep(i);
		break;
	case 'b':
		for (__u32 i = 0; i < 200; i++)
			send_burst(i);
		break;
	case 'f':
		for (__u32 i = 0; i < 600; i++)
			send_flood(i);
		break;
	case 't':
		for (__u32 i = 0; i < 100; i++)
			send_tick(i);
		break;
	case 'l':
		lose();
		break;
	}
	return 0;
}
OBS_LICENSE("GPL");
