#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <obs/event.h>

#include "loader/monitor/params.h"
#include "tests/unit/kernel_fixture.h"

static struct manifest_enumerator levels[] = {{(char *)"low", 1}, {(char *)"high", -2}};
static struct manifest_enum enums[] = {{(char *)"level", levels, 2}};
static const struct manifest manifest = {.enums = enums, .enum_count = 1};

static struct manifest_param uint_param = {
    .name = (char *)"every", .kind = PARAM_UINT, .size = 4, .umin = 1, .umax = 1000, .enum_index = -1};
static struct manifest_param wide_param = {
    .name = (char *)"cgroup", .kind = PARAM_UINT, .size = 8, .umin = 0, .umax = UINT64_MAX, .enum_index = -1};
static struct manifest_param int_param = {
    .name = (char *)"nice", .kind = PARAM_INT, .size = 2, .min = -20, .max = 19, .enum_index = -1};
static struct manifest_param least_param = {
    .name = (char *)"least", .kind = PARAM_INT, .size = 8, .min = INT64_MIN, .max = INT64_MAX, .enum_index = -1};
static struct manifest_param bool_param = {.name = (char *)"on", .kind = PARAM_BOOL, .size = 1, .enum_index = -1};
static struct manifest_param enum_param = {
    .name = (char *)"level", .kind = PARAM_ENUM, .size = 4, .min = -2, .max = 1, .enum_index = 0};
static struct manifest_param text_param = {.name = (char *)"comm", .kind = PARAM_CHARS, .size = 8, .enum_index = -1};
static struct manifest_param cidr_param = {
    .name = (char *)"net", .kind = PARAM_CIDR, .size = sizeof(struct obs_cidr), .enum_index = -1};
static struct manifest_param ports_param = {
    .name = (char *)"ports", .kind = PARAM_UINT, .size = 2, .count = 3, .umin = 0, .umax = 65535, .enum_index = -1};
static struct manifest_param nets_param = {
    .name = (char *)"nets", .kind = PARAM_CIDR, .size = sizeof(struct obs_cidr), .count = 2, .enum_index = -1};

static void round_trip(const struct manifest_param *param, const char *text, const char *again)
{
	uint8_t bytes[256] = {0};
	char out[256];
	struct err e = ERR_INIT;

	if (param_parse(&manifest, param, text, bytes, &e))
		fail_msg("%s: %s", text, e.frame[0]);
	param_format(&manifest, param, bytes, out, sizeof(out));
	assert_string_equal(out, again);
	uint8_t second[256] = {0};
	assert_int_equal(param_parse(&manifest, param, out, second, &e), 0);
	assert_memory_equal(bytes, second, sizeof(bytes));
}

static void refused(const struct manifest_param *param, const char *text)
{
	uint8_t bytes[256], before[256];
	struct err e = ERR_INIT;

	memset(bytes, 0xa5, sizeof(bytes));
	memcpy(before, bytes, sizeof(bytes));
	if (param_parse(&manifest, param, text, bytes, &e) == 0)
		fail_msg("%s: \"%s\" was accepted", param->name, text);
	assert_int_equal(e.code, ERR_PARAMETER_VALUE);
	assert_non_null(strstr(e.frame[0], param->name));
	assert_memory_equal(bytes, before, sizeof(bytes));
}

