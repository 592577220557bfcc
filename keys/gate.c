#include "keys/gate.h"

#include <string.h>

#include "keys/object.h"

struct verified_bundle {
	struct bundle_files *files;
	struct manifest *manifest;
	struct digest digest;
	struct cms_signer signers[BUNDLE_MAX_SIGNATURES];
	size_t signer_count;
};

void verified_bundle_free(struct verified_bundle **bundle)
{
	if (!*bundle)
		return;
	manifest_free(&(*bundle)->manifest);
	bundle_files_free(&(*bundle)->files);
	free(*bundle);
	*bundle = NULL;
}

/* ---- 3: signatures ---- */

/* Codes that set a signature aside, the gravest last: that one is told if no signature counts. */
static const enum err_code does_not_count[] = {
    ERR_SIGNATURE_UNTRUSTED, ERR_CERTIFICATE_NOT_YET_VALID, ERR_CERTIFICATE_EXPIRED,
    ERR_CERTIFICATE_USAGE,   ERR_SIGNATURE_ALGORITHM,       ERR_CERTIFICATE_REVOKED,
};

static int gravity(enum err_code code)
{
	for (size_t i = 0; i < ARRAY_LEN(does_not_count); i++)
		if (does_not_count[i] == code)
			return (int)i;
	return -1;
}

/* Threat: many files of one signer that count as many, or a name that shows another signer to people. */
static int check_name(const struct cms *cms, const struct bundle_file *file, struct digest *out, struct err *e)
{
	struct cert_info leaf;
	char hex[DIGEST_HEX_BYTES];

	cms_info(cms, &leaf);
	memset(hex, 0, sizeof(hex));
	if (strlen(file->path) > 4 + DIGEST_HEX_BYTES - 1)
		memcpy(hex, file->path + 4, DIGEST_HEX_BYTES - 1);
	if (!digest_parse(hex, out) || !digest_equal(out, &leaf.signer)) {
		digest_hex(&leaf.signer, hex);
		return err_set(e, ERR_SIGNATURE_NAME, "%s is signed by %s", file->path, hex);
	}
	return 0;
}

static int check_signature(const struct gate *gate, const struct bundle_file *file, const struct bundle_file *manifest,
			   struct gate_seen *seen, struct err *gravest, struct err *e)
{
	OWN(cms) struct cms *cms = NULL;
	struct digest signer;

	if (cms_open(file->data, file->size, &cms, e))
		return err_wrap(e, "%s", file->path);
	if (check_name(cms, file, &signer, e))
		return -1;
	int rc = (gate->installed ? cms_verify_installed : cms_verify)(
	    cms, manifest->data, manifest->size, gate->trust, gate->now, &seen->signers[seen->signer_count], e);
	if (rc == 0) {
		seen->signer_count++;
		return 0;
	}
	err_wrap(e, "%s", file->path);
	if (gravity(e->code) < 0)
		return -1;
	seen->aside[seen->aside_count++] = (struct gate_aside){.signer = signer, .code = e->code};
	if (gravity(e->code) > gravity(gravest->code))
		*gravest = *e;
	return 0;
}

static int check_signatures(const struct gate *gate, const struct bundle_files *files,
			    const struct bundle_file *manifest, struct gate_seen *seen, struct err *e)
{
	OWN_FREE struct err *gravest = calloc(1, sizeof(*gravest));
	size_t checked = 0;

	if (!gravest)
		return err_errno(e, ERR_NOMEM, "checking signatures");
	for (size_t i = 0; i < files->count; i++) {
		if (files->file[i].kind != BUNDLE_FILE_SIGNATURE)
			continue;
		if (checked++ == BUNDLE_MAX_SIGNATURES)
			return err_set(e, ERR_ARCHIVE_TOO_LARGE, "more than %d signatures", BUNDLE_MAX_SIGNATURES);
		if (check_signature(gate, &files->file[i], manifest, seen, gravest, e))
			return -1;
	}
	if (!checked)
		return err_set(e, ERR_SIGNATURE_MISSING, "nobody signed it");
	if (!seen->signer_count) {
		*e = *gravest;
		return -1;
	}
	*e = (struct err)ERR_INIT;
	return 0;
}

