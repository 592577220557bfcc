/* JSON that the control socket answers with. */
#ifndef OBS_MONITOR_SHOW_H
#define OBS_MONITOR_SHOW_H

#include "loader/monitor/bundles.h"

typedef struct json_t json_t; /* jansson's */

/* A string of any bytes: what is not UTF-8 becomes U+FFFD. */
json_t *show_text(const char *text);
json_t *show_digest(const struct digest *digest);
json_t *show_programs(const struct kernel_bundle *kernel);
/* {"name","version","serial","state","digest","signers","installed_at","programs","attached","reason"?} */
json_t *show_listed(const struct bundles *b, const struct bundle *bundle);
/* One of STATUS's bundles; adds to warnings. */
json_t *show_bundle(const struct bundles *b, const struct bundle *bundle, json_t *warnings);
/* One of PARAMS's bundles. */
json_t *show_params(const struct bundle *bundle);
json_t *show_result(const struct bundles_result *result);
json_t *show_certificate(const struct cert_info *info, const char *names);

#endif
