#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>

#include "packager/packager.h"
#include "tests/unit/bpf_source.h"

static const char program[] =
    "SEC(\"tp_btf/sched_process_exec\") int prog(void *c) { return 0; }\nOBS_LICENSE(\"GPL\");\n";

/* The object of these declarations; *elf is what it lies in. Both are the caller's. */
static struct object *compile(const char *declarations, uint8_t **elf)
{
	char source[8192];
	struct object *o = NULL;
	struct err e = ERR_INIT;
	size_t size;

	snprintf(source, sizeof(source), "#include <obs/obs.h>\n%s%s", declarations, program);
	*elf = bpf_compile(source, &size);
	assert_int_equal(object_read("t", *elf, size, &o, &e), 0);
	return o;
}

static int describe_object(const struct object *o, struct manifest **out, struct err *e)
{
	static struct definition definition = {.folder = (char *)(uintptr_t) "/nonexistent"};

	*out = calloc(1, sizeof(**out));
	assert_non_null(*out);
	(*out)->name = strdup("a/b");
	assert_non_null((*out)->name);
	struct describing d = {.definition = &definition, .source = "t.bpf.c", .object = "t", .o = o, .m = *out};
	return describe(&d, e);
}

/* Describes an object with these declarations; the manifest is the caller's. */
static int describe_text_of(const char *declarations, struct manifest **out, struct err *e)
{
	uint8_t *elf;
	struct object *o = compile(declarations, &elf);
	int status = describe_object(o, out, e);

	object_free(&o);
	free(elf);
	return status;
}

static void check_field(const struct manifest_event *event, size_t i, const char *name, uint32_t offset, uint32_t size,
			uint32_t count, enum field_kind kind, enum field_format format)
{
	const struct manifest_field *f = &event->fields[i];

	assert_true(i < event->field_count);
	assert_string_equal(f->name, name);
	assert_int_equal(f->offset, offset);
	assert_int_equal(f->size, size);
	assert_int_equal(f->count, count);
	assert_int_equal(f->kind, kind);
	assert_int_equal(f->format, format);
}

