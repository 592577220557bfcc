#include "bundles/digest.h"

#include <string.h>

/* Apart from digest.c: the worker reads manifests, and needs no OpenSSL for that. */

void digest_hex(const struct digest *d, char hex[static DIGEST_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		hex[2 * i] = digits[d->byte[i] >> 4];
		hex[2 * i + 1] = digits[d->byte[i] & 15];
	}
	hex[DIGEST_HEX_BYTES - 1] = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool digest_parse(const char *hex, struct digest *out)
{
	struct digest digest;

	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		int high = hex_value(hex[2 * i]);
		int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);
		if (low < 0)
			return false;
		digest.byte[i] = (uint8_t)(high << 4 | low);
	}
	if (hex[DIGEST_HEX_BYTES - 1] != '\0')
		return false;
	*out = digest;
	return true;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->byte, b->byte, DIGEST_BYTES) == 0;
}
