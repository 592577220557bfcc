#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "keys/gate.h"
#include "tests/unit/gate_fixture.h"
#include "tests/unit/no_memory.h"

/* ---- one good bundle, of which every test breaks one thing ---- */

static const char writing[] = "static __attribute__((noinline)) long hidden(void *at) { __u64 v = 1;\n"
			      "return bpf_probe_write_user(at, &v, sizeof(v)); }\n"
			      "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0;\n"
			      "void *p = bpf_map_lookup_elem(&counts, &k); return p ? hidden(p) : 0; }\n";
static const char with_kconfig[] = "extern int CONFIG_HZ __kconfig;\n"
				   "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = CONFIG_HZ;\n"
				   "return bpf_map_lookup_elem(&counts, &k) != 0; }\n";

#define SIGNERS(...) ((struct pki *const[]){__VA_ARGS__, NULL})

static struct elf writer, configured;
static struct trust *trusted; /* alice and bob */
static struct err e;
static struct gate_seen seen;

static int setup(void **state)
{
	(void)state;
	gate_fixture_setup(PKI_NOW);
	writer = elf_compile(writing);
	configured = elf_compile(with_kconfig);
	trusted = pki_trust(alice, bob, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(writer.data);
	free(configured.data);
	trust_free(&trusted);
	gate_fixture_teardown();
	return 0;
}

static void cut_short(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	(void)der, (void)content, (void)content_size;
	*size -= 1;
}

static struct policy *policy_of(const char *json)
{
	struct policy *policy = NULL;

	assert_int_equal(policy_parse((const uint8_t *)json, strlen(json), &policy, &e), 0);
	return policy;
}

/* threshold signatures of alice and bob for a name pattern, with extra capabilities. */
static struct policy *policy_for(const char *names, unsigned threshold, const char *allow)
{
	struct cert_info info;
	char hex[2][DIGEST_HEX_BYTES], json[1024];

	cert_info(alice->cert, &info);
	digest_hex(&info.signer, hex[0]);
	cert_info(bob->cert, &info);
	digest_hex(&info.signer, hex[1]);
	snprintf(json, sizeof(json),
		 "{\"schema\":1,\"grants\":[{\"names\":[\"%s\"],\"signers\":[\"%s\",\"%s\"],\"threshold\":%u,"
		 "\"capabilities\":{\"allow\":[%s]}}]}",
		 names, hex[0], hex[1], threshold, allow);
	return policy_of(json);
}

/* On a refusal nothing is taken and nothing given. */
static void expect_gate(enum err_code code, struct gate gate, struct parts p)
{
	OWN(bundle_files) struct bundle_files *files = assemble(&p);
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	char text[2048];

	gate.trust = gate.trust ? gate.trust : trusted;
	gate.now = gate.now ? gate.now : PKI_NOW;
	e = (struct err)ERR_INIT;
	memset(&seen, 0x5a, sizeof(seen));
	int rc = gate_verify(&gate, &files, &verified, &seen, &e);
	if (e.code != code)
		fail_msg("expected %s, got %s: %s", err_name(code), err_name(e.code), err_text(&e, text, sizeof(text)));
	assert_int_equal(rc, code ? -1 : 0);
	assert_true(code ? files && !verified : !files && verified);
}

static void expect(enum err_code code, struct parts p)
{
	expect_gate(code, (struct gate){}, p);
}

/* ---- tests ---- */

static void good_bundle_passes(void **state)
{
	OWN(bundle_files) struct bundle_files *files = assemble(&(struct parts){});
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct gate gate = {.trust = trusted, .now = PKI_NOW};
	const struct cms_signer *signers;
	struct cert_info info;
	struct digest digest;

	(void)state;
	const struct bundle_file *manifest = bundle_files_manifest(files);
	assert_int_equal(digest_of(manifest->data, manifest->size, &digest, &e), 0);
	assert_int_equal(gate_verify(&gate, &files, &verified, &seen, &e), 0);
	assert_string_equal(verified_manifest(verified)->name, "obs/test");
	assert_string_equal(seen.name, "obs/test");
	assert_int_equal(seen.serial, 7);
	assert_true(digest_equal(verified_digest(verified), &digest));
	assert_true(seen.manifest_known && digest_equal(&seen.manifest, &digest));
	assert_int_equal(verified_signers(verified, &signers), 1);
	cert_info(alice->cert, &info);
	assert_true(digest_equal(&signers[0].signer, &info.signer));
	const struct bundle_file *object = verified_object(verified, &verified_manifest(verified)->objects[0]);
	assert_non_null(object);
	assert_int_equal(object->size, observer.size);
	assert_memory_equal(object->data, observer.data, observer.size);
	assert_ptr_equal(verified_manifest_file(verified), manifest);
}

static void no_signature_missing(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_MISSING, (struct parts){.unsigned_ = true});
	assert_true(seen.manifest_known);
	assert_string_equal(seen.name, "");
}