static void describe_every_shape_of_field(void **state)
{
	struct manifest *m;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    describe_text_of("enum way { way__in, way__out = 5, ALIAS = 5, plain };\n"
			     "struct end { __u8 address[16] OBS_AS(\"address\") OBS_FORMAT(\"ip\"); __u16 port "
			     "OBS_FORMAT(\"port\"); };\n"
			     "struct ev { struct obs_header header;\n"
			     "	__u8 a; __s16 b; __u32 c; __s64 d;\n"                            /* 16 18 20 24 */
			     "	bool yes; enum way way; char text[10]; __u8 used;\n"             /* 32 36 40 50 */
			     "	struct end peer OBS_AS(\"net.peer\"); struct end own;\n"         /* 52 70 */
			     "	__u32 v4 OBS_FORMAT(\"ip\"); __u8 mac[6] OBS_FORMAT(\"mac\");\n" /* 88 92 */
			     "	__u32 low : 3; __u32 high : 13; __u64 stack[4] OBS_FORMAT(\"kstack\");\n" /* 98 104 */
			     "	__u8 names[2][8] OBS_FORMAT(\"string\"); __u16 ports[3]; __u8 pad_ OBS_HIDE;\n"
			     "	__u8 length; __u8 data[5] OBS_FORMAT(\"hex\") OBS_LENGTH(\"length\") OBS_OMIT_ZERO;\n"
			     "	int _secret; int reserved2; __u8 rest[] OBS_FORMAT(\"hex\");\n"
			     "} OBS_EVENT(ev, 7, \"t.ev\");\nOBS_RING(ring, 65536);\n",
			     &m, &e),
	    0);
	assert_int_equal(m->event_count, 1);
	const struct manifest_event *ev = &m->events[0];
	assert_string_equal(ev->name, "t.ev");
	assert_int_equal(ev->id, 7);
	check_field(ev, 0, "a", 16, 1, 0, FIELD_UINT, FORMAT_PLAIN);
	check_field(ev, 1, "b", 18, 2, 0, FIELD_INT, FORMAT_PLAIN);
	check_field(ev, 2, "c", 20, 4, 0, FIELD_UINT, FORMAT_PLAIN);
	check_field(ev, 3, "d", 24, 8, 0, FIELD_INT, FORMAT_PLAIN);
	check_field(ev, 4, "yes", 32, 1, 0, FIELD_BOOL, FORMAT_PLAIN);
	check_field(ev, 5, "way", 36, 4, 0, FIELD_ENUM, FORMAT_PLAIN);
	check_field(ev, 6, "text", 40, 10, 0, FIELD_CHARS, FORMAT_PLAIN);
	check_field(ev, 7, "used", 50, 1, 0, FIELD_UINT, FORMAT_PLAIN);
	check_field(ev, 8, "net.peer.address", 52, 16, 0, FIELD_BYTES, FORMAT_IP);
	check_field(ev, 9, "net.peer.port", 68, 2, 0, FIELD_UINT, FORMAT_PORT);
	check_field(ev, 10, "address", 70, 16, 0, FIELD_BYTES, FORMAT_IP);
	check_field(ev, 11, "port", 86, 2, 0, FIELD_UINT, FORMAT_PORT);
	check_field(ev, 12, "v4", 88, 4, 0, FIELD_BYTES, FORMAT_IP);
	check_field(ev, 13, "mac", 92, 6, 0, FIELD_BYTES, FORMAT_MAC);
	check_field(ev, 14, "low", 98, 1, 0, FIELD_UINT, FORMAT_PLAIN);
	assert_int_equal(ev->fields[14].bit_size, 3);
	assert_int_equal(ev->fields[14].bit_offset, 0);
	check_field(ev, 15, "high", 98, 2, 0, FIELD_UINT, FORMAT_PLAIN);
	assert_int_equal(ev->fields[15].bit_size, 13);
	assert_int_equal(ev->fields[15].bit_offset, 3);
	check_field(ev, 16, "stack", 104, 8, 4, FIELD_UINT, FORMAT_KSTACK);
	check_field(ev, 17, "names", 136, 8, 2, FIELD_CHARS, FORMAT_PLAIN);
	assert_int_equal(ev->fields[17].stride, 8);
	check_field(ev, 18, "ports", 152, 2, 3, FIELD_UINT, FORMAT_PLAIN);
	check_field(ev, 19, "length", 159, 1, 0, FIELD_UINT, FORMAT_PLAIN);
	check_field(ev, 20, "data", 160, 5, 0, FIELD_BYTES, FORMAT_HEX);
	assert_int_equal(ev->fields[20].length_field, 19);
	assert_true(ev->fields[20].omit_zero);
	check_field(ev, 21, "rest", 176, 0, 0, FIELD_BYTES, FORMAT_HEX);
	assert_int_equal(ev->field_count, 22);
	const struct manifest_enum *way = &m->enums[ev->fields[5].enum_index];
	assert_string_equal(way->name, "way");
	assert_int_equal(way->value_count, 3); /* the alias is left out */
	assert_string_equal(way->values[0].name, "in");
	assert_string_equal(way->values[1].name, "out");
	assert_int_equal(way->values[1].value, 5);
	assert_string_equal(way->values[2].name, "plain");
	manifest_free(&m);
}

