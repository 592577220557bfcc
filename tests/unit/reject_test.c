/* Every bundle of tests/reject through the archive reader and the gate, as a daemon takes it, and the good one with each
 * bit changed.
 *
 *	reject                 runs all
 *	reject write FOLDER    writes one file a bundle, <code>~<name>.tar (ok~... is at a limit, and accepted), what a host
 *	                       trusts into etc/, and good bundles of growing serials, good-6.tar to good-13.tar
 *
 * OBS_REJECT_SEED chooses the places that are changed in objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "keys/gate.h"
#include "tests/reject/archive.h"
#include "tests/reject/reject.h"

static struct policy *policy;
static int64_t now;

void reject_archives(struct reject *r)
{
	OWN(bundle_files) struct bundle_files *good = assemble(&(struct parts){});

	for (size_t i = 0; i < ARCHIVE_VARIANT_COUNT; i++) {
		struct tar t = {0};
		archive_variant(&archive_variants[i], good, &t);
		r->take(r, archive_variants[i].code, archive_variants[i].name, t.data, t.size);
		tar_free(&t);
	}
}

/* ---- the gate ---- */

/* Steps 2 to 5 and 7: what a host decides without its memory and its kernel. */
static enum err_code judge(const uint8_t *tar, size_t size, struct err *e)
{
	const struct gate gate = {.trust = reject_trust, .policy = policy, .now = now};
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(verified_bundle) struct verified_bundle *verified = NULL;

	*e = (struct err)ERR_INIT;
	if (archive_read(tar, size, &files, e) || gate_verify(&gate, &files, &verified, NULL, e))
		return e->code;
	return ERR_NONE;
}

struct tally {
	struct reject reject;
	size_t wrong, total;
};

static void take(struct reject *r, enum err_code code, const char *name, const uint8_t *tar, size_t size)
{
	struct tally *tally = (struct tally *)r;
	struct err e;
	char said[2048];

	tally->total++;
	if (judge(tar, size, &e) == code)
		return;
	tally->wrong++;
	print_error("%s: expected %s, got %s: %s\n", name, err_name(code), err_name(e.code),
		    err_text(&e, said, sizeof(said)));
}

static void expect(void (*give)(struct reject *r))
{
	struct tally tally = {.reject = {.take = take}};

	give(&tally.reject);
	print_message("%zu bundles\n", tally.total);
	assert_true(tally.total > 0);
	assert_int_equal(tally.wrong, 0);
}

static void archives_that_break_the_format_refused(void **state)
{
	(void)state;
	expect(reject_archives);
}

static void signatures_that_do_not_hold_refused(void **state)
{
	(void)state;
	expect(reject_signatures);
}

static void signers_that_may_not_sign_refused(void **state)
{
	(void)state;
	expect(reject_policies);
}

static void manifests_that_break_the_format_refused(void **state)
{
	(void)state;
	expect(reject_manifests);
}

static void objects_that_are_not_as_stated_refused(void **state)
{
	(void)state;
	expect(reject_objects);
}

static void sizes_past_each_limit_refused(void **state)
{
	(void)state;
	expect(reject_limits);
}

static void numbers_past_each_limit_of_a_manifest_refused(void **state)
{
	(void)state;
	expect(reject_manifest_limits);
}

/* ---- the good one, changed ---- */

struct good {
	uint8_t *tar;
	size_t size;
	struct bundle_files *files;
};

static struct good good_of(struct pki *const *signers)
{
	struct err e = ERR_INIT;
	struct good g = {.files = assemble(&(struct parts){.signers = signers})};

	assert_int_equal(archive_write(g.files, 5, &g.tar, &g.size, &e), 0);
	assert_int_equal(judge(g.tar, g.size, &e), ERR_NONE);
	return g;
}

static void good_free(struct good *g)
{
	free(g->tar);
	bundle_files_free(&g->files);
}

