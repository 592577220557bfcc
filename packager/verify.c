#include <string.h>
#include <time.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "bundles/base/text.h"
#include "keys/gate.h"
#include "packager/packager.h"

static const char help[] =
    "usage: obspkg verify --cert CERT [--cert CERT...] [--threshold N | --policy FILE] BUNDLE|-\n\n"
    "Everything that a host checks before it asks its kernel: format, signatures, manifest, digests, and what\n"
    "the code can do. Needs no root and no network. The exit status is 0 only if all of it holds.\n\n"
    "      --cert CERT    a trusted certificate, PEM: of a signer, or of an authority above signers\n"
    "      --threshold N  ask for N distinct signers (default: 1)\n"
    "      --policy FILE  ask what a host with this policy.json would ask: obs-policy(5)\n"
    "      --json\n";

static int load_trust(const struct options *o, struct trust **out, struct err *e)
{
	OWN(trust) struct trust *trust = NULL;

	if (trust_new(&trust, e))
		return -1;
	for (size_t i = 0; i < o->cert_count; i++) {
		OWN(cert) struct cert *cert = NULL;
		OWN_FREE uint8_t *pem = NULL;
		size_t size;

		if (file_read(o->cert[i], CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &pem, &size, e))
			return -1;
		if (cert_from_pem(pem, size, &cert, e) || trust_add(trust, cert, e))
			return err_wrap(e, "%s", o->cert[i]);
	}
	*out = TAKE_PTR(trust);
	return 0;
}

/* The policy of a host that asks these certificates, and so many of them, for every name. */
static int threshold_policy(const struct trust *trust, unsigned threshold, struct policy **out, struct err *e)
{
	char hex[DIGEST_HEX_BYTES];
	OWN_TEXT_STREAM struct text_stream s = {0};
	OWN_FREE char *json = NULL;
	size_t size;

	if (text_stream_open(&s))
		return err_errno(e, ERR_NOMEM, "policy");
	fputs("{\"schema\":1,\"grants\":[{\"names\":[\"*\"],\"signers\":[", s.f);
	for (size_t i = 0; i < trust_count(trust); i++) {
		struct cert_info info, before;
		bool again = false;

		cert_info(trust_at(trust, i), &info);
		for (size_t k = 0; k < i; k++) {
			cert_info(trust_at(trust, k), &before);
			again = again || digest_equal(&before.signer, &info.signer);
		}
		digest_hex(&info.signer, hex);
		if (!again)
			fprintf(s.f, "%s\"%s\"", i ? "," : "", hex);
	}
	fprintf(s.f, "],\"threshold\":%u}]}", threshold);
	if (text_stream_end(&s, &json, &size))
		return err_errno(e, ERR_NOMEM, "policy");
	return policy_parse((const uint8_t *)json, size, out, e);
}

/* Named, it must be there: a host without the file has another policy than the one that was asked for. */
static int read_policy(const char *path, struct policy **out, struct err *e)
{
	OWN_FREE uint8_t *json = NULL;
	size_t size;

	if (file_read(path, POLICY_MAX_BYTES, ERR_POLICY_MALFORMED, &json, &size, e))
		return -1;
	return policy_parse(json, size, out, e) ? err_wrap(e, "%s", path) : 0;
}

static void print_json(const struct options *o, const struct manifest *m, const struct gate_seen *seen)
{
	char hex[DIGEST_HEX_BYTES];

	printf("{\"file\": ");
	text_json(stdout, o->word);
	printf(", \"verified\": true, \"name\": ");
	text_json(stdout, m->name);
	printf(", \"version\": ");
	text_json(stdout, m->version);
	digest_hex(&seen->manifest, hex);
	printf(", \"serial\": %llu, \"manifest\": \"%s\", \"signers\": [", (unsigned long long)m->serial, hex);
	for (size_t i = 0; i < seen->signer_count; i++) {
		const struct cms_signer *s = &seen->signers[i];
		digest_hex(&s->signer, hex);
		printf("%s{\"signer\": \"%s\", \"subject\": ", i ? ", " : "", hex);
		text_json(stdout, s->cert.subject);
		printf(", \"algorithm\": \"%s\", \"not_after\": %lld}", s->cert.algorithm,
		       (long long)s->cert.not_after);
	}
	printf("], \"ignored\": [");
	for (size_t i = 0; i < seen->aside_count; i++) {
		digest_hex(&seen->aside[i].signer, hex);
		printf("%s{\"signer\": \"%s\", \"code\": \"%s\"}", i ? ", " : "", hex, err_name(seen->aside[i].code));
	}
	printf("], \"objects\": [");
	for (size_t i = 0; i < m->object_count; i++) {
		digest_hex(&m->objects[i].digest, hex);
		printf("%s{\"arch\": \"%s\", \"name\": \"%s\", \"sha256\": \"%s\"}", i ? ", " : "", m->objects[i].arch,
		       m->objects[i].name, hex);
	}
	printf("]}\n");
}

