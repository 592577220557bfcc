/* SHA-256 (FIPS 180-4) by OpenSSL's EVP, and lower-case hex. */
#ifndef OBS_BUNDLES_DIGEST_H
#define OBS_BUNDLES_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bundles/base/err.h"

enum { DIGEST_BYTES = 32, DIGEST_HEX_BYTES = 65 };

struct digest {
	uint8_t byte[DIGEST_BYTES];
};

MUST_CHECK int digest_of(const void *data, size_t size, struct digest *out, struct err *e);
void digest_hex(const struct digest *d, char hex[static DIGEST_HEX_BYTES]);
/* false unless hex is exactly 64 lower-case hex digits. */
bool digest_parse(const char *hex, struct digest *out);
bool digest_equal(const struct digest *a, const struct digest *b);

#endif
