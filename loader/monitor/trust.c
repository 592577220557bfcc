#include "loader/monitor/trust.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/base/file.h"

enum { PREFIX_LEAST = 8, FILE_NAME_BYTES = 160 };

static int open_config(const struct bundles *b, int *out_fd, struct err *e)
{
	int fd = open(b->admit.config_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", b->admit.config_dir);
	*out_fd = fd;
	return 0;
}

int trust_store_sweep(const char *config_dir, struct err *e)
{
	OWN_FD int fd = open(config_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", config_dir);
	if (file_sweep_at(fd, ".", e) || file_sweep_at(fd, "trust.d", e))
		return err_wrap(e, "%s", config_dir);
	return 0;
}

/* By key and certificate: stored signatures carry the certificate that they were made with, and it alone makes them hold, so one
 * that is renewed for its key does not take its place. */
static void file_of(const struct cert_info *info, char name[static FILE_NAME_BYTES])
{
	char signer[DIGEST_HEX_BYTES], cert[DIGEST_HEX_BYTES];

	digest_hex(&info->signer, signer);
	digest_hex(&info->digest, cert);
	snprintf(name, FILE_NAME_BYTES, "trust.d/%s.%s.pem", signer, cert);
}

/* struct state_bundle is what audit entries are about; here it carries the signer. */
static struct state_bundle about_signer(const struct digest *signer)
{
	struct state_bundle about;

	memset(&about, 0, sizeof(about));
	about.signers[0] = *signer;
	about.signer_count = 1;
	return about;
}

int trust_read_certificate(int fd, struct cert **out, struct err *e)
{
	OWN_FREE uint8_t *pem = NULL;
	size_t size;

	if (file_read_fd_again(fd, CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &pem, &size, e))
		return err_wrap(e, "the certificate");
	return cert_from_pem(pem, size, out, e);
}

static int write_policy(int config_fd, const char *json, size_t size, struct err *e)
{
	return file_replace_at(config_fd, "policy.json", json, size, 0644, e);
}

static int check_pattern(const char *pattern, struct err *e)
{
	size_t valid = strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789._-/*");

	if (pattern[valid])
		return err_set(e, ERR_USAGE, "names \"%s\": only letters a-z, digits, and . _ - / * are taken",
			       pattern);
	return 0;
}

static bool trust_stores(const struct trust *trust, const struct cert_info *info)
{
	for (size_t i = 0; i < trust_count(trust); i++) {
		struct cert_info one;
		cert_info(trust_at(trust, i), &one);
		if (digest_equal(&one.digest, &info->digest))
			return true;
	}
	return false;
}

/* Certificate first: a grant for a signer whose certificate is missing would admit nothing, and the other way round
 * neither. */
static int write_both(const struct cert *cert, const struct cert_info *info, const char *policy, size_t policy_size,
		      int config_fd, struct err *e)
{
	char name[FILE_NAME_BYTES];
	OWN_FREE char *pem = NULL;
	size_t size;

	file_of(info, name);
	if (cert_to_pem(cert, &pem, &size, e))
		return -1;
	if (mkdirat(config_fd, "trust.d", 0755) && errno != EEXIST)
		return err_errno(e, ERR_IO, "trust.d");
	if (file_replace_at(config_fd, name, pem, size, 0644, e) || write_policy(config_fd, policy, policy_size, e))
		return -1;
	return 0;
}

int trust_store_add(struct bundles *b, const struct bundles_request *request, int pem_fd, const char *pattern,
		    struct cert_info *out, char names[static TRUST_NAMES_BYTES], struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	OWN_FREE char *json = NULL;
	OWN_FD int config_fd = -1;
	struct cert_info info;
	size_t size;
	bool granted;

	if (!pattern[0])
		pattern = "*";
	if (check_pattern(pattern, e) || trust_read_certificate(pem_fd, &cert, e) || open_config(b, &config_fd, e) ||
	    admit_trust(b->admit.config_dir, &trust, &policy, e))
		return -1;
	cert_info(cert, &info);
	if (!info.code_signing && !info.ca)
		return err_set(e, ERR_CERTIFICATE_USAGE, "%s: neither for code signing nor an authority", info.subject);
	/* To trust it and to go on refusing it would look like trust that does not work. */
	if (trust_revoked(trust, &info.signer))
		return err_set(e, ERR_CERTIFICATE_REVOKED, "%s was revoked here: obsload revoke --undo comes first",
			       info.subject);
	if (policy_grant(policy, pattern, &info.signer, &granted, e))
		return -1;
	policy_names_of(policy, &info.signer, names, TRUST_NAMES_BYTES);
	if (trust_stores(trust, &info) && !granted)
		return err_set(e, ERR_TRUST_EXISTS, "%s is trusted for %s already", info.subject, pattern);
	/* What is written must be read again: both have their limits. */
	if (trust_add(trust, cert, e) || policy_format(policy, &json, &size, e))
		return -1;
	const struct state_bundle about = about_signer(&info.signer);
	if (bundles_audit(b, request, "trust_add", "done", &about, pattern, NULL, e))
		return -1;
	if (write_both(cert, &info, json, size, config_fd, e)) {
		bundles_audit_failure(b, request, "trust_add", &about, e);
		return -1;
	}
	*out = info;
	return 0;
}

static int find_signer(const struct trust *trust, const char *prefix, struct cert_info *out, struct err *e)
{
	size_t len = strlen(prefix), found = 0;
	struct digest signer = {{0}};

	if (len < PREFIX_LEAST || len > DIGEST_HEX_BYTES - 1 || strspn(prefix, "0123456789abcdef") != len)
		return err_set(e, ERR_USAGE, "signer \"%s\": at least %d of its 64 lower-case hex digits are needed",
			       prefix, PREFIX_LEAST);
	for (size_t i = 0; i < trust_count(trust); i++) {
		struct cert_info info;
		char hex[DIGEST_HEX_BYTES];
		cert_info(trust_at(trust, i), &info);
		digest_hex(&info.signer, hex);
		if (strncmp(hex, prefix, len) != 0 || (found && digest_equal(&info.signer, &signer)))
			continue;
		signer = info.signer;
		*out = info;
		found++;
	}
	if (found == 0)
		return err_set(e, ERR_TRUST_UNKNOWN, "no trusted signer %s", prefix);
	if (found > 1)
		return err_set(e, ERR_TRUST_UNKNOWN, "%s stands for %zu signers: give more digits", prefix, found);
	return 0;
}

static int drop_file(int config_fd, const char *name, struct err *e)
{
	if (unlinkat(config_fd, name, 0) && errno != ENOENT)
		return err_errno(e, ERR_IO, "%s", name);
	return 0;
}

/* A file that an administrator named otherwise is not ours to delete, but it must not be overlooked. */
static int drop_certificates(int config_fd, const struct trust *trust, const struct digest *signer, struct err *e)
{
	OWN(trust) struct trust *left = NULL;
	char name[FILE_NAME_BYTES];

	for (size_t i = 0; i < trust_count(trust); i++) {
		struct cert_info info;
		cert_info(trust_at(trust, i), &info);
		file_of(&info, name);
		if (digest_equal(&info.signer, signer) && drop_file(config_fd, name, e))
			return -1;
	}
	if (trust_load(config_fd, "trust.d", &left, e))
		return -1;
	for (size_t i = 0; i < trust_count(left); i++) {
		struct cert_info info;
		cert_info(trust_at(left, i), &info);
		if (digest_equal(&info.signer, signer))
			return err_set(e, ERR_IO,
				       "trust.d holds this signer in a file of another name: remove that file");
	}
	OWN_FD int folder = openat(config_fd, "trust.d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder >= 0 && fsync(folder))
		return err_errno(e, ERR_IO, "fsync of trust.d");
	return 0;
}

/* Nothing is detached: that is what revoking is for. But nobody should find it out at the next reboot. The gate is asked about
 * every bundle, since who counted when it was verified to run may not be who counts now; trouble with one that this signer is no
 * known part of says nothing. */
static void find_lonely(struct bundles *b, const struct digest *signer, const struct bundle *lonely[], size_t *count)
{
	*count = 0;
	for (size_t i = 0; i < b->count; i++) {
		OWN(verified_bundle) struct verified_bundle *verified = NULL;
		struct gate_seen seen;
		struct err why = ERR_INIT;
		memset(&seen, 0, sizeof(seen));
		if (b->bundle[i]->verified &&
		    bundles_verify_stored(b, state_find(b->state, b->bundle[i]->name), &seen, &verified, &why) &&
		    (!bundles_trouble(why.code) || bundle_part_of(b->bundle[i], signer)))
			lonely[(*count)++] = b->bundle[i];
	}
}

int trust_store_remove(struct bundles *b, const struct bundles_request *request, const char *signer,
		       struct cert_info *out, const struct bundle *lonely[static BUNDLES_MAX], size_t *lonely_count,
		       struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	OWN_FREE char *json = NULL;
	OWN_FD int config_fd = -1;
	struct cert_info info;
	size_t size;

	memset(&info, 0, sizeof(info));
	if (open_config(b, &config_fd, e) || admit_trust(b->admit.config_dir, &trust, &policy, e) ||
	    find_signer(trust, signer, &info, e) || policy_ungrant(policy, &info.signer, e) ||
	    policy_format(policy, &json, &size, e))
		return -1;
	const struct state_bundle about = about_signer(&info.signer);
	if (bundles_audit(b, request, "trust_remove", "done", &about, info.subject, NULL, e))
		return -1;
	if (write_policy(config_fd, json, size, e)) {
		bundles_audit_failure(b, request, "trust_remove", &about, e);
		return -1;
	}
	/* Without a grant its certificate admits nothing. */
	if (drop_certificates(config_fd, trust, &info.signer, e))
		return err_wrap(e, "%s is no longer trusted, but", info.subject);
	find_lonely(b, &info.signer, lonely, lonely_count);
	*out = info;
	return 0;
}
