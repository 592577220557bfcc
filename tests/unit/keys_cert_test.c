#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "keys/cert.h"
#include "tests/unit/pki.h"

static struct err e;

static int from_text(const char *pem, struct cert **out)
{
	e = (struct err)ERR_INIT;
	return cert_from_pem((const uint8_t *)pem, strlen(pem), out, &e);
}

static void from_pem_tells_what_is_in_it(void **state)
{
	OWN_PKI struct pki *root = pki_make((struct pki_spec){.name = "Root, \"of\" all",
							      .key = "RSA-3072",
							      .constraints = "critical,CA:TRUE",
							      .usage = "keyCertSign",
							      .extended = ""});
	OWN_PKI struct pki *leaf = pki_make((struct pki_spec){.issuer = root, .key = "P-384"});
	struct cert_info info;

	(void)state;
	cert_info(root->cert, &info);
	assert_string_equal(info.subject, "CN=Root\\, \\\"of\\\" all");
	assert_string_equal(info.algorithm, "rsa-3072");
	assert_true(info.ca);
	assert_false(info.code_signing);
	cert_info(leaf->cert, &info);
	assert_string_equal(info.algorithm, "ec-p384");
	assert_false(info.ca);
	assert_true(info.code_signing);
	assert_int_equal(info.not_before, PKI_NOW - PKI_DAY);
	assert_int_equal(info.not_after, PKI_NOW + PKI_DAY);
}

/* The identity that obs-policy(5) tells people to compute with stock tools. */
static void signer_is_digest_of_spki(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_FREE uint8_t *spki = NULL;
	struct digest expected;
	struct cert_info info;

	(void)state;
	int n = i2d_PUBKEY(a->pkey, &spki);
	assert_true(n > 0);
	assert_int_equal(digest_of(spki, (size_t)n, &expected, &e), 0);
	cert_info(a->cert, &info);
	assert_true(digest_equal(&info.signer, &expected));
}

static void signer_is_of_key_not_of_certificate(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "one"});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){.name = "two", .same_key = a});
	struct cert_info one, two;

	(void)state;
	cert_info(a->cert, &one);
	cert_info(b->cert, &two);
	assert_true(digest_equal(&one.signer, &two.signer));
	assert_false(digest_equal(&one.digest, &two.digest));
}

static void to_pem_reads_back_equal(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN(cert) struct cert *again = NULL;
	OWN_FREE char *pem = NULL;
	struct cert_info one, two;
	size_t size;

	(void)state;
	assert_int_equal(cert_to_pem(a->cert, &pem, &size, &e), 0);
	assert_int_equal(strlen(pem), size);
	assert_int_equal(from_text(pem, &again), 0);
	cert_info(a->cert, &one);
	cert_info(again, &two);
	assert_true(digest_equal(&one.digest, &two.digest));
}

static void from_pem_text_around_skipped(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_FREE char *pem = pki_cert_pem(a), *key = pki_key_pem(a), *all = NULL;
	OWN(cert) struct cert *cert = NULL;

	(void)state;
	assert_true(asprintf(&all, "the build team\n%s\nand\n%s\nbye\n", key, pem) > 0);
	assert_int_equal(from_text(all, &cert), 0);
}

static void from_pem_what_is_no_certificate_malformed(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_FREE char *key = pki_key_pem(a), *pem = pki_cert_pem(a), *two = NULL, *cut = NULL, *spoilt = NULL;
	struct cert *cert = NULL;

	(void)state;
	assert_true(asprintf(&two, "%s%s", pem, pem) > 0);
	cut = strndup(pem, strlen(pem) - 40);
	spoilt = strdup(pem);
	assert_non_null(cut);
	assert_non_null(spoilt);
	spoilt[100] = '!';
	const char *bad[] = {
	    "", "hello", key, two, cut, spoilt, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(from_text(bad[i], &cert), -1);
		assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
		assert_null(cert);
	}
}

static void from_pem_too_large_malformed(void **state)
{
	size_t size = (64 << 10) + 1;
	OWN_FREE uint8_t *big = malloc(size);
	struct cert *cert = NULL;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', size);
	assert_int_equal(cert_from_pem(big, size, &cert, &e), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
}

/* Escape sequences in a name must reach no terminal. */
static void subject_is_printable(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "a\x1b[31m\n\xc3\xa9\xe2\x80\xae z"});
	struct cert_info info;

	(void)state;
	cert_info(a->cert, &info);
	for (const char *p = info.subject; *p; p++)
		assert_true(*p >= ' ' && *p <= '~');
}

