#include "bundles/digest.h"

#include <openssl/evp.h>

int digest_of(const void *data, size_t size, struct digest *out, struct err *e)
{
	struct digest digest;
	unsigned length = 0;

	if (EVP_Digest(data, size, digest.byte, &length, EVP_sha256(), NULL) != 1 || length != DIGEST_BYTES)
		return err_set(e, ERR_INTERNAL, "SHA-256 of %zu bytes: OpenSSL refused", size);
	*out = digest;
	return 0;
}
