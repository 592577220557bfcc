#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bundles/digest.h"

/* FIPS 180-4 examples, NIST CAVP. */
static const struct {
	const char *text, *hex;
} vectors[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void digest_of_known_texts_is_known(void **state)
{
	char hex[DIGEST_HEX_BYTES];
	struct digest d;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		assert_int_equal(digest_of(vectors[i].text, strlen(vectors[i].text), &d, &e), 0);
		digest_hex(&d, hex);
		assert_string_equal(hex, vectors[i].hex);
	}
}

static void digest_parse_of_hex_gives_the_same(void **state)
{
	struct digest computed, parsed;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(digest_of("abc", 3, &computed, &e), 0);
	assert_true(digest_parse(vectors[1].hex, &parsed));
	assert_true(digest_equal(&computed, &parsed));
	parsed.byte[31] ^= 1;
	assert_false(digest_equal(&computed, &parsed));
}

static void digest_parse_of_anything_else_is_refused(void **state)
{
	static const char *const wrong[] = {
	    "",
	    "ba7816bf",
	    "BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0",
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ag",
	    " a7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	};
	struct digest d;

	(void)state;
	memset(&d, 0x5a, sizeof(d));
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_false(digest_parse(wrong[i], &d));
		assert_int_equal(d.byte[0], 0x5a);
		assert_int_equal(d.byte[31], 0x5a);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(digest_of_known_texts_is_known),
	    cmocka_unit_test(digest_parse_of_hex_gives_the_same),
	    cmocka_unit_test(digest_parse_of_anything_else_is_refused),
	};

	return cmocka_run_group_tests_name("bundles_digest", tests, NULL, NULL);
}
