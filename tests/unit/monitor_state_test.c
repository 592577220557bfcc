#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "loader/monitor/state_json.h"
#include "tests/unit/folder_fixture.h"
#include "tests/unit/no_memory.h"

static bool exists(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static void fill(struct state *s)
{
	struct err e = ERR_INIT;
	struct state_bundle *b;

	snprintf(s->boot_id, sizeof(s->boot_id), "0b5e6f10-0000-4000-8000-000000000000");
	assert_int_equal(state_add(s, "obs/network", &b, &e), 0);
	b->highest = 7;
	memset(&b->highest_digest, 0x71, sizeof(b->highest_digest));
	b->installed = true;
	b->serial = 5;
	memset(&b->digest, 0x51, sizeof(b->digest));
	snprintf(b->version, sizeof(b->version), "1.2 \"beta\"");
	b->installed_at = 1700000000;
	memset(&b->signers[0], 0xab, sizeof(b->signers[0]));
	b->signer_count = 1;
	assert_int_equal(state_param_set(b, "every", "10", &e), 0);
	assert_int_equal(state_param_set(b, "ports", "", &e), 0);
	assert_int_equal(state_add(s, "obs/removed", &b, &e), 0);
	b->highest = 3;
}

static void open_missing_is_empty(void **unused)
{
	struct state s = STATE_INIT;
	struct err e = ERR_INIT;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	assert_int_equal(s.count, 0);
	assert_string_equal(s.boot_id, "");
	assert_true(s.missing);
	assert_string_equal(s.damage, "");
	state_free(&s);
}

static void save_then_open_is_equal(void **unused)
{
	struct state s = STATE_INIT, again = STATE_INIT;
	struct err e = ERR_INIT;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	fill(&s);
	assert_int_equal(state_save(&s, &e), 0);
	assert_int_equal(state_open(folder, &again, &e), 0);
	assert_int_equal(again.count, 2);
	const struct state_bundle *a = state_find(&s, "obs/network"), *b = state_find(&again, "obs/network");
	assert_non_null(b);
	assert_string_equal(again.boot_id, s.boot_id);
	assert_true(b->highest == 7 && b->serial == 5 && b->installed && b->installed_at == 1700000000);
	assert_memory_equal(&a->digest, &b->digest, sizeof(a->digest));
	assert_memory_equal(&a->highest_digest, &b->highest_digest, sizeof(a->digest));
	assert_string_equal(b->version, "1.2 \"beta\"");
	assert_int_equal(b->signer_count, 1);
	assert_string_equal(state_param_get(b, "every"), "10");
	assert_string_equal(state_param_get(b, "ports"), "");
	assert_null(state_param_get(b, "other"));
	b = state_find(&again, "obs/removed");
	assert_true(b && !b->installed && b->highest == 3);
	state_free(&s);
	state_free(&again);
}

static void save_failed_rename_keeps_the_old_one(void **unused)
{
	struct state s = STATE_INIT, again = STATE_INIT;
	struct err e = ERR_INIT;
	struct state_bundle *b;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	fill(&s);
	assert_int_equal(state_save(&s, &e), 0);
	assert_int_equal(state_add(&s, "obs/third", &b, &e), 0);
	b->highest = 1;
	folder_rename_fails = folder_is_full;
	assert_int_equal(state_save(&s, &e), -1);
	assert_int_equal(e.code, ERR_STATE_IO);
	assert_int_equal(e.errnum, ENOSPC);
	assert_int_equal(state_open(folder, &again, &e), 0);
	assert_int_equal(again.count, 2);
	state_free(&s);
	state_free(&again);
}

#define HEX "abababababababababababababababababababababababababababababababab"

static void open_malformed_is_empty_and_says_so(void **unused)
{
	static const struct {
		const char *json;
		enum err_code code;
	} cases[] = {
	    {"", ERR_STATE_CORRUPT},
	    {"{", ERR_STATE_CORRUPT},
	    {"[]", ERR_STATE_CORRUPT},
	    {"{\"schema\":2,\"boot_id\":\"\",\"bundles\":[]}", ERR_STATE_VERSION},
	    {"{\"schema\":\"1\",\"boot_id\":\"\",\"bundles\":[]}", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[],\"x\":1}", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"schema\":1,\"boot_id\":\"\",\"bundles\":[]}", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[]} x", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"bundles\":[]}", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":{}}", ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[{\"name\":\"a/../b\",\"highest\":1,\"highest_digest\":\"" HEX
	     "\"}]}",
	     ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[{\"name\":\"a/b\",\"highest\":0,\"highest_digest\":\"" HEX
	     "\"}]}",
	     ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[{\"name\":\"a/b\",\"highest\":1,\"highest_digest\":\"AB\"}]}",
	     ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[{\"name\":\"a/b\",\"highest\":1,\"highest_digest\":\"" HEX
	     "\"},{\"name\":\"a/b\",\"highest\":1,\"highest_digest\":\"" HEX "\"}]}",
	     ERR_STATE_CORRUPT},
	    {"{\"schema\":1,\"boot_id\":\"\",\"bundles\":[{\"name\":\"a/b\",\"highest\":1,\"highest_digest\":\"" HEX
	     "\",\"installed\":{\"serial\":2,\"digest\":\"" HEX
	     "\",\"version\":\"\",\"at\":1,\"signers\":[],\"parameters\":{}}}]}",
	     ERR_STATE_CORRUPT},
	};

	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct state s = STATE_INIT;
		struct err e = ERR_INIT;
		folder_write("state.json", cases[i].json, strlen(cases[i].json));
		if (cases[i].code == ERR_STATE_CORRUPT) {
			assert_int_equal(state_open(folder, &s, &e), 0);
			assert_string_not_equal(s.damage, "");
			assert_int_equal(s.count, 0);
			assert_false(s.missing);
			state_free(&s);
			continue;
		}
		assert_int_equal(state_open(folder, &s, &e), -1);
		assert_int_equal(e.code, cases[i].code);
		assert_int_equal(s.dir_fd, -1);
	}
}

static void store_then_stored_gives_the_bytes(void **unused)
{
	struct state s = STATE_INIT;
	struct err e = ERR_INIT;
	char bytes[8] = "";
	int fd = -1;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	assert_int_equal(state_store(&s, "obs/network", 5, "bundle", 6, &e), 0);
	assert_int_equal(state_stored(&s, "obs/network", 5, &fd, &e), 0);
	assert_int_equal(read(fd, bytes, sizeof(bytes)), 6);
	assert_string_equal(bytes, "bundle");
	close(fd);
	assert_int_equal(state_stored(&s, "obs/network", 6, &fd, &e), -1);
	assert_int_equal(e.code, ERR_STATE_CORRUPT);
	assert_int_equal(state_unstore(&s, "obs/network", 5, &e), 0);
	assert_int_equal(state_unstore(&s, "obs/network", 5, &e), 0);
	assert_false(exists("bundles"));
	state_free(&s);
}

static void store_name_outside_is_refused(void **unused)
{
	struct state s = STATE_INIT;
	struct err e = ERR_INIT;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	assert_int_equal(state_store(&s, "../up", 5, "bundle", 6, &e), -1);
	assert_int_equal(state_store(&s, "plain", 5, "bundle", 6, &e), -1);
	state_free(&s);
}

static void sweep_removes_what_state_does_not_name(void **unused)
{
	struct state s = STATE_INIT;
	struct err e = ERR_INIT;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	fill(&s);
	assert_int_equal(state_store(&s, "obs/network", 5, "a", 1, &e), 0);
	assert_int_equal(state_store(&s, "obs/network", 6, "b", 1, &e), 0);
	assert_int_equal(state_store(&s, "obs/removed", 3, "c", 1, &e), 0);
	assert_int_equal(state_store(&s, "gone/away", 1, "d", 1, &e), 0);
	folder_write(".state.json.0123456789abcdef", "x", 1);
	assert_int_equal(state_sweep(&s, &e), 0);
	assert_true(exists("bundles/obs/network/5.tar"));
	assert_false(exists("bundles/obs/network/6.tar"));
	assert_false(exists("bundles/obs/removed"));
	assert_false(exists("bundles/gone"));
	assert_false(exists(".state.json.0123456789abcdef"));
	state_free(&s);
}

static void sweep_removes_folders_of_an_install_that_came_no_further(void **unused)
{
	struct state s = STATE_INIT;
	struct err e = ERR_INIT;

	(void)unused;
	assert_int_equal(state_open(folder, &s, &e), 0);
	assert_int_equal(mkdirat(s.dir_fd, "bundles", 0700), 0);
	assert_int_equal(state_sweep(&s, &e), 0);
	assert_false(exists("bundles"));
	assert_int_equal(mkdirat(s.dir_fd, "bundles", 0700), 0);
	assert_int_equal(mkdirat(s.dir_fd, "bundles/obs", 0700), 0);
	assert_int_equal(state_sweep(&s, &e), 0);
	assert_false(exists("bundles"));
	state_free(&s);
}

static int parse_and_format_step(void *context, struct err *e)
{
	struct state state = STATE_INIT;
	OWN_FREE char *text = NULL;
	int status = state_parse(context, strlen(context), &state, e) || state_format(&state, &text, e) ? -1 : 0;

	/* Whole, or not at all: what is missing from the file is forgotten for good. */
	if (!status)
		assert_string_equal(text, context);
	state_free(&state);
	return status;
}

static void state_without_memory_is_an_error(void **state)
{
	struct err e = ERR_INIT;
	struct state all = STATE_INIT;
	OWN_FREE char *text = NULL;
	struct state_bundle *b;

	(void)state;
	assert_int_equal(state_add(&all, "obs/removed", &b, &e), 0);
	b->highest = 3;
	assert_int_equal(state_add(&all, "obs/network", &b, &e), 0);
	b->highest = b->serial = 9;
	b->installed = true;
	b->signer_count = 2;
	snprintf(b->version, sizeof(b->version), "1.0");
	assert_int_equal(state_param_set(b, "every", "a value that is long enough to grow", &e), 0);
	assert_int_equal(state_format(&all, &text, &e), 0);
	state_free(&all);
	assert_true(no_memory_anywhere(parse_and_format_step, text) > 50);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_set_up, folder_tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(open_missing_is_empty),
	    TEST(save_then_open_is_equal),
	    TEST(save_failed_rename_keeps_the_old_one),
	    TEST(open_malformed_is_empty_and_says_so),
	    TEST(store_then_stored_gives_the_bytes),
	    TEST(store_name_outside_is_refused),
	    TEST(sweep_removes_what_state_does_not_name),
	    TEST(sweep_removes_folders_of_an_install_that_came_no_further),
	    TEST(state_without_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