static void no_manifest_missing(void **state)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	struct verified_bundle *verified = NULL;
	struct gate gate = {.trust = trusted, .now = PKI_NOW};

	(void)state;
	assert_int_equal(bundle_files_new(&files, &e), 0);
	assert_int_equal(gate_verify(&gate, &files, &verified, &seen, &e), -1);
	assert_int_equal(e.code, ERR_MANIFEST_MISSING);
	assert_false(seen.manifest_known);
}

static void unknown_signer_untrusted(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_UNTRUSTED, (struct parts){.signers = SIGNERS(mallory)});
	assert_int_equal(seen.signer_count, 0);
	assert_int_equal(seen.aside_count, 1);
	assert_string_equal(seen.name, "");
}

static void unknown_signer_beside_a_trusted_one_set_aside(void **state)
{
	struct cert_info info;

	(void)state;
	expect(ERR_NONE, (struct parts){.signers = SIGNERS(mallory, alice)});
	assert_int_equal(seen.signer_count, 1);
	assert_int_equal(seen.aside_count, 1);
	cert_info(mallory->cert, &info);
	assert_true(digest_equal(&seen.aside[0].signer, &info.signer));
	assert_int_equal(seen.aside[0].code, ERR_SIGNATURE_UNTRUSTED);
	/* Also when it signed something else: nobody here can tell what it is worth. */
	expect(ERR_NONE, (struct parts){.signers = SIGNERS(mallory, alice), .signs_other = mallory});
}

static void changed_manifest_invalid(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_INVALID, (struct parts){.manifest = "{\"schema\": 1}"});
	assert_string_equal(seen.name, "");
}

/* Threat: an attacker adds a good signature of his own to a bundle that he changed; or hopes that one good is enough. */
static void invalid_signature_of_trusted_signer_refuses_despite_others(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_INVALID, (struct parts){.signers = SIGNERS(alice, bob), .signs_other = bob});
	expect(ERR_SIGNATURE_INVALID, (struct parts){.signers = SIGNERS(bob, alice), .signs_other = alice});
}

static void malformed_signature_refuses_despite_others(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_MALFORMED, (struct parts){.signers = SIGNERS(alice, bob), .spoil = cut_short});
	expect(ERR_SIGNATURE_MALFORMED, (struct parts){.signers = SIGNERS(mallory, bob), .spoil = cut_short});
}

/* Threat: one signer under two names counts twice, or under another's name is believed to be that one. */
static void signature_under_other_name_refused(void **state)
{
	(void)state;
	expect(ERR_SIGNATURE_NAME, (struct parts){.named_after = bob});
	expect(ERR_SIGNATURE_NAME, (struct parts){.signers = SIGNERS(alice, bob), .named_after = mallory});
	expect(ERR_SIGNATURE_NAME, (struct parts){.signers = SIGNERS(mallory, alice), .named_after = bob});
}