static void print_day(int64_t seconds)
{
	time_t t = (time_t)seconds;
	struct tm tm;
	char day[32];

	if (gmtime_r(&t, &tm) && strftime(day, sizeof(day), "%Y-%m-%d", &tm))
		printf("%s", day);
}

static void print_text(const struct manifest *m, const struct gate_seen *seen)
{
	char hex[DIGEST_HEX_BYTES];

	text_terminal(stdout, m->name, false);
	putchar(' ');
	text_terminal(stdout, m->version, false);
	digest_hex(&seen->manifest, hex);
	printf(", serial %llu\nmanifest   %s\n", (unsigned long long)m->serial, hex);
	for (size_t i = 0; i < seen->signer_count; i++) {
		const struct cms_signer *s = &seen->signers[i];
		digest_hex(&s->signer, hex);
		printf("signed by  %s  ", hex);
		text_terminal(stdout, s->cert.subject, false);
		printf(", %s, valid until ", s->cert.algorithm);
		print_day(s->cert.not_after);
		putchar('\n');
	}
	for (size_t i = 0; i < seen->aside_count; i++) {
		digest_hex(&seen->aside[i].signer, hex);
		printf("ignored    %s  %s\n", hex, err_name(seen->aside[i].code));
	}
	for (size_t i = 0; i < m->object_count; i++)
		printf("object     %s/%s, %llu bytes, %zu programs, %zu capabilities\n", m->objects[i].arch,
		       m->objects[i].name, (unsigned long long)m->objects[i].size, m->objects[i].program_count,
		       m->objects[i].capabilities.count);
	printf("verified: format, signatures, manifest, digests, signers, capabilities\n");
}

static int verify(const struct options *o, struct gate_seen *seen, struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	OWN_FREE uint8_t *tar = NULL;
	size_t size;

	if (!o->cert_count)
		return err_set(e, ERR_USAGE, "verify: --cert is needed: nothing is trusted by itself");
	if (o->threshold && o->policy)
		return err_set(e, ERR_USAGE, "verify: --threshold or --policy, not both");
	if (load_trust(o, &trust, e))
		return -1;
	if (o->policy ? read_policy(o->policy, &policy, e)
		      : o->threshold && threshold_policy(trust, o->threshold, &policy, e))
		return -1;
	if (file_read(o->word, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, &tar, &size, e))
		return -1;
	struct gate gate = {.trust = trust, .policy = policy, .now = time(NULL)};
	if (archive_take(&tar, size, &files, e) || gate_verify(&gate, &files, &verified, seen, e))
		return err_wrap(e, "%s", o->word);
	if (o->json)
		print_json(o, verified_manifest(verified), seen);
	else
		print_text(verified_manifest(verified), seen);
	return 0;
}

static int run(const struct options *o, struct err *e)
{
	OWN_FREE struct gate_seen *seen = calloc(1, sizeof(*seen));

	if (!seen)
		return err_errno(e, ERR_NOMEM, "verify");
	return trust_no_config(e) ? -1 : verify(o, seen, e);
}

const struct command command_verify = {
    .name = "verify",
    .summary = "check a bundle as far as that needs no host",
    .help = help,
    .options = OPTION_CERT | OPTION_THRESHOLD | OPTION_POLICY,
    .word = "bundle",
    .run = run,
};
