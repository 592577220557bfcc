/* Who signed, and how. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundles/archive.h"
#include "tests/reject/reject.h"

struct trust *reject_trust;
struct pki *reject_rsa, *reject_leaf;

/* Trusted, but for forger and under_forger. */
static struct pki *again, *old, *early, *tls, *useless, *gone, *weak, *odd, *root, *late_leaf, *old_root,
    *leaf_of_old_root, *under_leaf, *forger, *under_forger;

static const struct {
	const char *name;
	struct pki **signer;
	bool revoked;
} trusted[] = {
    {"alice", &alice, false},    {"again", &again, false}, {"bob", &bob, false},         {"old", &old, false},
    {"early", &early, false},    {"tls", &tls, false},     {"useless", &useless, false}, {"gone", &gone, true},
    {"weak", &weak, false},      {"odd", &odd, false},     {"root", &root, false},       {"old_root", &old_root, false},
    {"rsa", &reject_rsa, false},
};

void reject_trusted(void (*give)(void *ctx, const char *name, const struct pki *signer, bool revoked), void *ctx)
{
	for (size_t i = 0; i < ARRAY_LEN(trusted); i++)
		give(ctx, trusted[i].name, *trusted[i].signer, trusted[i].revoked);
}

static void trust_one(void *ctx, const char *name, const struct pki *signer, bool revoked)
{
	struct err e = ERR_INIT;
	struct cert_info info;

	(void)ctx;
	cert_info(signer->cert, &info);
	if (trust_add(reject_trust, signer->cert, &e)) {
		err_print(stderr, name, &e, false);
		abort();
	}
	if (revoked && trust_revoke(reject_trust, &info.signer, 1, &e))
		abort();
}

static const char authority[] = "critical,CA:TRUE", signs_certificates[] = "critical,keyCertSign";

void reject_setup(int64_t now)
{
	const int64_t from = now - 2 * PKI_DAY, to = now + 2 * PKI_DAY;
	struct err e = ERR_INIT;

	gate_fixture_setup(now);
#define MAKE(who, ...) who = pki_make((struct pki_spec){.name = #who, .not_before = from, .not_after = to, __VA_ARGS__})
	MAKE(again, .same_key = alice);
	old = pki_make((struct pki_spec){.name = "old", .not_before = from, .not_after = now - PKI_DAY});
	early = pki_make((struct pki_spec){.name = "early", .not_before = now + PKI_DAY, .not_after = to});
	MAKE(tls, .extended = "serverAuth");
	MAKE(useless, .extended = "");
	MAKE(gone, .key = "P-256");
	MAKE(weak, .key = "RSA-2048");
	MAKE(odd, .key = "P-521");
	MAKE(reject_rsa, .key = "RSA-3072");
	MAKE(root, .constraints = authority, .usage = signs_certificates, .extended = "");
	MAKE(reject_leaf, .issuer = root);
	late_leaf =
	    pki_make((struct pki_spec){.name = "late", .issuer = root, .not_before = from, .not_after = now - PKI_DAY});
	old_root = pki_make((struct pki_spec){.name = "old root",
					      .not_before = from,
					      .not_after = now - PKI_DAY,
					      .constraints = authority,
					      .usage = signs_certificates,
					      .extended = ""});
	MAKE(leaf_of_old_root, .issuer = old_root);
	MAKE(under_leaf, .issuer = alice);
	/* The name of an authority that is trusted, and another key. */
	forger = pki_make((struct pki_spec){.name = "root",
					    .not_before = from,
					    .not_after = to,
					    .constraints = authority,
					    .usage = signs_certificates,
					    .extended = ""});
	MAKE(under_forger, .issuer = forger);
#undef MAKE
	if (trust_new(&reject_trust, &e))
		abort();
	reject_trusted(trust_one, NULL);
}

void reject_teardown(void)
{
	for (size_t i = 0; i < ARRAY_LEN(trusted); i++)
		if (trusted[i].signer != &alice && trusted[i].signer != &bob)
			pki_free(trusted[i].signer);
	pki_free(&reject_leaf);
	pki_free(&late_leaf);
	pki_free(&leaf_of_old_root);
	pki_free(&under_leaf);
	pki_free(&forger);
	pki_free(&under_forger);
	trust_free(&reject_trust);
	gate_fixture_teardown();
}