/* ---- 4: the manifest, and the files that it lists ---- */

static int object_path(const struct manifest_object *o, char path[static BUNDLE_PATH_MAX + 1], struct err *e)
{
	int n = snprintf(path, BUNDLE_PATH_MAX + 1, "obj/%s/%s.bpf.o", o->arch, o->name);

	if (n < 0 || n > BUNDLE_PATH_MAX)
		return err_set(e, ERR_MANIFEST_VALUE, "object %s: name too long", o->name);
	return 0;
}

static int check_object_file(const struct bundle_files *files, const struct manifest_object *o, struct err *e)
{
	char path[BUNDLE_PATH_MAX + 1];
	struct digest digest;

	if (object_path(o, path, e))
		return -1;
	const struct bundle_file *file = bundle_files_find(files, path);
	if (!file || file->kind != BUNDLE_FILE_OBJECT)
		return err_set(e, ERR_OBJECT_MISSING, "%s is listed and not there", path);
	if (file->size != o->size)
		return err_set(e, ERR_OBJECT_DIGEST, "%s has %zu bytes, its manifest says %llu", path, file->size,
			       (unsigned long long)o->size);
	if (digest_of(file->data, file->size, &digest, e))
		return err_wrap(e, "%s", path);
	if (!digest_equal(&digest, &o->digest))
		return err_set(e, ERR_OBJECT_DIGEST, "%s has other bytes than its manifest says", path);
	return 0;
}

static bool object_listed(const struct manifest *m, const char *path)
{
	char listed[BUNDLE_PATH_MAX + 1];

	for (size_t i = 0; i < m->object_count; i++)
		if (!object_path(&m->objects[i], listed, NULL) && strcmp(listed, path) == 0)
			return true;
	return false;
}

static int check_files(const struct bundle_files *files, const struct manifest *m, struct err *e)
{
	for (size_t i = 0; i < m->object_count; i++)
		if (check_object_file(files, &m->objects[i], e))
			return -1;
	for (size_t i = 0; i < files->count; i++)
		if (files->file[i].kind == BUNDLE_FILE_OBJECT && !object_listed(m, files->file[i].path))
			return err_set(e, ERR_OBJECT_UNLISTED, "%s is there and not listed", files->file[i].path);
	return 0;
}

/* ---- 7: what the code can do ---- */

static int read_object(const char *name, const struct bundle_file *file, struct object **out, struct err *e)
{
	char text[ERR_FRAME_BYTES];

	if (object_read(name, file->data, file->size, out, e) == 0)
		return 0;
	/* What an author should write instead is no use to a host: no manifest states such a program, or so many. */
	if (e->code == ERR_BUILD_PROGRAM || e->code == ERR_LIMIT)
		return err_set(e, ERR_OBJECT_MISMATCH, "%s: no manifest states this: %s", file->path,
			       err_text(e, text, sizeof(text)));
	return err_wrap(e, "%s", file->path);
}

static int check_object(const struct policy *policy, size_t grant, const struct bundle_files *files,
			const struct manifest_object *stated, struct err *e)
{
	OWN(object) struct object *object = NULL;
	char path[BUNDLE_PATH_MAX + 1];

	if (object_path(stated, path, e))
		return -1;
	const struct bundle_file *file = bundle_files_find(files, path);
	if (!file)
		return err_set(e, ERR_OBJECT_MISSING, "%s is listed and not there", path);
	if (read_object(stated->name, file, &object, e))
		return -1;
	if (object->kconfig)
		return err_set(e, ERR_OBJECT_MISMATCH, "%s asks for kernel configuration, which no manifest states",
			       path);
	if (object_compare(object, stated, e) || policy_capabilities(policy, grant, &object->capabilities, e))
		return err_wrap(e, "%s", path);
	return 0;
}

