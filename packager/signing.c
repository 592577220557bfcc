#include "packager/signing.h"

#include <string.h>
#include <time.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "keys/gate.h"

/* Files are in the order manifest, signatures by name, objects: the new one goes to its place among the signatures. */
static int insert_signature(const struct bundle_files *files, const char *path, const uint8_t *der, size_t size,
			    struct bundle_files **out, struct err *e)
{
	OWN(bundle_files) struct bundle_files *all = NULL;
	bool done = false;

	if (bundle_files_new(&all, e))
		return -1;
	for (size_t i = 0; i < files->count; i++) {
		const struct bundle_file *file = &files->file[i];
		bool behind = file->kind == BUNDLE_FILE_OBJECT ||
			      (file->kind == BUNDLE_FILE_SIGNATURE && strcmp(file->path, path) > 0);
		if (!done && behind) {
			if (bundle_files_add(all, path, der, size, e))
				return -1;
			done = true;
		}
		if (strcmp(file->path, path) != 0 && bundle_files_add(all, file->path, file->data, file->size, e))
			return -1;
	}
	if (!done && bundle_files_add(all, path, der, size, e))
		return -1;
	*out = TAKE_PTR(all);
	return 0;
}

static int add_signature(struct bundle_files **files, const struct cert *cert, const uint8_t *der, size_t size,
			 struct err *e)
{
	struct bundle_files *all = NULL;
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES], path[BUNDLE_PATH_MAX + 1];

	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(path, sizeof(path), "sig/%s.p7s", hex);
	if (insert_signature(*files, path, der, size, &all, e))
		return -1;
	bundle_files_free(files);
	*files = all;
	return 0;
}

static int read_cert(const char *path, struct cert **out, struct err *e)
{
	OWN_FREE uint8_t *pem = NULL;
	size_t size;

	if (file_read(path, CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &pem, &size, e))
		return -1;
	return cert_chain_from_pem(pem, size, out, e) ? err_wrap(e, "%s", path) : 0;
}

int signing_manifest(const struct bundle_files *files, const struct bundle_file **out, struct err *e)
{
	*out = bundle_files_manifest(files);
	return *out ? 0 : err_set(e, ERR_MANIFEST_MISSING, "no manifest.json");
}

int signing_add(const struct signing *signing, struct bundle_files **files, struct cert **out_cert, struct err *e)
{
	OWN(cert) struct cert *cert = NULL;
	OWN(signing_key) struct signing_key *key = NULL;
	OWN_FREE uint8_t *der = NULL;
	const struct bundle_file *manifest;
	size_t size;

	if (signing_manifest(*files, &manifest, e) || read_cert(signing->cert, &cert, e) ||
	    signing_key_open(signing->key, &signing->pass, &key, e) ||
	    cms_sign(manifest->data, manifest->size, cert, key, &der, &size, e) ||
	    add_signature(files, cert, der, size, e))
		return -1;
	*out_cert = TAKE_PTR(cert);
	return 0;
}

int signing_attach(const char *path, struct bundle_files **files, struct cert **out_cert, struct err *e)
{
	OWN(cms) struct cms *cms = NULL;
	OWN(cert) struct cert *cert = NULL;
	OWN_FREE uint8_t *der = NULL;
	size_t size;

	if (file_read(path, BUNDLE_SIGNATURE_MAX_BYTES, ERR_SIGNATURE_MALFORMED, &der, &size, e))
		return -1;
	if (cms_open(der, size, &cms, e) || cms_cert(cms, &cert, e) || add_signature(files, cert, der, size, e))
		return err_wrap(e, "%s", path);
	*out_cert = TAKE_PTR(cert);
	return 0;
}

int signing_check(const uint8_t *tar, size_t size, const struct cert *cert, struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN(verified_bundle) struct verified_bundle *verified = NULL;
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	static const char format[] = "{\"schema\":1,\"grants\":[{\"names\":[\"*\"],\"signers\":[\"%s\"],"
				     "\"capabilities\":{\"allow\":[\"*\"]}}]}";
	char hex[DIGEST_HEX_BYTES], json[sizeof(format) + DIGEST_HEX_BYTES];
	struct cert_info info;

	cert_info(cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(json, sizeof(json), format, hex);
	if (archive_read(tar, size, &files, e) || trust_new(&trust, e) || trust_add(trust, cert, e) ||
	    policy_parse((const uint8_t *)json, strlen(json), &policy, e))
		return -1;
	struct gate gate = {.trust = trust, .policy = policy, .now = time(NULL)};
	return gate_verify(&gate, &files, &verified, NULL, e);
}
