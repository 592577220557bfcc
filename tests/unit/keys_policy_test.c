#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bundles/base/file.h"
#include "keys/policy.h"
#include "tests/unit/no_memory.h"

#define HEX_A                       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B                       "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HEX_C                       "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define POLICY(grants)              "{\"schema\":1,\"grants\":[" grants "]}"
#define GRANT(names, signers, rest) "{\"names\":[" names "],\"signers\":[" signers "]" rest "}"
#define Q(x)                        "\"" x "\""

static struct err e;
static bool changed; /* by the last policy_grant */

static int parse(const char *json, struct policy **out)
{
	e = (struct err)ERR_INIT;
	return policy_parse((const uint8_t *)json, strlen(json), out, &e);
}

static struct policy *parsed(const char *json)
{
	struct policy *policy = NULL;
	char text[1024];

	if (parse(json, &policy))
		fail_msg("%s", err_text(&e, text, sizeof(text)));
	return policy;
}

static struct digest key(char c)
{
	struct digest d;

	memset(&d, (c - 'a' + 10) * 0x11, sizeof(d));
	return d;
}

/* Leaf first: "a" is signer a, "ac" is leaf a issued by c. */
static struct cms_signer signer(const char *chain)
{
	struct cms_signer s = {};

	for (size_t i = 0; chain[i]; i++)
		s.chain[s.chain_count++] = key(chain[i]);
	s.signer = s.chain[0];
	return s;
}

static enum err_code admit(const struct policy *policy, const char *name, const char *one, const char *other,
			   size_t *grant)
{
	struct cms_signer signers[2];
	size_t count = 0, found = 99;

	if (one)
		signers[count++] = signer(one);
	if (other)
		signers[count++] = signer(other);
	e = (struct err)ERR_INIT;
	int rc = policy_admit(policy, name, signers, count, &found, &e);
	assert_int_equal(rc, e.code ? -1 : 0);
	if (rc)
		assert_int_equal(found, 99);
	if (grant)
		*grant = found;
	return e.code;
}

static enum err_code check(const struct policy *policy, size_t grant, const char *word)
{
	char *words[] = {(char *)(uintptr_t)word};
	struct capabilities caps = {.word = words, .count = 1};

	e = (struct err)ERR_INIT;
	int rc = policy_capabilities(policy, grant, &caps, &e);
	assert_int_equal(rc, e.code ? -1 : 0);
	return e.code;
}

static void default_policy_admits_nobody(void **state)
{
	OWN(policy) struct policy *policy = NULL;

	(void)state;
	assert_int_equal(policy_default(&policy, &e), 0);
	assert_int_equal(admit(policy, "obs/network", "a", NULL, NULL), ERR_POLICY_NAME);
}

static void admit_granted_name_by_granted_signer(void **state)
{
	OWN(policy)
	struct policy *policy = parsed(POLICY(GRANT(Q("obs/net*"), Q(HEX_A), "") "," GRANT(Q("team/*"), Q(HEX_B), "")));
	size_t grant;

	(void)state;
	assert_int_equal(admit(policy, "obs/network", "a", NULL, &grant), ERR_NONE);
	assert_int_equal(grant, 0);
	assert_int_equal(admit(policy, "team/any", "b", NULL, &grant), ERR_NONE);
	assert_int_equal(grant, 1);
	assert_int_equal(admit(policy, "obs/net", "c", "a", NULL), ERR_NONE);
	assert_int_equal(admit(policy, "obs/ne", "a", NULL, NULL), ERR_POLICY_NAME);
	assert_int_equal(admit(policy, "team/any", "a", NULL, NULL), ERR_POLICY_NAME);
	assert_int_equal(admit(policy, "obs/network", "b", "c", NULL), ERR_POLICY_NAME);
	assert_int_equal(admit(policy, "obs/network", NULL, NULL, NULL), ERR_POLICY_NAME);
}

