/* Any bytes as a policy: what is accepted is written in one form that means the same, and never admits without a signer
 * that it names. */
#include <stdlib.h>
#include <string.h>

#include "keys/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const names[] = {"obs/network", "team/x", "a/b"};
static const char *const words[] = {"helper:map_lookup_elem", "helper:probe_write_user", "program:xdp", "write:packet"};

static int admits(const struct policy *policy, size_t name, size_t count, size_t *grant)
{
	struct cms_signer signers[3] = {};

	for (size_t i = 0; i < 3; i++) {
		memset(&signers[i].signer, (int)(0xaa + 0x11 * i), DIGEST_BYTES);
		signers[i].chain[0] = signers[i].signer;
		signers[i].chain_count = 1;
	}
	return policy_admit(policy, names[name], signers, count, grant, NULL);
}

/* Decides as the other one does, in everything that is asked. */
static void compare(const struct policy *a, const struct policy *b)
{
	for (size_t n = 0; n < ARRAY_LEN(names); n++) {
		size_t one = 0, two = 0;

		if (!admits(a, n, 0, &one))
			abort();
		int rc = admits(a, n, 3, &one);
		if (rc != admits(b, n, 3, &two) || one != two)
			abort();
		for (size_t w = 0; w < ARRAY_LEN(words); w++) {
			char *word = (char *)(uintptr_t)words[w];
			struct capabilities caps = {.word = &word, .count = 1};
			if (policy_capabilities(a, rc ? POLICY_NO_GRANT : one, &caps, NULL) !=
			    policy_capabilities(b, rc ? POLICY_NO_GRANT : two, &caps, NULL))
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	OWN(policy) struct policy *first = NULL;
	OWN(policy) struct policy *second = NULL;
	OWN_FREE char *text = NULL;
	OWN_FREE char *again = NULL;
	struct err e = ERR_INIT;
	size_t text_size, again_size;
	struct digest signer;
	char joined[64];
	bool changed;

	if (policy_parse(data, size, &first, &e)) {
		if (e.code != ERR_POLICY_MALFORMED)
			abort();
		return 0;
	}
	if (policy_format(first, &text, &text_size, &e))
		abort();
	/* Indented, it may be longer than what was read, and so be too long. */
	if (policy_parse((const uint8_t *)text, text_size, &second, &e)) {
		if (text_size <= 1 << 20)
			abort();
		return 0;
	}
	if (policy_format(second, &again, &again_size, &e) || again_size != text_size ||
	    memcmp(again, text, text_size) != 0)
		abort();
	compare(first, second);
	memset(&signer, 0xaa, sizeof(signer));
	/* What `obsload trust add` writes is what it then reads. */
	if (policy_grant(first, "obs/*", &signer, &changed, &e) == 0) {
		size_t grant;
		if (policy_grant(first, "obs/*", &signer, &changed, &e) || changed ||
		    policy_grant(first, "*", &signer, &changed, &e) || admits(first, 0, 1, &grant))
			abort();
	} else if (e.code != ERR_LIMIT) {
		abort();
	}
	policy_names_of(first, &signer, joined, sizeof(joined));
	if (policy_ungrant(first, &signer, &e))
		abort();
	policy_names_of(first, &signer, joined, sizeof(joined));
	if (joined[0])
		abort();
	return 0;
}
