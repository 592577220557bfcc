/* Parameters: typed, bounded variables of a bundle that change while it runs. */
#ifndef OBS_MONITOR_PARAMS_H
#define OBS_MONITOR_PARAMS_H

#include "bundles/manifest.h"
#include "loader/monitor/kernel.h"

/* Turns text into the bytes of a parameter (param->size * max(count, 1), caller's buffer), checking type and range against
 * the signed manifest: numbers decimal or 0x, bool true|false|0|1, enumerators by name, lists comma-separated ("" empties
 * a list), CIDR "10.0.0.0/8" or "2001:db8::/32" or an address, text. ERR_PARAMETER_VALUE. */
MUST_CHECK int param_parse(const struct manifest *m, const struct manifest_param *param, const char *text, uint8_t *out,
			   struct err *e);

/* The same bytes as text that param_parse takes. */
void param_format(const struct manifest *m, const struct manifest_param *param, const uint8_t *bytes, char *dst,
		  size_t size);

size_t param_bytes(const struct manifest_param *param);

/* Writes into every object's variable of the running bundle, on failure into none; or reads it from there. */
MUST_CHECK int param_apply(const struct kernel_bundle *kb, const struct manifest_param *param, const uint8_t *bytes,
			   struct err *e);
MUST_CHECK int param_read(const struct kernel_bundle *kb, const struct manifest_param *param, uint8_t *bytes,
			  struct err *e);

#endif