static void admit_threshold_counts_distinct_leaf_keys(void **state)
{
	OWN(policy) struct policy *policy = parsed(POLICY(GRANT(Q("*"), Q(HEX_A) "," Q(HEX_B), ",\"threshold\":2")));

	(void)state;
	assert_int_equal(admit(policy, "x/y", "a", NULL, NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(admit(policy, "x/y", "a", "a", NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(admit(policy, "x/y", "a", "ab", NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(admit(policy, "x/y", "a", "c", NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(admit(policy, "x/y", "b", "a", NULL), ERR_NONE);
}

static void admit_signer_granted_through_its_issuer(void **state)
{
	OWN(policy) struct policy *policy = parsed(POLICY(GRANT(Q("x/*"), Q(HEX_C), ",\"threshold\":2")));

	(void)state;
	assert_int_equal(admit(policy, "x/y", "ac", "bc", NULL), ERR_NONE);
	assert_int_equal(admit(policy, "x/y", "ac", "ac", NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(admit(policy, "x/y", "ac", "b", NULL), ERR_POLICY_THRESHOLD);
}

static void admit_patterns_match_whole_names(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} cases[] = {
	    {"obs/net", "obs/net", true},
	    {"obs/net", "obs/network", false},
	    {"obs/*", "obs/", true},
	    {"*", "anything/at-all", true},
	    {"*/net", "obs/net", true},
	    {"*/net", "obs/nets", false},
	    {"o*s/*t*k", "obs/network", true},
	    {"o*s/*t*z", "obs/network", false},
	    {"**/**", "a/b", true},
	    {"a*a", "a", false},
	    {"a*a", "aa", true},
	    {"*ab", "aab", true},
	    {"obs/n.t", "obs/net", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		OWN(policy) struct policy *policy = NULL;
		struct digest a = key('a');

		assert_int_equal(policy_default(&policy, &e), 0);
		assert_int_equal(policy_grant(policy, cases[i].pattern, &a, &changed, &e), 0);
		if ((admit(policy, cases[i].name, "a", NULL, NULL) == ERR_NONE) != cases[i].matches)
			fail_msg("%s against %s", cases[i].pattern, cases[i].name);
	}
}

/* Patterns that backtracking would take for ever on. */
static void admit_hostile_pattern_is_quick(void **state)
{
	OWN(policy) struct policy *policy = NULL;
	struct digest a = key('a');
	char name[128];

	(void)state;
	memset(name, 'a', 127);
	name[63] = '/';
	name[127] = '\0';
	assert_int_equal(policy_default(&policy, &e), 0);
	assert_int_equal(
	    policy_grant(policy, "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", &a, &changed, &e), 0);
	assert_int_equal(admit(policy, name, "a", NULL, NULL), ERR_POLICY_NAME);
}

static void default_capabilities_observe_only(void **state)
{
	static const char *const good[] = {
	    "helper:map_lookup_elem",
	    "helper:ringbuf_reserve",
	    "program:tracing",
	    "attach:tp_btf/sched_switch",
	    "attach:uprobe//usr/lib/libssl.so.3:SSL_read",
	    "map:ringbuf",
	    "verdict:xdp/pass",
	    "verdict:tc/ok",
	    "verdict:cgroup_skb/allow",
	    "attach:cgroup_skb/egress",
	    "attach:socket",
	    "attach:iter/task",
	    "ksym:jiffies",
	};
	static const char *const bad[] = {
	    "helper:probe_write_user",
	    "helper:override_return",
	    "helper:send_signal",
	    "helper:send_signal_thread",
	    "helper:skb_store_bytes",
	    "helper:redirect",
	    "helper:setsockopt",
	    "helper:#212",
	    "helper:trace_printk",
	    "helper:user_ringbuf_drain",
	    "helper:sys_bpf",
	    "helper:bind",
	    "program:lsm",
	    "program:struct_ops",
	    "program:ext",
	    "program:syscall",
	    "program:raw_tracepoint_writable",
	    "attach:lsm/file_open",
	    "attach:fmod_ret/x",
	    "attach:freplace/x",
	    "attach:raw_tp.w/x",
	    "attach:lsm_cgroup/x",
	    "map:struct_ops",
	    "map:sockmap",
	    "map:devmap",
	    "verdict:xdp/drop",
	    "verdict:xdp/tx",
	    "verdict:xdp/any",
	    "verdict:tc/shot",
	    "verdict:tc/redirect",
	    "verdict:cgroup_skb/deny",
	    "write:packet",
	    "write:context",
	    "kfunc:bpf_override",
	    "unheard:of",
	    "",
	    "helper:",
	    "helper:map_lookup_elemx",
	};
	OWN(policy) struct policy *policy = NULL;

	(void)state;
	assert_int_equal(policy_default(&policy, &e), 0);
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (check(policy, POLICY_NO_GRANT, good[i]))
			fail_msg("%s refused", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (check(policy, POLICY_NO_GRANT, bad[i]) != ERR_CAPABILITY_REFUSED)
			fail_msg("%s allowed", bad[i]);
}

/* Words, each once, that a policy could also say. */
static void default_allow_list_is_well_formed(void **state)
{
	(void)state;
	for (size_t i = 0; policy_default_allow[i]; i++) {
		char json[256];

		for (size_t k = 0; k < i; k++)
			if (strcmp(policy_default_allow[i], policy_default_allow[k]) == 0)
				fail_msg("%s is there twice", policy_default_allow[i]);
		snprintf(json, sizeof(json), "{\"schema\":1,\"grants\":[],\"capabilities\":{\"allow\":[\"%s\"]}}",
			 policy_default_allow[i]);
		OWN(policy) struct policy *policy = parsed(json);
		(void)policy;
	}
}

/* obs-policy(5) prints the list: whoever reads it must see what is so. */
static void default_allow_list_is_in_the_manual(void **state)
{
	OWN_FREE uint8_t *page = NULL;
	size_t size, words = 0;

	(void)state;
	if (file_read("docs/man/obs-policy.5", 1 << 20, ERR_IO, &page, &size, &e)) {
		print_message("run it in the source tree\n");
		skip();
	}
	char *list = strstr((char *)page, ".Ss Default allow list");
	assert_non_null(list);
	list = strstr(list, ".Bd ");
	char *end = list ? strstr(list, "\n.Sh ") : NULL;
	assert_non_null(end);
	*end = '\0';
	for (char *line = strtok(list, "\n"); line; line = strtok(NULL, "\n"))
		for (char *word = line[0] == '.' ? NULL : line; word; word = strchr(word, ' ')) {
			word += *word == ' ';
			size_t i = 0, len = strcspn(word, " ");
			while (policy_default_allow[i] && (strlen(policy_default_allow[i]) != len ||
							   strncmp(policy_default_allow[i], word, len) != 0))
				i++;
			if (!policy_default_allow[i])
				fail_msg("the manual has %.*s", (int)len, word);
			words++;
		}
	size_t count = 0;
	while (policy_default_allow[count])
		count++;
	assert_int_equal(words, count);
}

static void capabilities_of_grant_and_policy_add_up(void **state)
{
	OWN(policy)
	struct policy *policy = parsed("{\"schema\":1,\"grants\":["
				       "{\"names\":[\"a/*\"],\"signers\":[\"" HEX_A
				       "\"],\"capabilities\":{\"allow\":[\"helper:send_signal\"],"
				       "\"deny\":[\"program:xdp\"]}},"
				       "{\"names\":[\"b/*\"],\"signers\":[\"" HEX_B "\"]}],"
				       "\"capabilities\":{\"allow\":[\"helper:trace_*\"],\"deny\":[\"attach:kprobe/"
				       "*\",\"helper:trace_vprintk\"]}}");

	(void)state;
	assert_int_equal(check(policy, 0, "helper:send_signal"), ERR_NONE);
	assert_int_equal(check(policy, 1, "helper:send_signal"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(check(policy, POLICY_NO_GRANT, "helper:send_signal"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(check(policy, 0, "program:xdp"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(check(policy, 1, "program:xdp"), ERR_NONE);
	assert_int_equal(check(policy, 1, "helper:trace_printk"), ERR_NONE);
	assert_int_equal(check(policy, 1, "helper:trace_vprintk"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(check(policy, 0, "attach:kprobe/tcp_close"), ERR_CAPABILITY_REFUSED);
	assert_non_null(strstr(e.frame[0], "attach:kprobe/tcp_close"));
}

static void parse_wrong_policy_malformed(void **state)
{
	static const char *const bad[] = {
	    "",
	    "[]",
	    "{}",
	    "{\"schema\":1}",
	    "{\"grants\":[]}",
	    "{\"schema\":2,\"grants\":[]}",
	    "{\"schema\":\"1\",\"grants\":[]}",
	    "{\"schema\":1.0,\"grants\":[]}",
	    "{\"schema\":1,\"grants\":{}}",
	    "{\"schema\":1,\"grants\":[],\"more\":1}",
	    "{\"schema\":1,\"schema\":1,\"grants\":[]}",
	    "{\"schema\":1,\"grants\":[]} x",
	    "{\"schema\":1,\"grants\":[]}{}",
	    "{\"schema\":1,\"grants\":[1]}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":[]}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"permit\":[]}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"allow\":\"*\"}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"allow\":[\"helper\"]}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"allow\":[\"helper:\"]}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"deny\":[\":x\"]}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"deny\":[\"helper:a b\"]}}",
	    "{\"schema\":1,\"grants\":[],\"capabilities\":{\"deny\":[\"\"]}}",
	    POLICY(GRANT("", Q(HEX_A), "")),
	    POLICY(GRANT(Q("x/*"), "", "")),
	    POLICY(GRANT(Q("x/*"), Q("abc"), "")),
	    POLICY(GRANT(Q("x/*"), Q("AAAAAAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), "")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A) "," Q(HEX_A), "")),
	    POLICY(GRANT(Q("x/*"), "1", "")),
	    POLICY(GRANT(Q(""), Q(HEX_A), "")),
	    POLICY(GRANT(Q("X/Y"), Q(HEX_A), "")),
	    POLICY(GRANT(Q("x\\u0000"), Q(HEX_A), "")),
	    POLICY(GRANT(Q("\xff"), Q(HEX_A), "")),
	    POLICY(GRANT("null", Q(HEX_A), "")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":0")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":17")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":-1")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":1.5")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":\"1\"")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"threshold\":99999999999999999999")),
	    POLICY(GRANT(Q("x/*"), Q(HEX_A), ",\"treshold\":2")),
	    POLICY("{\"signers\":[\"" HEX_A "\"]}"),
	    POLICY("{\"names\":[\"x/*\"]}"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct policy *policy = NULL;

		if (!parse(bad[i], &policy))
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(e.code, ERR_POLICY_MALFORMED);
		assert_null(policy);
	}
}

static void parse_error_names_the_place(void **state)
{
	struct policy *policy = NULL;

	(void)state;
	assert_int_equal(parse(POLICY(GRANT(Q("a/*"), Q(HEX_A), "") "," GRANT(Q("b/*"), Q("zz"), "")), &policy), -1);
	assert_non_null(strstr(e.frame[0], "grants[1].signers"));
	assert_int_equal(parse("{\n \"schema\": 1,,", &policy), -1);
	assert_non_null(strstr(e.frame[0], "line 2"));
}

static void parse_deep_or_large_json_malformed(void **state)
{
	size_t size = (1 << 20) + 1;
	OWN_FREE char *deep = malloc(size);
	struct policy *policy = NULL;

	(void)state;
	assert_non_null(deep);
	memset(deep, '[', size);
	e = (struct err)ERR_INIT;
	assert_int_equal(policy_parse((uint8_t *)deep, 20000, &policy, &e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
	assert_int_equal(policy_parse((uint8_t *)deep, size, &policy, &e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
}

static void format_reads_back_equal(void **state)
{
	static const char json[] =
	    "{\"schema\":1,\"capabilities\":{\"allow\":[\"helper:trace_printk\"],\"deny\":[\"program:*\"]},\"grants\":["
	    "{\"threshold\":2,\"signers\":[\"" HEX_A "\",\"" HEX_B "\"],\"names\":[\"a/*\",\"b/c\"],"
	    "\"capabilities\":{\"deny\":[\"map:*\"]}}]}";
	OWN(policy) struct policy *first = parsed(json), *second = NULL;
	OWN_FREE char *one = NULL, *two = NULL;
	size_t size_one, size_two;

	(void)state;
	assert_int_equal(policy_format(first, &one, &size_one, &e), 0);
	assert_int_equal(strlen(one), size_one);
	assert_int_equal(one[size_one - 1], '\n');
	second = parsed(one);
	assert_int_equal(policy_format(second, &two, &size_two, &e), 0);
	assert_string_equal(one, two);
	assert_int_equal(admit(second, "b/c", "a", "b", NULL), ERR_NONE);
	assert_int_equal(admit(second, "b/c", "a", NULL, NULL), ERR_POLICY_THRESHOLD);
	assert_int_equal(check(second, 0, "map:hash"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(check(second, 0, "helper:trace_printk"), ERR_NONE);
}

static void grant_and_ungrant_edit_what_is_admitted(void **state)
{
	OWN(policy) struct policy *policy = NULL;
	struct digest a = key('a'), b = key('b');
	char names[64];

	(void)state;
	assert_int_equal(policy_default(&policy, &e), 0);
	assert_int_equal(policy_grant(policy, "obs/*", &a, &changed, &e), 0);
	assert_int_equal(policy_grant(policy, "team/x", &a, &changed, &e), 0);
	assert_true(changed);
	assert_int_equal(policy_grant(policy, "team/x", &a, &changed, &e), 0);
	assert_false(changed);
	assert_int_equal(policy_grant(policy, "obs/*", &b, &changed, &e), 0);
	policy_names_of(policy, &a, names, sizeof(names));
	assert_string_equal(names, "obs/*, team/x");
	policy_names_of(policy, &a, names, 6);
	assert_string_equal(names, "obs/*");
	assert_int_equal(admit(policy, "team/x", "a", NULL, NULL), ERR_NONE);
	assert_int_equal(admit(policy, "team/x", "b", NULL, NULL), ERR_POLICY_NAME);
	assert_int_equal(policy_ungrant(policy, &a, &e), 0);
	assert_int_equal(admit(policy, "obs/x", "a", NULL, NULL), ERR_POLICY_NAME);
	assert_int_equal(admit(policy, "obs/x", "b", NULL, NULL), ERR_NONE);
	policy_names_of(policy, &a, names, sizeof(names));
	assert_string_equal(names, "");
}

static void grant_bad_pattern_refused(void **state)
{
	OWN(policy) struct policy *policy = NULL;
	struct digest a = key('a');

	(void)state;
	assert_int_equal(policy_default(&policy, &e), 0);
	assert_int_equal(policy_grant(policy, "Obs/*", &a, &changed, &e), -1);
	assert_int_equal(e.code, ERR_USAGE);
	assert_int_equal(policy_grant(policy, "", &a, &changed, &e), -1);
}

/* A new name must not inherit what another grant may do, and one signer less must not make a threshold easier. */
static void editing_never_widens(void **state)
{
	OWN(policy)
	struct policy *policy =
	    parsed(POLICY(GRANT(Q("a/*"), Q(HEX_A), ",\"capabilities\":{\"allow\":[\"*\"]}") "," GRANT(
		Q("two/*"), Q(HEX_B) "," Q(HEX_C), ",\"threshold\":2")));
	struct digest a = key('a'), c = key('c');
	size_t grant;

	(void)state;
	assert_int_equal(policy_grant(policy, "b/*", &a, &changed, &e), 0);
	assert_int_equal(admit(policy, "b/x", "a", NULL, &grant), ERR_NONE);
	assert_int_equal(check(policy, grant, "helper:send_signal"), ERR_CAPABILITY_REFUSED);
	assert_int_equal(policy_ungrant(policy, &c, &e), 0);
	assert_int_equal(admit(policy, "two/x", "b", NULL, NULL), ERR_POLICY_THRESHOLD);
}

static void load_missing_file_is_default_and_bad_file_named(void **state)
{
	char path[] = "/tmp/obs-test-policy.XXXXXX";
	OWN(policy) struct policy *policy = NULL;
	struct policy *none = NULL;
	char text[1024];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(policy_load(AT_FDCWD, "/nonexistent/policy.json", &policy, &e), 0);
	assert_int_equal(admit(policy, "x/y", "a", NULL, NULL), ERR_POLICY_NAME);
	assert_int_equal(write(fd, "{", 1), 1);
	close(fd);
	e = (struct err)ERR_INIT;
	assert_int_equal(policy_load(AT_FDCWD, path, &none, &e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
	assert_non_null(strstr(err_text(&e, text, sizeof(text)), path));
	unlink(path);
}

static int parse_and_format_step(void *context, struct err *error)
{
	OWN(policy) struct policy *policy = NULL;
	OWN_FREE char *text = NULL;
	size_t size = 0;

	if (policy_parse(context, strlen(context), &policy, error))
		return -1;
	int status = policy_format(policy, &text, &size, error);
	/* Whole, or not at all. */
	if (!status)
		assert_non_null(strstr(text, "helper:bpf_send_signal"));
	return status;
}

static void policy_without_memory_is_an_error(void **state)
{
	char json[] = POLICY(GRANT(Q("obs/a") "," Q("obs/b-*"), Q(HEX_A) "," Q(HEX_B),
				   ",\"capabilities\":{\"allow\":[\"helper:bpf_send_signal\"],\"deny\":[]}"));

	(void)state;
	assert_true(no_memory_anywhere(parse_and_format_step, json) > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(default_policy_admits_nobody),
	    cmocka_unit_test(admit_granted_name_by_granted_signer),
	    cmocka_unit_test(admit_threshold_counts_distinct_leaf_keys),
	    cmocka_unit_test(admit_signer_granted_through_its_issuer),
	    cmocka_unit_test(admit_patterns_match_whole_names),
	    cmocka_unit_test(admit_hostile_pattern_is_quick),
	    cmocka_unit_test(default_capabilities_observe_only),
	    cmocka_unit_test(default_allow_list_is_well_formed),
	    cmocka_unit_test(default_allow_list_is_in_the_manual),
	    cmocka_unit_test(capabilities_of_grant_and_policy_add_up),
	    cmocka_unit_test(parse_wrong_policy_malformed),
	    cmocka_unit_test(parse_error_names_the_place),
	    cmocka_unit_test(parse_deep_or_large_json_malformed),
	    cmocka_unit_test(format_reads_back_equal),
	    cmocka_unit_test(grant_and_ungrant_edit_what_is_admitted),
	    cmocka_unit_test(grant_bad_pattern_refused),
	    cmocka_unit_test(editing_never_widens),
	    cmocka_unit_test(load_missing_file_is_default_and_bad_file_named),
	    cmocka_unit_test(policy_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