char *reject_policy(void)
{
	char *json = NULL, all[4096] = "", pair[256], bobs[80];
	char hex[DIGEST_HEX_BYTES];
	struct cert_info info;

	for (size_t i = 0; i < ARRAY_LEN(trusted); i++) {
		size_t used = strlen(all);
		if (trusted[i].signer == &again)
			continue;
		cert_info((*trusted[i].signer)->cert, &info);
		digest_hex(&info.signer, hex);
		snprintf(all + used, sizeof(all) - used, "%s\"%s\"", used ? "," : "", hex);
	}
	cert_info(bob->cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(bobs, sizeof(bobs), "\"%s\"", hex);
	cert_info(alice->cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(pair, sizeof(pair), "\"%s\",%s", hex, bobs);
	if (asprintf(&json,
		     "{\"schema\":1,\"grants\":[{\"names\":[\"obs/*\"],\"signers\":[%s],\"threshold\":1},"
		     "{\"names\":[\"two/*\"],\"signers\":[%s],\"threshold\":2},"
		     "{\"names\":[\"bob/*\"],\"signers\":[%s],\"threshold\":1}]}\n",
		     all, pair, bobs) < 0)
		abort();
	return json;
}

void refuse_files(struct reject *r, enum err_code code, const char *name, const struct bundle_files *files)
{
	OWN_FREE uint8_t *tar = NULL;
	struct err e = ERR_INIT;
	size_t size;

	if (archive_write(files, 5, &tar, &size, &e)) {
		err_print(stderr, name, &e, false);
		abort();
	}
	r->take(r, code, name, tar, size);
}

void refuse(struct reject *r, enum err_code code, const char *name, struct parts p)
{
	OWN(bundle_files) struct bundle_files *files = assemble(&p);

	refuse_files(r, code, name, files);
}

/* ---- signatures that are none ---- */

static void replace(uint8_t **der, size_t *size, uint8_t *by, size_t by_size)
{
	free(*der);
	*der = by;
	*size = by_size;
}

static void cut_short(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	(void)der, (void)content, (void)content_size;
	*size -= 1;
}

static void one_more(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	uint8_t *longer = calloc(1, *size + 1);

	(void)content, (void)content_size;
	memcpy(longer, *der, *size);
	replace(der, size, longer, *size + 1);
}

static void zeros(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	(void)content, (void)content_size;
	memset(*der, 0, *size);
}

static void raw(uint8_t **der, size_t *size, const void *content, size_t content_size, unsigned flags,
		const char *digest)
{
	uint8_t *by;
	size_t by_size;

	pki_sign_raw(alice, NULL, content, content_size, flags | CMS_BINARY | CMS_NOSMIMECAP, digest, &by, &by_size);
	replace(der, size, by, by_size);
}

static void content_inside(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	raw(der, size, content, content_size, 0, "SHA256");
}

static void no_attributes(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	raw(der, size, content, content_size, CMS_DETACHED | CMS_NOATTR, "SHA256");
}

static void no_certificate(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	raw(der, size, content, content_size, CMS_DETACHED | CMS_NOCERTS, "SHA256");
}

static void sha1(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	raw(der, size, content, content_size, CMS_DETACHED, "SHA1");
}

/* The first two-digit year of the certificate's validity becomes letters. */
static void no_date(uint8_t **der, size_t *size, const void *content, size_t content_size)
{
	(void)content, (void)content_size;
	for (size_t i = 0; i + 15 < *size; i++)
		if ((*der)[i] == 0x17 && (*der)[i + 1] == 13 && (*der)[i + 14] == 'Z') {
			memcpy(*der + i + 2, "xxxx", 4);
			return;
		}
	abort();
}

static void rename_two(struct manifest *m)
{
	memcpy(m->name, "two", 3);
}

void reject_signatures(struct reject *r)
{
	refuse(r, ERR_SIGNATURE_MISSING, "nobody", (struct parts){.unsigned_ = true});
	refuse(r, ERR_SIGNATURE_UNTRUSTED, "unknown_signer", (struct parts){.signers = SIGNERS(mallory)});
	refuse(r, ERR_SIGNATURE_UNTRUSTED, "forged_authority", (struct parts){.signers = SIGNERS(under_forger)});
	refuse(r, ERR_SIGNATURE_INVALID, "other_manifest", (struct parts){.manifest = "{\"schema\": 1}"});
	refuse(r, ERR_SIGNATURE_INVALID, "of_other_bytes", (struct parts){.signs_other = alice});
	refuse(r, ERR_SIGNATURE_INVALID, "of_other_bytes_beside_a_good_one",
	       (struct parts){.signers = SIGNERS(alice, bob), .signs_other = bob});
	refuse(r, ERR_SIGNATURE_MALFORMED, "cut_short", (struct parts){.spoil = cut_short});
	refuse(r, ERR_SIGNATURE_MALFORMED, "cut_short_beside_a_good_one",
	       (struct parts){.signers = SIGNERS(mallory, alice), .spoil = cut_short});
	refuse(r, ERR_SIGNATURE_MALFORMED, "one_more_byte", (struct parts){.spoil = one_more});
	refuse(r, ERR_SIGNATURE_MALFORMED, "zeros", (struct parts){.spoil = zeros});
	refuse(r, ERR_SIGNATURE_MALFORMED, "content_inside", (struct parts){.spoil = content_inside});
	refuse(r, ERR_SIGNATURE_MALFORMED, "no_signed_attributes", (struct parts){.spoil = no_attributes});
	refuse(r, ERR_SIGNATURE_MALFORMED, "no_certificate", (struct parts){.spoil = no_certificate});
	refuse(r, ERR_SIGNATURE_ALGORITHM, "sha1", (struct parts){.spoil = sha1});
	refuse(r, ERR_SIGNATURE_ALGORITHM, "rsa_2048", (struct parts){.signers = SIGNERS(weak), .raw = true});
	refuse(r, ERR_SIGNATURE_ALGORITHM, "p521", (struct parts){.signers = SIGNERS(odd), .raw = true});
	refuse(r, ERR_SIGNATURE_NAME, "named_after_another", (struct parts){.named_after = bob});
	/* One signer twice: by two files, of which one must be misnamed, or by two certificates of one key. */
	refuse(r, ERR_SIGNATURE_NAME, "one_signer_twice",
	       (struct parts){.change = rename_two, .signers = SIGNERS(alice, alice), .named_after = bob});
	refuse(r, ERR_SIGNATURE_NAME, "one_key_under_two_certificates",
	       (struct parts){.change = rename_two, .signers = SIGNERS(again, alice), .named_after = bob});
	refuse(r, ERR_CERTIFICATE_EXPIRED, "yesterday", (struct parts){.signers = SIGNERS(old)});
	refuse(r, ERR_CERTIFICATE_EXPIRED, "below_an_authority", (struct parts){.signers = SIGNERS(late_leaf)});
	refuse(r, ERR_CERTIFICATE_EXPIRED, "the_authority", (struct parts){.signers = SIGNERS(leaf_of_old_root)});
	refuse(r, ERR_CERTIFICATE_NOT_YET_VALID, "tomorrow", (struct parts){.signers = SIGNERS(early)});
	refuse(r, ERR_CERTIFICATE_USAGE, "for_servers", (struct parts){.signers = SIGNERS(tls)});
	refuse(r, ERR_CERTIFICATE_USAGE, "for_nothing", (struct parts){.signers = SIGNERS(useless)});
	refuse(r, ERR_CERTIFICATE_USAGE, "issued_by_no_authority", (struct parts){.signers = SIGNERS(under_leaf)});
	refuse(r, ERR_CERTIFICATE_REVOKED, "signer", (struct parts){.signers = SIGNERS(gone)});
	refuse(r, ERR_CERTIFICATE_REVOKED, "gravest_of_several",
	       (struct parts){.signers = SIGNERS(gone, old, mallory)});
	refuse(r, ERR_CERTIFICATE_MALFORMED, "validity_is_no_date", (struct parts){.spoil = no_date});
	refuse(r, ERR_NONE, "below_an_authority", (struct parts){.signers = SIGNERS(reject_leaf)});
}

/* ---- too few, or not theirs ---- */

static void rename_bobs(struct manifest *m)
{
	memcpy(m->name, "bob", 3);
}

static void rename_other(struct manifest *m)
{
	memcpy(m->name, "oth", 3);
}

void reject_policies(struct reject *r)
{
	refuse(r, ERR_POLICY_NAME, "granted_to_nobody", (struct parts){.change = rename_other});
	refuse(r, ERR_POLICY_NAME, "granted_to_another", (struct parts){.change = rename_bobs});
	refuse(r, ERR_POLICY_THRESHOLD, "one_of_two", (struct parts){.change = rename_two});
	refuse(r, ERR_POLICY_THRESHOLD, "second_is_unknown",
	       (struct parts){.change = rename_two, .signers = SIGNERS(alice, mallory)});
	refuse(r, ERR_POLICY_THRESHOLD, "second_is_not_granted",
	       (struct parts){.change = rename_two, .signers = SIGNERS(alice, reject_leaf)});
	refuse(r, ERR_POLICY_THRESHOLD, "other_certificate_of_the_same_key",
	       (struct parts){.change = rename_two, .signers = SIGNERS(again)});
	refuse(r, ERR_NONE, "two_of_two", (struct parts){.change = rename_two, .signers = SIGNERS(alice, bob)});
}