/* Where the bytes of a file stand. */
static size_t offset_of(const struct good *g, size_t index)
{
	size_t at = TAR_BLOCK;

	for (size_t i = 0; i < index; i++)
		at += TAR_BLOCK + (g->files->file[i].size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
	return at;
}

static enum err_code flipped(const struct good *g, size_t bit)
{
	struct err e;

	g->tar[bit / 8] ^= (uint8_t)(1 << bit % 8);
	enum err_code code = judge(g->tar, g->size, &e);
	g->tar[bit / 8] ^= (uint8_t)(1 << bit % 8);
	return code;
}

static void good_bundle_cut_anywhere_truncated(void **state)
{
	struct good g = good_of(NULL);

	(void)state;
	for (size_t size = 0; size < g.size; size++) {
		OWN_FREE uint8_t *exact = malloc(size ? size : 1);
		struct err e;
		memcpy(exact, g.tar, size);
		if (judge(exact, size, &e) != ERR_ARCHIVE_TRUNCATED)
			fail_msg("%zu of %zu bytes: %s", size, g.size, err_name(e.code));
	}
	good_free(&g);
}

static void good_bundle_with_anything_behind_it_trailing(void **state)
{
	struct good g = good_of(NULL);
	uint8_t *longer = calloc(1, g.size + 4 * TAR_BLOCK);

	(void)state;
	memcpy(longer, g.tar, g.size);
	for (size_t more = 1; more < 4 * TAR_BLOCK; more++)
		for (int value = 0; value < 256; value += 255) {
			struct err e;
			memset(longer + g.size, value, more);
			if (judge(longer, g.size + more, &e) != ERR_ARCHIVE_TRAILING)
				fail_msg("%zu bytes of %d: %s", more, value, err_name(e.code));
		}
	free(longer);
	good_free(&g);
}

/* Headers, padding, end: the archive's reader refuses these, for whatever reason it sees first. */
static void any_bit_flipped_around_files_refused(void **state)
{
	struct good g = good_of(NULL);
	size_t count = 0;

	(void)state;
	for (size_t byte = 0, file = 0; byte < g.size; byte++) {
		size_t at = file < g.files->count ? offset_of(&g, file) : g.size;
		if (byte == at) {
			byte += g.files->file[file++].size - 1;
			continue;
		}
		for (size_t bit = 0; bit < 8; bit++, count++) {
			enum err_code code = flipped(&g, 8 * byte + bit);
			if (err_status(code) != 10)
				fail_msg("byte %zu, bit %zu: %s", byte, bit, err_name(code));
		}
	}
	print_message("%zu bits\n", count);
	good_free(&g);
}

static void any_bit_flipped_in_the_manifest_invalid(void **state)
{
	struct good g = good_of(NULL);
	size_t from = 8 * offset_of(&g, 0), bits = 8 * g.files->file[0].size;

	(void)state;
	for (size_t bit = from; bit < from + bits; bit++) {
		enum err_code code = flipped(&g, bit);
		if (code != ERR_SIGNATURE_INVALID)
			fail_msg("bit %zu: %s", bit - from, err_name(code));
	}
	print_message("%zu bits\n", bits);
	good_free(&g);
}

/* Each kind of key. What a flipped bit means depends on where it is; that no signature holds is what counts. */
static void any_bit_flipped_in_a_signature_refused(void **state)
{
	struct pki **signer = *state;
	struct good g = good_of(SIGNERS(*signer));
	size_t from = 8 * offset_of(&g, 1), bits = 8 * g.files->file[1].size, seen[ERR_CODE_COUNT] = {0};

	for (size_t bit = from; bit < from + bits; bit++) {
		enum err_code code = flipped(&g, bit);
		seen[code]++;
		if (err_status(code) != 11)
			fail_msg("bit %zu: %s", bit - from, err_name(code));
	}
	for (enum err_code code = 0; code < ERR_CODE_COUNT; code++)
		if (seen[code])
			print_message("%zu %s\n", seen[code], err_name(code));
	good_free(&g);
}

/* xorshift64: the same places for the same seed, on any machine. */
static uint64_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void bits_flipped_in_an_object_other_digest(void **state)
{
	struct good g = good_of(NULL);
	const char *given = getenv("OBS_REJECT_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : 20261122;
	size_t from = 8 * offset_of(&g, 2), bits = 8 * g.files->file[2].size;

	(void)state;
	assert_true(seed);
	print_message("OBS_REJECT_SEED=%llu\n", (unsigned long long)seed);
	for (int i = 0; i < 10000; i++) {
		size_t bit = from + draw(&seed) % bits;
		enum err_code code = flipped(&g, bit);
		if (code != ERR_OBJECT_DIGEST)
			fail_msg("bit %zu: %s", bit - from, err_name(code));
	}
	good_free(&g);
}

/* ---- for a host ---- */

static int folder;

static void write_file(const char *path, const void *data, size_t size)
{
	struct err e = ERR_INIT;
	OWN_FD int fd = openat(folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0 || file_write_fd(fd, data, size, &e)) {
		perror(path);
		exit(1);
	}
}

static void write_tar(struct reject *r, enum err_code code, const char *name, const uint8_t *tar, size_t size)
{
	char path[160];

	(void)r;
	snprintf(path, sizeof(path), "%s~%s.tar", err_name(code), name);
	write_file(path, tar, size);
}

static void write_signer(void *ctx, const char *name, const struct pki *signer, bool revoked)
{
	char path[80], hex[DIGEST_HEX_BYTES];
	char *pem = pki_cert_pem(signer);
	struct cert_info info;

	(void)ctx;
	snprintf(path, sizeof(path), "etc/trust.d/%s.pem", name);
	write_file(path, pem, strlen(pem));
	free(pem);
	cert_info(signer->cert, &info);
	digest_hex(&info.signer, hex);
	if (revoked)
		write_file("etc/revoked", hex, strlen(hex));
}

static uint64_t serial;

static void set_serial(struct manifest *m)
{
	m->serial = serial;
}

static void write_good(void)
{
	OWN(bundle_files) struct bundle_files *good = assemble(&(struct parts){.change = set_serial});
	OWN_FREE uint8_t *tar = NULL;
	struct err e = ERR_INIT;
	char path[32];
	size_t size;

	if (archive_write(good, 5, &tar, &size, &e))
		exit(err_print(stderr, "reject", &e, false));
	snprintf(path, sizeof(path), "good-%llu.tar", (unsigned long long)serial);
	write_file(path, tar, size);
}

static int write_all(const char *path)
{
	static char program[32];
	struct reject r = {.take = write_tar, .host = true};

	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0 || mkdirat(folder, "etc", 0755) || mkdirat(folder, "etc/trust.d", 0755)) {
		perror(path);
		return 1;
	}
	snprintf(program, sizeof(program), "reject_%d", (int)getpid());
	gate_fixture_program = program;
	reject_setup(now);
	char *json = reject_policy();
	write_file("etc/policy.json", json, strlen(json));
	free(json);
	reject_trusted(write_signer, NULL);
	for (serial = 6; serial <= 13; serial++)
		write_good();
	reject_archives(&r);
	reject_signatures(&r);
	reject_policies(&r);
	reject_manifests(&r);
	reject_objects(&r);
	reject_host(&r);
	reject_limits(&r);
	reject_teardown();
	return 0;
}

static int setup(void **state)
{
	struct err e = ERR_INIT;
	char *json;

	(void)state;
	reject_setup(now);
	json = reject_policy();
	assert_int_equal(policy_parse((const uint8_t *)json, strlen(json), &policy, &e), 0);
	free(json);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	policy_free(&policy);
	reject_teardown();
	return 0;
}

#define SIGNATURE(kind, signer)                                                                                        \
	{                                                                                                              \
		.name = "any_bit_flipped_in_a_signature_" #kind "_refused",                                            \
		.test_func = any_bit_flipped_in_a_signature_refused, .initial_state = &(signer)                        \
	}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(archives_that_break_the_format_refused),
	    cmocka_unit_test(signatures_that_do_not_hold_refused),
	    cmocka_unit_test(signers_that_may_not_sign_refused),
	    cmocka_unit_test(manifests_that_break_the_format_refused),
	    cmocka_unit_test(objects_that_are_not_as_stated_refused),
	    cmocka_unit_test(sizes_past_each_limit_refused),
	    cmocka_unit_test(numbers_past_each_limit_of_a_manifest_refused),
	    cmocka_unit_test(good_bundle_cut_anywhere_truncated),
	    cmocka_unit_test(good_bundle_with_anything_behind_it_trailing),
	    cmocka_unit_test(any_bit_flipped_around_files_refused),
	    cmocka_unit_test(any_bit_flipped_in_the_manifest_invalid),
	    SIGNATURE(p256, alice),
	    SIGNATURE(rsa, reject_rsa),
	    SIGNATURE(below_an_authority, reject_leaf),
	    cmocka_unit_test(bits_flipped_in_an_object_other_digest),
	};

	now = time(NULL);
	if (argc == 3 && strcmp(argv[1], "write") == 0)
		return write_all(argv[2]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
