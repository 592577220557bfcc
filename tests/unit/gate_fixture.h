/* One good bundle, of which tests break one thing each: compiled, described and signed when they run. */
#ifndef OBS_TESTS_GATE_FIXTURE_H
#define OBS_TESTS_GATE_FIXTURE_H

#include "bundles/files.h"
#include "bundles/manifest.h"
#include "tests/unit/pki.h"

struct elf {
	uint8_t *data;
	size_t size;
};

struct text {
	char *data;
	size_t size;
};

/* alice and bob are trusted, mallory is unknown; valid a day around `now`. observer is what the good bundle holds. */
extern struct pki *alice, *bob, *mallory;
extern struct elf observer;
void gate_fixture_setup(int64_t now);
void gate_fixture_teardown(void);

/* source follows <obs/obs.h>, a hash map `counts` of __u32 to __u64, and the licence. What it calls `on` has the name of
 * gate_fixture_program ("on"), so that a test finds its own programs in the kernel. */
extern const char *gate_fixture_program;
struct elf elf_compile(const char *source);

/* How a bundle is put together: everything zero is the good one: obs/test, serial 7, signed by alice. */
struct parts {
	const struct elf *stated, *shipped; /* what the manifest is about, and what is there; NULL: observer, stated */
	void (*change)(struct manifest *m); /* before it is signed */
	const char *manifest;               /* other bytes than what is signed */
	const char *signed_manifest;        /* bytes that are both signed and shipped */
	size_t signed_size;                 /* of them; 0: up to their NUL */
	struct pki *const *signers;         /* NULL-terminated, at most BUNDLE_MAX_SIGNATURES; NULL: alice */
	bool unsigned_;
	bool raw;                      /* signed by OpenSSL as it is told, with keys that obspkg refuses too */
	const struct pki *named_after; /* the first signature's file is named after this one */
	const struct pki *signs_other; /* of these signers, this one signs other bytes */
	/* Changes the first signature, in place or to a new allocation. */
	void (*spoil)(uint8_t **der, size_t *size, const void *content, size_t content_size);
	const char *arch; /* NULL: this machine's */
	bool without_object;
	const char *extra_object;
	const struct elf *extra; /* NULL: one byte */
};

struct text manifest_of(const struct parts *p);
struct bundle_files *assemble(const struct parts *p);
/* sig/<signer>.p7s */
void signature_path(const struct pki *signer, char path[static BUNDLE_PATH_MAX + 1]);

#endif
