/* `obsload trust`: certificates and grants in the configuration folder. */
#ifndef OBS_MONITOR_TRUST_H
#define OBS_MONITOR_TRUST_H

#include "loader/monitor/bundles.h"

enum { TRUST_NAMES_BYTES = 1024 };

/* Stores the certificate as <config>/trust.d/<signer>.<certificate>.pem, beside others of its signer, and grants the signer the
 * pattern ("": "*"). One that is stored already gets the pattern added; if it has it too, ERR_TRUST_EXISTS.
 * ERR_CERTIFICATE_REVOKED; ERR_LIMIT: more certificates or a larger policy than the next decision would read. */
MUST_CHECK int trust_store_add(struct bundles *b, const struct bundles_request *request, int pem_fd,
			       const char *pattern, struct cert_info *out, char names[static TRUST_NAMES_BYTES],
			       struct err *e);
/* Of a regular file, from its start. ERR_REQUEST_INVALID, ERR_CERTIFICATE_MALFORMED. */
MUST_CHECK int trust_read_certificate(int fd, struct cert **out, struct err *e);
/* signer: 64 hex, or a prefix of at least 8 that only one has. Removes certificates and grants. ERR_TRUST_UNKNOWN.
 * lonely: what runs and would be refused at the next start, since its signers are not enough any more; *lonely_count of
 * them. */
MUST_CHECK int trust_store_remove(struct bundles *b, const struct bundles_request *request, const char *signer,
				  struct cert_info *out, const struct bundle *lonely[static BUNDLES_MAX],
				  size_t *lonely_count, struct err *e);

/* Removes what a crash left of the two in the configuration folder. */
MUST_CHECK int trust_store_sweep(const char *config_dir, struct err *e);

#endif
