#include "tests/unit/gate_fixture.h"

#include <string.h>
#include <sys/utsname.h>

#include "keys/object.h"
#include "tests/unit/bpf_source.h"

static const char prelude[] = "#include <obs/obs.h>\n"
			      "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32);\n"
			      "__type(value, __u64); } counts SEC(\".maps\");\n"
			      "OBS_LICENSE(\"GPL\");\n";
static const char observing[] = "SEC(\"raw_tp/sched_switch\") int on(void *ctx) { __u32 k = 0;\n"
				"return bpf_map_lookup_elem(&counts, &k) != 0; }\n";

struct pki *alice, *bob, *mallory;
struct elf observer;
const char *gate_fixture_program = "on";
static struct utsname host;

static void must(int rc, const struct err *e, const char *what)
{
	if (rc == 0)
		return;
	fprintf(stderr, "fixture: %s\n", what);
	err_print(stderr, "fixture", e, false);
	abort();
}

struct elf elf_compile(const char *source)
{
	char *text = NULL;
	struct elf elf;

	if (asprintf(&text, "%s#define on %s\n%s", prelude, gate_fixture_program, source) < 0)
		abort();
	elf.data = bpf_compile(text, &elf.size);
	free(text);
	return elf;
}

void gate_fixture_setup(int64_t now)
{
	struct pki_spec spec = {.not_before = now - PKI_DAY, .not_after = now + PKI_DAY};
	struct err e = ERR_INIT;

	must(uname(&host), &e, "uname");
	observer = elf_compile(observing);
	spec.name = "alice";
	alice = pki_make(spec);
	spec.name = "bob";
	bob = pki_make(spec);
	spec.name = "mallory";
	mallory = pki_make(spec);
}

void gate_fixture_teardown(void)
{
	free(observer.data);
	pki_free(&alice);
	pki_free(&bob);
	pki_free(&mallory);
}

static char *copy(const char *text)
{
	char *s = strdup(text);

	if (!s)
		abort();
	return s;
}

/* What the packager would say of stated, with size and digest of shipped. */
static void describe(const struct elf *stated, const struct elf *shipped, const char *arch, struct manifest_object *to)
{
	OWN(object) struct object *object = NULL;
	struct err e = ERR_INIT;

	must(object_read("probe", stated->data, stated->size, &object, &e), &e, "object_read");
	to->name = copy("probe");
	to->arch = copy(arch);
	to->size = shipped->size;
	must(digest_of(shipped->data, shipped->size, &to->digest, &e), &e, "digest_of");
	to->capabilities = object->capabilities;
	object->capabilities = (struct capabilities){};
	to->programs = TAKE_PTR(object->programs);
	to->program_count = object->program_count;
	object->program_count = 0;
	for (size_t i = 0; i < object->map_count; i++) {
		struct manifest_map *map = manifest_grow(&to->maps, &to->map_count, sizeof(*map), &e);
		const struct manifest_map *from = &object->maps[i].map;
		must(map ? 0 : -1, &e, "manifest_grow");
		*map = (struct manifest_map){copy(from->name), copy(from->type), from->key_size, from->value_size,
					     from->max_entries};
	}
}

struct text manifest_of(const struct parts *p)
{
	const struct elf *stated = p->stated ? p->stated : &observer, *shipped = p->shipped ? p->shipped : stated;
	OWN(manifest) struct manifest *m = calloc(1, sizeof(*m));
	struct err e = ERR_INIT;
	struct text text;

	if (!m)
		abort();
	m->name = copy("obs/test");
	m->version = copy("1.0");
	m->description = copy("a test");
	m->licence = copy("GPL-2.0");
	m->created = copy("2023-11-14T22:13:20Z");
	m->serial = 7;
	struct manifest_object *to = manifest_grow(&m->objects, &m->object_count, sizeof(*to), &e);
	must(to ? 0 : -1, &e, "manifest_grow");
	describe(stated, shipped, p->arch ? p->arch : host.machine, to);
	if (p->change)
		p->change(m);
	must(manifest_format(m, &text.data, &text.size, &e), &e, "manifest_format");
	return text;
}

void signature_path(const struct pki *signer, char path[static BUNDLE_PATH_MAX + 1])
{
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES];

	cert_info(signer->cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(path, BUNDLE_PATH_MAX + 1, "sig/%s.p7s", hex);
}

static void add(struct bundle_files *files, const char *path, const void *data, size_t size)
{
	struct err e = ERR_INIT;

	must(bundle_files_add(files, path, data, size, &e), &e, path);
}

struct signature {
	char path[BUNDLE_PATH_MAX + 1];
	uint8_t *der;
	size_t size;
};

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct signature *)a)->path, ((const struct signature *)b)->path);
}

static void add_signatures(struct bundle_files *files, const struct parts *p, const void *content, size_t size)
{
	struct pki *const usual[] = {alice, NULL}, *const *signers = p->signers ? p->signers : usual;
	struct signature signature[BUNDLE_MAX_SIGNATURES];
	size_t count = 0;

	for (; signers[count] && count < BUNDLE_MAX_SIGNATURES; count++) {
		const struct pki *signer = signers[count];
		struct signature *s = &signature[count];

		signature_path(count == 0 && p->named_after ? p->named_after : signer, s->path);
		bool other = signer == p->signs_other;
		if (p->raw)
			pki_sign_raw(signer, NULL, content, size, CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP, "SHA256",
				     &s->der, &s->size);
		else
			pki_sign(signer, other ? "other" : content, other ? 5 : size, &s->der, &s->size);
		if (count == 0 && p->spoil)
			p->spoil(&s->der, &s->size, content, size);
	}
	qsort(signature, count, sizeof(signature[0]), by_path);
	for (size_t i = 0; i < count; i++) {
		add(files, signature[i].path, signature[i].der, signature[i].size);
		free(signature[i].der);
	}
}

struct bundle_files *assemble(const struct parts *p)
{
	struct bundle_files *files = NULL;
	const struct elf *stated = p->stated ? p->stated : &observer, *shipped = p->shipped ? p->shipped : stated;
	struct text text = p->signed_manifest ? (struct text){copy(""), 0} : manifest_of(p);
	const char *content = p->signed_manifest ? p->signed_manifest : text.data;
	size_t size = p->signed_manifest ? (p->signed_size ? p->signed_size : strlen(content)) : text.size;
	char path[BUNDLE_PATH_MAX + 1];
	struct err e = ERR_INIT;

	snprintf(path, sizeof(path), "obj/%s/probe.bpf.o", p->arch ? p->arch : host.machine);
	must(bundle_files_new(&files, &e), &e, "bundle_files_new");
	if (!p->manifest)
		add(files, "manifest.json", content, size);
	else
		add(files, "manifest.json", p->manifest, strlen(p->manifest));
	if (!p->unsigned_)
		add_signatures(files, p, content, size);
	bool first = p->extra_object && strcmp(p->extra_object, path) < 0;
	for (int i = 0; i < 2; i++)
		if (i == (first ? 0 : 1) && p->extra_object)
			add(files, p->extra_object, p->extra ? (const void *)p->extra->data : "x",
			    p->extra ? p->extra->size : 1);
		else if (i == (first ? 1 : 0) && !p->without_object)
			add(files, path, shipped->data, shipped->size);
	free(text.data);
	return files;
}