static void gravest_reason_told_when_none_counts(void **state)
{
	OWN(trust) struct trust *trust = pki_trust(alice, bob, NULL);
	struct cert_info info;

	(void)state;
	cert_info(bob->cert, &info);
	assert_int_equal(trust_revoke(trust, &info.signer, 1, &e), 0);
	struct gate late = {.trust = trust, .now = PKI_NOW + 2 * PKI_DAY};
	expect_gate(ERR_CERTIFICATE_REVOKED, late, (struct parts){.signers = SIGNERS(alice, bob, mallory)});
	assert_int_equal(seen.aside_count, 3);
	expect_gate(ERR_CERTIFICATE_EXPIRED, late, (struct parts){.signers = SIGNERS(alice, mallory)});
	expect_gate(ERR_SIGNATURE_UNTRUSTED, late, (struct parts){.signers = SIGNERS(mallory)});
	/* Revoked, beside one that counts. */
	expect_gate(ERR_NONE, (struct gate){.trust = trust}, (struct parts){.signers = SIGNERS(alice, bob)});
	assert_int_equal(seen.aside_count, 1);
	assert_int_equal(seen.aside[0].code, ERR_CERTIFICATE_REVOKED);
}

static void installed_bundle_outlives_its_certificate(void **state)
{
	OWN(trust) struct trust *trust = pki_trust(alice, NULL);
	struct cert_info info;

	(void)state;
	expect_gate(ERR_CERTIFICATE_EXPIRED, (struct gate){.now = PKI_NOW + 2 * PKI_DAY}, (struct parts){});
	expect_gate(ERR_NONE, (struct gate){.now = PKI_NOW + 2 * PKI_DAY, .installed = true}, (struct parts){});
	expect_gate(ERR_CERTIFICATE_NOT_YET_VALID, (struct gate){.now = PKI_NOW - 2 * PKI_DAY, .installed = true},
		    (struct parts){});
	cert_info(alice->cert, &info);
	assert_int_equal(trust_revoke(trust, &info.signer, 1, &e), 0);
	expect_gate(ERR_CERTIFICATE_REVOKED, (struct gate){.trust = trust, .installed = true}, (struct parts){});
}

static void revoked_manifest_refused_whoever_signed(void **state)
{
	OWN(trust) struct trust *trust = pki_trust(alice, bob, NULL);
	struct gate gate = {.trust = trust};

	(void)state;
	expect_gate(ERR_NONE, gate, (struct parts){.signers = SIGNERS(alice)});
	const struct digest digest = seen.manifest;
	assert_int_equal(trust_revoke(trust, &digest, 1, &e), 0);
	expect_gate(ERR_POLICY_REVOKED, gate, (struct parts){.signers = SIGNERS(alice, bob)});
	gate.installed = true;
	expect_gate(ERR_POLICY_REVOKED, gate, (struct parts){.signers = SIGNERS(bob)});
	assert_int_equal(seen.signer_count, 1);
	/* Before it is parsed, and after somebody trusted signed it. */
	expect_gate(ERR_SIGNATURE_UNTRUSTED, gate, (struct parts){.signers = SIGNERS(mallory)});
}

/* The manifest is looked at only after a signature held: garbage in it is told as such only then. */
static void signature_before_manifest(void **state)
{
	(void)state;
	expect(ERR_MANIFEST_SYNTAX, (struct parts){.signed_manifest = "{]"});
	expect(ERR_SIGNATURE_UNTRUSTED, (struct parts){.signed_manifest = "{]", .signers = SIGNERS(mallory)});
	expect(ERR_SIGNATURE_INVALID, (struct parts){.manifest = "{]"});
}

static void missing_object_refused(void **state)
{
	(void)state;
	expect(ERR_OBJECT_MISSING, (struct parts){.without_object = true});
	assert_string_equal(seen.name, "obs/test");
}

static void unlisted_object_refused(void **state)
{
	(void)state;
	expect(ERR_OBJECT_UNLISTED, (struct parts){.extra_object = "obj/x86_64/extra.bpf.o"});
	expect(ERR_OBJECT_UNLISTED, (struct parts){.extra_object = "obj/aarch64/probe.bpf.o"});
}