static void subject_too_long_is_cut(void **state)
{
	char longest[65];
	OWN_PKI struct pki *a = NULL;
	struct cert_info info;

	(void)state;
	for (size_t i = 0; i < 64; i++)
		longest[i] = '\x01';
	longest[64] = '\0';
	a = pki_make((struct pki_spec){.name = longest});
	cert_info(a->cert, &info);
	assert_true(strlen(info.subject) < sizeof(info.subject));
}

/* ---- the store ---- */

static void trust_same_certificate_twice_counts_once(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){.same_key = a});
	OWN(trust) struct trust *trust = pki_trust(a, b, a, NULL);
	struct cert_info expected, info;

	(void)state;
	assert_int_equal(trust_count(trust), 2);
	cert_info(b->cert, &expected);
	cert_info(trust_at(trust, 1), &info);
	assert_true(digest_equal(&expected.digest, &info.digest));
	assert_null(trust_at(trust, 2));
}

static char folder[] = "/tmp/obs-test-trust.XXXXXX";

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int folder_setup(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/obs-test-trust.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int folder_teardown(void **state)
{
	static const char *const names[] = {"a.pem", "b.pem", "c.pem", ".d.pem", "note.txt"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		unlink(path);
	}
	return rmdir(folder);
}

static int load(struct trust **out)
{
	e = (struct err)ERR_INIT;
	return trust_load(AT_FDCWD, folder, out, &e);
}

static void trust_load_reads_pem_files_in_order(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){.name = "a"});
	OWN_PKI struct pki *b = pki_make((struct pki_spec){.name = "b"});
	OWN_FREE char *pem_a = pki_cert_pem(a), *pem_b = pki_cert_pem(b);
	OWN(trust) struct trust *trust = NULL;
	struct cert_info info;

	(void)state;
	put("b.pem", pem_b);
	put("a.pem", pem_a);
	put("note.txt", "no certificate");
	put(".d.pem", "nor this");
	assert_int_equal(load(&trust), 0);
	assert_int_equal(trust_count(trust), 2);
	cert_info(trust_at(trust, 0), &info);
	assert_string_equal(info.subject, "CN=a");
	cert_info(trust_at(trust, 1), &info);
	assert_string_equal(info.subject, "CN=b");
}

static void trust_load_bad_file_named_in_error(void **state)
{
	OWN_PKI struct pki *a = pki_make((struct pki_spec){});
	OWN_FREE char *pem = pki_cert_pem(a);
	struct trust *trust = NULL;
	char text[1024];

	(void)state;
	put("a.pem", pem);
	put("b.pem", "garbage");
	assert_int_equal(load(&trust), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
	assert_non_null(strstr(err_text(&e, text, sizeof(text)), "b.pem"));
	assert_null(trust);
}

static void trust_load_fifo_refused_at_once(void **state)
{
	char path[128];
	struct trust *trust = NULL;

	(void)state;
	snprintf(path, sizeof(path), "%s/c.pem", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(load(&trust), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
}

static void trust_load_missing_folder_is_empty(void **state)
{
	OWN(trust) struct trust *trust = NULL;

	(void)state;
	assert_int_equal(trust_load(AT_FDCWD, "/nonexistent/trust.d", &trust, &e), 0);
	assert_int_equal(trust_count(trust), 0);
}

static void trust_load_of_a_file_fails(void **state)
{
	struct trust *trust = NULL;

	(void)state;
	assert_int_equal(trust_load(AT_FDCWD, "/dev/null", &trust, &e), -1);
	assert_int_equal(e.code, ERR_IO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(from_pem_tells_what_is_in_it),
	    cmocka_unit_test(signer_is_digest_of_spki),
	    cmocka_unit_test(signer_is_of_key_not_of_certificate),
	    cmocka_unit_test(to_pem_reads_back_equal),
	    cmocka_unit_test(from_pem_text_around_skipped),
	    cmocka_unit_test(from_pem_what_is_no_certificate_malformed),
	    cmocka_unit_test(from_pem_too_large_malformed),
	    cmocka_unit_test(subject_is_printable),
	    cmocka_unit_test(subject_too_long_is_cut),
	    cmocka_unit_test(trust_same_certificate_twice_counts_once),
	    cmocka_unit_test_setup_teardown(trust_load_reads_pem_files_in_order, folder_setup, folder_teardown),
	    cmocka_unit_test_setup_teardown(trust_load_bad_file_named_in_error, folder_setup, folder_teardown),
	    cmocka_unit_test_setup_teardown(trust_load_fifo_refused_at_once, folder_setup, folder_teardown),
	    cmocka_unit_test(trust_load_missing_folder_is_empty),
	    cmocka_unit_test(trust_load_of_a_file_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