static int check_objects(const struct gate *gate, size_t grant, const struct bundle_files *files,
			 const struct manifest *m, struct err *e)
{
	OWN(policy) struct policy *standard = NULL;

	if (!gate->policy && policy_default(&standard, e))
		return -1;
	for (size_t i = 0; i < m->object_count; i++)
		if (check_object(gate->policy ? gate->policy : standard, grant, files, &m->objects[i], e))
			return -1;
	return 0;
}

/* ---- the order ---- */

/* The order is the defence: nothing that a stranger wrote is parsed before somebody trusted has signed it, other than
 * the signature itself. */
static int pass(const struct gate *gate, const struct bundle_files *files, struct verified_bundle *bundle,
		struct gate_seen *seen, struct err *e)
{
	size_t grant = POLICY_NO_GRANT;
	const struct bundle_file *manifest = bundle_files_manifest(files);

	if (!manifest)
		return err_set(e, ERR_MANIFEST_MISSING, "no manifest.json");
	if (digest_of(manifest->data, manifest->size, &seen->manifest, e))
		return err_wrap(e, "manifest.json");
	seen->manifest_known = true;
	if (check_signatures(gate, files, manifest, seen, e))
		return -1;
	if (trust_revoked(gate->trust, &seen->manifest))
		return err_set(e, ERR_POLICY_REVOKED, "this very bundle is revoked");
	if (manifest_parse(manifest->data, manifest->size, &bundle->manifest, e))
		return err_wrap(e, "manifest.json");
	const struct manifest *m = bundle->manifest;
	snprintf(seen->name, sizeof(seen->name), "%s", m->name);
	seen->serial = m->serial;
	if (check_files(files, m, e))
		return -1;
	if (gate->policy && policy_admit(gate->policy, m->name, seen->signers, seen->signer_count, &grant, e))
		return -1;
	if (gate->serial && gate->serial(gate->serial_ctx, m, &seen->manifest, e))
		return -1;
	return check_objects(gate, grant, files, m, e);
}

int gate_verify(const struct gate *gate, struct bundle_files **files, struct verified_bundle **out,
		struct gate_seen *seen, struct err *e)
{
	OWN(verified_bundle) struct verified_bundle *bundle = calloc(1, sizeof(*bundle));
	OWN_FREE struct gate_seen *own = calloc(1, sizeof(*own));
	OWN_FREE struct err *unheard = e ? NULL : calloc(1, sizeof(*unheard));

	if (seen)
		memset(seen, 0, sizeof(*seen));
	if (!e)
		e = unheard;
	if (!bundle || !own || !e)
		return err_errno(e, ERR_NOMEM, "verifying a bundle");
	if (!seen)
		seen = own;
	if (pass(gate, *files, bundle, seen, e))
		return -1;
	bundle->digest = seen->manifest;
	memcpy(bundle->signers, seen->signers, sizeof(bundle->signers));
	bundle->signer_count = seen->signer_count;
	bundle->files = TAKE_PTR(*files);
	*out = TAKE_PTR(bundle);
	return 0;
}

const struct manifest *verified_manifest(const struct verified_bundle *bundle)
{
	return bundle->manifest;
}

const struct digest *verified_digest(const struct verified_bundle *bundle)
{
	return &bundle->digest;
}

const struct bundle_file *verified_manifest_file(const struct verified_bundle *bundle)
{
	return bundle_files_manifest(bundle->files);
}

const struct bundle_file *verified_object(const struct verified_bundle *bundle, const struct manifest_object *object)
{
	char path[BUNDLE_PATH_MAX + 1];

	return object_path(object, path, NULL) ? NULL : bundle_files_find(bundle->files, path);
}

size_t verified_signers(const struct verified_bundle *bundle, const struct cms_signer **out)
{
	*out = bundle->signers;
	return bundle->signer_count;
}