static void changed_object_refused(void **state)
{
	struct elf changed = observer;
	OWN_FREE uint8_t *bytes = malloc(observer.size);
	OWN_FREE uint8_t *longer = calloc(1, observer.size + 1);

	(void)state;
	assert_non_null(bytes);
	assert_non_null(longer);
	memcpy(bytes, observer.data, observer.size);
	memcpy(longer, observer.data, observer.size);
	bytes[observer.size / 2] ^= 1;
	struct text text = manifest_of(&(struct parts){});
	changed.data = bytes;
	expect(ERR_OBJECT_DIGEST, (struct parts){.shipped = &changed, .signed_manifest = text.data});
	changed = (struct elf){longer, observer.size + 1};
	expect(ERR_OBJECT_DIGEST, (struct parts){.shipped = &changed, .signed_manifest = text.data});
	free(text.data);
}

static void policy_decides_over_names_and_numbers(void **state)
{
	OWN(policy)
	struct policy *one = policy_for("obs/*", 1, ""), *two = policy_for("obs/*", 2, ""),
		      *other = policy_for("team/*", 1, ""), *none = NULL;

	(void)state;
	assert_int_equal(policy_default(&none, &e), 0);
	expect_gate(ERR_NONE, (struct gate){.policy = one}, (struct parts){});
	expect_gate(ERR_POLICY_THRESHOLD, (struct gate){.policy = two}, (struct parts){});
	expect_gate(ERR_POLICY_THRESHOLD, (struct gate){.policy = two},
		    (struct parts){.signers = SIGNERS(alice, mallory)});
	expect_gate(ERR_NONE, (struct gate){.policy = two}, (struct parts){.signers = SIGNERS(alice, bob)});
	expect_gate(ERR_NONE, (struct gate){.policy = two}, (struct parts){.signers = SIGNERS(alice, bob, mallory)});
	expect_gate(ERR_POLICY_NAME, (struct gate){.policy = other}, (struct parts){});
	expect_gate(ERR_POLICY_NAME, (struct gate){.policy = none}, (struct parts){});
}

/* One key under two certificates is one file name, and one signer. */
static void one_key_under_two_certificates_counts_once(void **state)
{
	OWN_PKI struct pki *again = pki_make((struct pki_spec){.name = "alice again", .same_key = alice});
	OWN(trust) struct trust *trust = pki_trust(alice, again, NULL);
	OWN(policy) struct policy *two = policy_for("obs/*", 2, "");
	char one[BUNDLE_PATH_MAX + 1], other[BUNDLE_PATH_MAX + 1];

	(void)state;
	signature_path(alice, one);
	signature_path(again, other);
	assert_string_equal(one, other);
	expect_gate(ERR_POLICY_THRESHOLD, (struct gate){.trust = trust, .policy = two},
		    (struct parts){.signers = SIGNERS(again)});
}

static int calls;

static int refuse_serial(void *ctx, const struct manifest *m, const struct digest *manifest, struct err *err)
{
	assert_ptr_equal(ctx, &calls);
	assert_int_equal(m->serial, 7);
	assert_true(digest_equal(manifest, &seen.manifest));
	calls++;
	return err_set(err, ERR_SERIAL_DOWNGRADE, "older");
}

static void serial_asked_after_policy_and_before_objects(void **state)
{
	OWN(policy) struct policy *other = policy_for("team/*", 1, "");
	struct gate gate = {.serial = refuse_serial, .serial_ctx = &calls};

	(void)state;
	calls = 0;
	expect_gate(ERR_SERIAL_DOWNGRADE, gate, (struct parts){.stated = &writer});
	assert_int_equal(calls, 1);
	gate.policy = other;
	expect_gate(ERR_POLICY_NAME, gate, (struct parts){});
	assert_int_equal(calls, 1);
}

static void hidden_capability_mismatch(void **state)
{
	(void)state;
	expect(ERR_CAPABILITY_MISMATCH, (struct parts){.stated = &observer, .shipped = &writer});
	expect(ERR_CAPABILITY_MISMATCH, (struct parts){.stated = &writer, .shipped = &observer});
}