static void parse_number_takes_its_range(void **state)
{
	(void)state;
	round_trip(&uint_param, "1", "1");
	round_trip(&uint_param, "0x3e8", "1000");
	round_trip(&wide_param, "18446744073709551615", "18446744073709551615");
	round_trip(&int_param, "-20", "-20");
	round_trip(&int_param, "19", "19");
	round_trip(&least_param, "-9223372036854775808", "-9223372036854775808");
	static const char *const bad[] = {"",   "0",  "1001", "-1",  "+1",  " 1",    "1 ",
					  "1x", "0x", "x",    "1.5", "1e2", "0x3e9", "99999999999999999999"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(&uint_param, bad[i]);
	refused(&wide_param, "18446744073709551616");
	refused(&int_param, "-21");
	refused(&int_param, "20");
	refused(&int_param, "--1");
	refused(&int_param, "-");
	refused(&least_param, "-9223372036854775809");
	refused(&least_param, "9223372036854775808");
}

static void parse_words_takes_only_them(void **state)
{
	(void)state;
	round_trip(&bool_param, "true", "true");
	round_trip(&bool_param, "0", "false");
	refused(&bool_param, "2");
	refused(&bool_param, "TRUE");
	refused(&bool_param, "");
	round_trip(&enum_param, "low", "low");
	round_trip(&enum_param, "high", "high");
	refused(&enum_param, "1");
	refused(&enum_param, "");
	round_trip(&text_param, "curl", "curl");
	round_trip(&text_param, "", "");
	round_trip(&text_param, "a,b=c", "a,b=c");
	refused(&text_param, "12345678");
	refused(&text_param, "a\nb");
	refused(&text_param, "a\xff");
}

static void parse_network_masks_host_bits(void **state)
{
	uint8_t bytes[sizeof(struct obs_cidr)];
	struct obs_cidr cidr;
	struct err e = ERR_INIT;

	(void)state;
	round_trip(&cidr_param, "10.1.2.3/8", "10.0.0.0/8");
	round_trip(&cidr_param, "10.1.2.3", "10.1.2.3/32");
	round_trip(&cidr_param, "0.0.0.0/0", "0.0.0.0/0");
	round_trip(&cidr_param, "2001:db8::1/33", "2001:db8::/33");
	round_trip(&cidr_param, "::1", "::1/128");
	round_trip(&cidr_param, "::/0", "::/0");
	round_trip(&cidr_param, "", "");
	static const char *const bad[] = {
	    "10.0.0.0/33", "10.0.0/8",     "::1/129",
	    "10.0.0.0/",   "/8",           "x",
	    "10.0.0.0/-1", "10.0.0.0/8/8", "1:2:3:4:5:6:7:8:9:10:11:12:13:14:15:16:17:18:19:20:21:22"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(&cidr_param, bad[i]);
	assert_int_equal(param_parse(&manifest, &cidr_param, "10.0.0.0/8", bytes, &e), 0);
	memcpy(&cidr, bytes, sizeof(cidr));
	assert_int_equal(cidr.prefix_len, 104);
	assert_int_equal(cidr.used, 1);
	assert_int_equal(cidr.address[10], 0xff);
	assert_int_equal(cidr.address[12], 10);
}

static void parse_list_takes_its_capacity(void **state)
{
	(void)state;
	round_trip(&ports_param, "80,443,8080", "80,443,8080");
	round_trip(&ports_param, "", "");
	round_trip(&nets_param, "10.0.0.0/8,2001:db8::/32", "10.0.0.0/8,2001:db8::/32");
	refused(&ports_param, "1,2,3,4");
	refused(&ports_param, "80,");
	refused(&ports_param, ",80");
	refused(&ports_param, "80,,443");
	refused(&ports_param, "80,0");
	refused(&ports_param, "65536");
	refused(&ports_param, "80, 443");
}

/* ---- in the kernel ---- */

/* Offset of a variable in .data.params, from the object's own BTF. */
static void find_variable(const char *name, struct manifest_variable *v, uint32_t size)
{
	char path[PATH_MAX];
	bool found = false;

	fixture_object_path("maps", path);
	struct bpf_object *obj = bpf_object__open(path);
	assert_non_null(obj);
	const struct btf *btf = bpf_object__btf(obj);
	int section = btf__find_by_name_kind(btf, ".data.params", BTF_KIND_DATASEC);
	assert_true(section > 0);
	const struct btf_type *t = btf__type_by_id(btf, (uint32_t)section);
	const struct btf_var_secinfo *var = btf_var_secinfos(t);
	for (unsigned i = 0; i < btf_vlen(t); i++) {
		const struct btf_type *of = btf__type_by_id(btf, var[i].type);
		if (strcmp(btf__str_by_offset(btf, of->name_off), name) != 0)
			continue;
		v->offset = var[i].offset;
		assert_int_equal(var[i].size, size);
		found = true;
	}
	assert_true(found);
	bpf_object__close(obj);
}

static struct kernel_bundle *loaded(struct verified_bundle **bundle, struct kernel_host *host)
{
	static const char *const objects[] = {"maps", NULL};
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	*bundle = fixture_bundle(&(struct fixture_spec){.name = "test/params", .serial = 1, .objects = objects});
	if (kernel_load(host, *bundle, &kb, &e))
		fail_msg("%s\n%s", e.frame[0], e.log);
	return kb;
}

/* The two parameters of tests/bpf/maps.bpf.c lie side by side: writing one must leave the other. */
static void apply_value_reaches_the_kernel_and_nothing_else(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = NULL;
	struct kernel_bundle *kb = loaded(&bundle, *state);
	struct manifest_variable every = {.object = (char *)"maps", .map = (char *)".data.params"}, ports = every;
	struct manifest_param *p = &uint_param, *q = &ports_param;
	uint8_t bytes[8], initial[8] = {0};
	char text[64];
	struct err e = ERR_INIT;

	find_variable("every", &every, 4);
	find_variable("ports", &ports, 8);
	p->variables = &every;
	q->variables = &ports;
	p->variable_count = q->variable_count = 1;
	p->initial = q->initial = initial;
	assert_int_equal(param_read(kb, p, bytes, &e), 0);
	param_format(&manifest, p, bytes, text, sizeof(text));
	assert_string_equal(text, "10");
	assert_int_equal(param_parse(&manifest, q, "80,443", bytes, &e), 0);
	assert_int_equal(param_apply(kb, q, bytes, &e), 0);
	assert_int_equal(param_parse(&manifest, p, "77", bytes, &e), 0);
	assert_int_equal(param_apply(kb, p, bytes, &e), 0);
	assert_int_equal(param_read(kb, q, bytes, &e), 0);
	param_format(&manifest, q, bytes, text, sizeof(text));
	assert_string_equal(text, "80,443");
	assert_int_equal(param_read(kb, p, bytes, &e), 0);
	param_format(&manifest, p, bytes, text, sizeof(text));
	assert_string_equal(text, "77");
	every.offset = 1 << 20;
	assert_int_equal(param_apply(kb, p, bytes, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	every.map = (char *)"hash";
	every.offset = 0;
	assert_int_equal(param_apply(kb, p, bytes, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	every.object = (char *)"other"; /* not in use: the default is what counts */
	initial[0] = 5;
	assert_int_equal(param_apply(kb, p, bytes, &e), 0);
	assert_int_equal(param_read(kb, p, bytes, &e), 0);
	assert_memory_equal(bytes, initial, 4);
	kernel_close(&kb);
}

/* A parameter of several objects: all of them have the value, or none. */
static void apply_that_fails_changes_nothing(void **state)
{
	OWN(verified_bundle) struct verified_bundle *bundle = NULL;
	struct kernel_bundle *kb = loaded(&bundle, *state);
	struct manifest_variable both[2] = {{.object = (char *)"maps", .map = (char *)".data.params"}};
	struct manifest_param *p = &uint_param;
	uint8_t bytes[8], initial[8] = {0};
	char text[64];
	struct err e = ERR_INIT;

	find_variable("every", &both[0], 4);
	both[1] = both[0];
	both[1].offset = 1 << 20;
	p->variables = both;
	p->variable_count = 2;
	p->initial = initial;
	assert_int_equal(param_parse(&manifest, p, "77", bytes, &e), 0);
	assert_int_equal(param_apply(kb, p, bytes, &e), -1);
	assert_int_equal(e.code, ERR_KERNEL_VIEW);
	assert_int_equal(param_read(kb, p, bytes, &e), 0);
	param_format(&manifest, p, bytes, text, sizeof(text));
	assert_string_equal(text, "10");
	kernel_close(&kb);
}

int main(void)
{
	static struct kernel_host host;

	fixture_host(&host);
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse_number_takes_its_range),
	    cmocka_unit_test(parse_words_takes_only_them),
	    cmocka_unit_test(parse_network_masks_host_bits),
	    cmocka_unit_test(parse_list_takes_its_capacity),
	    cmocka_unit_test_prestate(apply_value_reaches_the_kernel_and_nothing_else, &host),
	    cmocka_unit_test_prestate(apply_that_fails_changes_nothing, &host),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_host_undo();
	return failed;
}