static void describe_samples_have_keys_values_and_intervals(void **state)
{
	struct manifest *m;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    describe_text_of(
		"struct k { __u32 pid; }; struct v { __u64 count; __u64 rtt[32] OBS_FORMAT(\"log2\");\n"
		"	__u32 size[4] OBS_LINEAR(10, 5); };\n"
		"struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 8); __type(key, struct k);\n"
		"	__type(value, struct v); } h SEC(\".maps\") OBS_SAMPLE(\"t.h\", 1000) OBS_SAMPLE_CHANGED\n"
		"	OBS_SAMPLE_INTERVAL_PARAM(\"every_ms\");\n"
		"struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32);\n"
		"	__type(value, __u64); } a SEC(\".maps\") OBS_SAMPLE(\"t.a\", 100) OBS_VALUE(\"n\") "
		"OBS_SAMPLE_CLEAR;\n"
		"OBS_PARAM(__u32, every_ms, 1000, 100, 60000, \"how often\");\n",
		&m, &e),
	    0);
	const struct manifest_output *h = NULL, *a = NULL;
	for (size_t i = 0; i < m->output_count; i++) {
		h = strcmp(m->outputs[i].map, "h") == 0 ? &m->outputs[i] : h;
		a = strcmp(m->outputs[i].map, "a") == 0 ? &m->outputs[i] : a;
	}
	assert_non_null(h);
	assert_non_null(a);
	assert_int_equal(h->kind, OUTPUT_SAMPLE);
	assert_true(h->only_changed && !h->clear);
	assert_string_equal(h->interval_param, "every_ms");
	assert_int_equal(h->key_field_count, 1);
	assert_int_equal(h->value_field_count, 3);
	assert_int_equal(h->value_fields[1].format, FORMAT_LOG2);
	assert_int_equal(h->value_fields[2].base, 10);
	assert_int_equal(h->value_fields[2].step, 5);
	assert_true(a->clear && !a->only_changed);
	assert_int_equal(a->key_field_count, 0);
	assert_string_equal(a->value_fields[0].name, "n");
	manifest_free(&m);
}

static void describe_params_have_bounds_and_defaults(void **state)
{
	struct manifest *m;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(
	    describe_text_of(
		"enum mode { mode__off, mode__on };\n"
		"OBS_PARAM(__u64, big, 5, 0, 0xffffffffffffffff, \"h\");\n"
		"enum bound { bound__least = -7 } unused;\n"
		"OBS_PARAM(int, small, -3, -10, 10, \"h\");\nOBS_PARAM(int, low, -3, (-10), (10), \"h\");\n"
		"OBS_PARAM(__s64, lower, -3, bound__least, 10, \"h\");\nOBS_PARAM_BOOL(yes, true, \"h\");\n"
		"OBS_PARAM(enum mode, how, mode__on, 0, 1, \"h\");\n"
		"OBS_PARAM_LIST(__u16, ports, 8, 1, 65535, \"port\", \"h\");\n"
		"OBS_PARAM_CIDRS(nets, 4, \"h\");\nOBS_PARAM_TEXT(comm, 16, \"h\");\n",
		&m, &e),
	    0);
	assert_int_equal(m->param_count, 9);
	const struct manifest_param *big = manifest_param_find(m, "big"), *small = manifest_param_find(m, "small");
	assert_true(big->umax == UINT64_MAX && big->umin == 0);
	assert_int_equal(small->min, -10);
	assert_int_equal(small->max, 10);
	assert_int_equal((int8_t)small->initial[0], -3);
	assert_int_equal(manifest_param_find(m, "low")->min, -10);
	assert_int_equal(manifest_param_find(m, "lower")->min, -7);
	assert_int_equal(manifest_param_find(m, "yes")->kind, PARAM_BOOL);
	assert_int_equal(manifest_param_find(m, "how")->kind, PARAM_ENUM);
	assert_int_equal(manifest_param_find(m, "how")->max, 1);
	assert_int_equal(manifest_param_find(m, "ports")->count, 8);
	assert_string_equal(manifest_param_find(m, "ports")->unit, "port");
	assert_int_equal(manifest_param_find(m, "nets")->kind, PARAM_CIDR);
	assert_int_equal(manifest_param_find(m, "comm")->kind, PARAM_CHARS);
	assert_int_equal(manifest_param_find(m, "comm")->size, 16);
	manifest_free(&m);
}

#define EVENT(members)                                                                                                 \
	"struct ev { struct obs_header h; " members " } OBS_EVENT(ev, 1, \"t.ev\");\nOBS_RING(r, 65536);\n"