static void capability_beyond_policy_refused_unless_allowed(void **state)
{
	OWN(policy) struct policy *usual = policy_for("obs/*", 1, "");
	OWN(policy) struct policy *more = policy_for("obs/*", 1, "\"helper:probe_write_user\"");

	(void)state;
	expect(ERR_CAPABILITY_REFUSED, (struct parts){.stated = &writer});
	expect_gate(ERR_CAPABILITY_REFUSED, (struct gate){.policy = usual}, (struct parts){.stated = &writer});
	expect_gate(ERR_NONE, (struct gate){.policy = more}, (struct parts){.stated = &writer});
}

static void kernel_configuration_refused(void **state)
{
	(void)state;
	expect(ERR_OBJECT_MISMATCH, (struct parts){.stated = &observer, .shipped = &configured});
}

static void object_that_is_no_elf_malformed(void **state)
{
	struct elf garbage = {(uint8_t *)(uintptr_t) "\x7f"
						     "ELF and nothing",
			      16};

	(void)state;
	expect(ERR_OBJECT_MALFORMED, (struct parts){.stated = &observer, .shipped = &garbage});
}

static void gate_without_places_for_answers_works(void **state)
{
	OWN(bundle_files) struct bundle_files *files = assemble(&(struct parts){.signers = SIGNERS(mallory)});
	OWN(bundle_files) struct bundle_files *good = assemble(&(struct parts){});
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	struct gate gate = {.trust = trusted, .now = PKI_NOW};

	(void)state;
	assert_int_equal(gate_verify(&gate, &files, &verified, NULL, NULL), -1);
	assert_null(verified);
	assert_int_equal(gate_verify(&gate, &good, &verified, NULL, NULL), 0);
}

/* Callers look at what was seen after any failure. */
static void no_memory_leaves_nothing_seen(void **state)
{
	OWN(bundle_files) struct bundle_files *files = assemble(&(struct parts){});
	struct gate gate = {.trust = trusted, .now = PKI_NOW};
	struct verified_bundle *verified = NULL;

	(void)state;
	memset(&seen, 0x5a, sizeof(seen));
	no_memory_at(1, true);
	int rc = gate_verify(&gate, &files, &verified, &seen, &e);
	no_memory_at(0, false);
	assert_int_equal(rc, -1);
	assert_int_equal(e.code, ERR_NOMEM);
	assert_int_equal(seen.signer_count + seen.aside_count, 0);
	assert_false(seen.manifest_known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(good_bundle_passes),
	    cmocka_unit_test(no_signature_missing),
	    cmocka_unit_test(no_manifest_missing),
	    cmocka_unit_test(unknown_signer_untrusted),
	    cmocka_unit_test(unknown_signer_beside_a_trusted_one_set_aside),
	    cmocka_unit_test(changed_manifest_invalid),
	    cmocka_unit_test(invalid_signature_of_trusted_signer_refuses_despite_others),
	    cmocka_unit_test(malformed_signature_refuses_despite_others),
	    cmocka_unit_test(signature_under_other_name_refused),
	    cmocka_unit_test(gravest_reason_told_when_none_counts),
	    cmocka_unit_test(installed_bundle_outlives_its_certificate),
	    cmocka_unit_test(revoked_manifest_refused_whoever_signed),
	    cmocka_unit_test(signature_before_manifest),
	    cmocka_unit_test(missing_object_refused),
	    cmocka_unit_test(unlisted_object_refused),
	    cmocka_unit_test(changed_object_refused),
	    cmocka_unit_test(policy_decides_over_names_and_numbers),
	    cmocka_unit_test(one_key_under_two_certificates_counts_once),
	    cmocka_unit_test(serial_asked_after_policy_and_before_objects),
	    cmocka_unit_test(hidden_capability_mismatch),
	    cmocka_unit_test(capability_beyond_policy_refused_unless_allowed),
	    cmocka_unit_test(kernel_configuration_refused),
	    cmocka_unit_test(object_that_is_no_elf_malformed),
	    cmocka_unit_test(gate_without_places_for_answers_works),
	    cmocka_unit_test(no_memory_leaves_nothing_seen),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