static void describe_what_cannot_be_is_refused(void **state)
{
	static const struct {
		const char *declarations;
		enum err_code code;
	} bad[] = {
	    {"OBS_RING(r, 65536);\n", ERR_BUILD_OUTPUT},
	    {"struct ev { struct obs_header h; int a; } OBS_EVENT(ev, 1, \"T.Ev\");\n", ERR_BUILD_OUTPUT},
	    {"struct ev { struct obs_header h; int a; } OBS_EVENT(ev, 1, \"obs.lost\");\n", ERR_BUILD_OUTPUT},
	    {"struct ev { struct obs_header h; int a; } OBS_EVENT(ev, NUMBER, \"t.ev\");\n", ERR_BUILD_OUTPUT},
	    {"struct ev { struct obs_header h; } OBS_EVENT(ev, 1, \"t.ev\");\nOBS_RING(r, 32768);\n", ERR_BUILD_OUTPUT},
	    {"struct ev { struct obs_header h; struct { int a; } list[2]; } OBS_EVENT(ev, 1, \"t.ev\");\n",
	     ERR_BUILD_FIELD},
	    {"struct ev { struct obs_header h; int a; int b OBS_AS(\"a\"); } OBS_EVENT(ev, 1, \"t.ev\");\n",
	     ERR_BUILD_FIELD},
	    {"struct ev { struct obs_header h; int port OBS_FORMAT(\"port\"); } OBS_EVENT(ev, 1, \"t.ev\");\n",
	     ERR_BUILD_FIELD},
	    {"struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32);\n"
	     "	__type(value, __u64); } a SEC(\".maps\") OBS_SAMPLE(\"t.a\", 50) OBS_KEY(\"k\") OBS_VALUE(\"n\");\n",
	     ERR_BUILD_OUTPUT},
	    {"struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32);\n"
	     "	__type(value, __u64); } a SEC(\".maps\") OBS_SAMPLE(\"t.a\", 500) OBS_VALUE(\"n\");\n",
	     ERR_BUILD_FIELD},
	    /* what would cost a host every such event */
	    {"struct ev { struct obs_header h; int a; } OBS_EVENT(ev, 1, \"obs.mine\");\n", ERR_BUILD_OUTPUT},
	    {EVENT("__u32 a[65] OBS_FORMAT(\"log2\");"), ERR_BUILD_FIELD},
	    {EVENT("__u32 a[9] OBS_LINEAR(0, 0x1fffffffffffffff);"), ERR_BUILD_FIELD},
	    {EVENT("int a OBS_AS(\"a.b.c.d.e.f.g.h.i.j.k.l.m\");"), ERR_BUILD_FIELD},
	    {EVENT("__u8 q[9] OBS_FORMAT(\"dns\"); int a OBS_AS(\"dns.answers.count\");"), ERR_BUILD_FIELD},
	    {EVENT("__u8 q[9] OBS_FORMAT(\"dns\"); __u8 a[9] OBS_FORMAT(\"dns\");"), ERR_BUILD_FIELD},
	    {EVENT("__u8 a[12000] OBS_FORMAT(\"plain\");"), ERR_BUILD_FIELD},
	    {"struct k { __u8 q[9] OBS_FORMAT(\"dns\"); }; struct v { int a OBS_AS(\"dns.answers\"); };\n"
	     "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, struct k);\n"
	     "	__type(value, struct v); } a SEC(\".maps\") OBS_SAMPLE(\"t.a\", 500);\n",
	     ERR_BUILD_FIELD},
	    /* what a manifest may not hold */
	    {EVENT("int a OBS_AS(\"host.id\");"), ERR_BUILD_FIELD},
	    {EVENT("__u8 q[9] OBS_AS(\"dns\") OBS_FORMAT(\"dns\"); int a OBS_AS(\"dns.latency\");"), ERR_BUILD_FIELD},
	    {"enum way { in__a = 1, out__a = 2 };\n" EVENT("enum way a;"), ERR_BUILD_FIELD},
	    {"OBS_PARAM_LIST(bool, p, 4, 0, 1, \"\", \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM_LIST(__u64, p, 513, 0, 1, \"\", \"h\");\n", ERR_BUILD_PARAMETER},
	    {"volatile __u32 p[3] SEC(\".data.params\") OBS_TAG(\"param=1\") OBS_TAG(\"min=1\") OBS_TAG(\"max=9\")\n"
	     "	OBS_TAG(\"help=h\") = {1, 0, 2};\n",
	     ERR_BUILD_PARAMETER},
	    {"enum m { m__a = 1, m__b = 5 };\nOBS_PARAM(enum m, p, 3, 0, 5, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(__u64, p, 5, (-5), 10, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(__u64, p, 5, 0, (-5), \"h\");\n", ERR_BUILD_PARAMETER},
	    {"enum b { LEAST = -5 };\nenum b use(void) { return LEAST; }\nOBS_PARAM(__u64, p, 5, 0, LEAST, \"h\");\n",
	     ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(__s64, p, 5, 0, 0xffffffffffffffff, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(int, p, 5, 10, 1, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(int, p, 5, SOME, 1, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(int, p, 5, 1, 10, \"\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(double, p, 5, 1, 10, \"h\");\n", ERR_BUILD_PARAMETER},
	    {"OBS_PARAM(int, Upper, 5, 1, 10, \"h\");\n", ERR_BUILD_PARAMETER},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct manifest *m;
		struct err e = ERR_INIT;
		if (!describe_text_of(bad[i].declarations, &m, &e))
			fail_msg("accepted: %s", bad[i].declarations);
		assert_int_equal(e.code, bad[i].code);
		assert_true(e.depth > 1); /* says where */
		manifest_free(&m);
	}
}

static void describe_an_open_end_starts_before_the_padding(void **state)
{
	struct manifest *m;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(describe_text_of(EVENT("__u32 used : 17; __u8 data[] OBS_FORMAT(\"hex\");"), &m, &e), 0);
	assert_int_equal(m->events[0].size, 19);
	check_field(&m->events[0], 0, "used", 15, 4, 0, FIELD_UINT, FORMAT_PLAIN);
	assert_int_equal(m->events[0].fields[0].bit_offset, 8);
	check_field(&m->events[0], 1, "data", 19, 0, 0, FIELD_BYTES, FORMAT_HEX);
	manifest_free(&m);
	assert_int_equal(describe_text_of(EVENT("__u32 len; __u8 data[] OBS_FORMAT(\"hex\");"), &m, &e), 0);
	assert_int_equal(m->events[0].size, 20);
	manifest_free(&m);
}

/* No compiler makes such BTF; an author may. */
static void describe_a_struct_that_holds_itself_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct manifest *m;
	uint8_t *elf;

	(void)state;
	struct object *o = compile("struct other { int a; };\nstruct self { struct other in; };\n"
				   "struct ev { struct obs_header h; struct self s; } OBS_EVENT(ev, 1, \"t.ev\");\n"
				   "OBS_RING(r, 65536);\n",
				   &elf);
	int32_t self = btf__find_by_name_kind(o->btf, "self", BTF_KIND_STRUCT);
	assert_true(self > 0);
	btf_members(btf__type_by_id(o->btf, (uint32_t)self))->type = (uint32_t)self;
	assert_int_equal(describe_object(o, &m, &e), -1);
	assert_int_equal(e.code, ERR_BUILD_FIELD);
	manifest_free(&m);
	object_free(&o);
	free(elf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(describe_every_shape_of_field),
	    cmocka_unit_test(describe_samples_have_keys_values_and_intervals),
	    cmocka_unit_test(describe_params_have_bounds_and_defaults),
	    cmocka_unit_test(describe_what_cannot_be_is_refused),
	    cmocka_unit_test(describe_an_open_end_starts_before_the_padding),
	    cmocka_unit_test(describe_a_struct_that_holds_itself_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
