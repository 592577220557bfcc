#include "loader/monitor/show.h"

#include <jansson.h>
#include <string.h>

#include "bpf/include/obs/event.h"
#include "bundles/base/text.h"
#include "loader/monitor/params.h"

static const char replacement[] = "\xef\xbf\xbd";

json_t *show_text(const char *text)
{
	json_t *json = json_string(text);

	if (json)
		return json;
	size_t left = strlen(text), used = 0;
	OWN_FREE char *clean = malloc(left * (sizeof(replacement) - 1) + 1);
	if (!clean)
		return NULL;
	while (left) {
		size_t len = text_utf8_len((const uint8_t *)text, left);
		memcpy(clean + used, len ? text : replacement, len ? len : sizeof(replacement) - 1);
		used += len ? len : sizeof(replacement) - 1;
		len = len ? len : 1;
		text += len;
		left -= len;
	}
	clean[used] = '\0';
	return json_string(clean);
}

json_t *show_digest(const struct digest *digest)
{
	char hex[DIGEST_HEX_BYTES];

	digest_hex(digest, hex);
	return json_string(hex);
}

/* jansson's whole numbers are signed: larger ones are text. */
static json_t *number(uint64_t n)
{
	char text[24];

	if (n <= INT64_MAX)
		return json_integer((json_int_t)n);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	return json_string(text);
}

static const char *program_state(enum kernel_program_state state)
{
	switch (state) {
	case KERNEL_ATTACHED:
		return "attached";
	case KERNEL_ATTACHED_HERE:
		return "attached (by daemon)";
	case KERNEL_LOADED:
		return "loaded";
	case KERNEL_UNUSED:
		return "unused";
	case KERNEL_UNAVAILABLE:
		return "unavailable";
	}
	return "unknown";
}

/* Why it is this one and in this state, and what interfaces refuse. */
static json_t *program_reason(const struct kernel_program *p)
{
	char text[sizeof(p->reason) + sizeof(p->interfaces) + 2];

	snprintf(text, sizeof(text), "%s%s%s", p->reason, p->reason[0] && p->interfaces[0] ? "; " : "", p->interfaces);
	return show_text(text);
}

json_t *show_programs(const struct kernel_bundle *kernel)
{
	const struct kernel_program *p;
	json_t *list = json_array();
	size_t count = kernel ? kernel_programs(kernel, &p) : 0;

	for (size_t i = 0; i < count; i++)
		json_array_append_new(
		    list,
		    json_pack("{s:o,s:o,s:o,s:o,s:o,s:s,s:o,s:I,s:o,s:o,s:o}", "name", show_text(p[i].program->name),
			      "object", show_text(p[i].object->name), "section", show_text(p[i].program->section),
			      "attach", show_text(p[i].program->attach), "target", show_text(p[i].program->target),
			      "state", program_state(p[i].state), "reason", program_reason(&p[i]), "id",
			      (json_int_t)p[i].id, "runs", number(p[i].run_count), "run_time_ns",
			      number(p[i].run_time_ns), "missed", number(p[i].missed)));
	return list;
}

static void count_programs(const struct kernel_bundle *kernel, size_t *programs, size_t *attached)
{
	const struct kernel_program *p;

	*attached = 0;
	*programs = kernel ? kernel_programs(kernel, &p) : 0;
	for (size_t i = 0; i < *programs; i++)
		*attached += p[i].state == KERNEL_ATTACHED || p[i].state == KERNEL_ATTACHED_HERE;
}

static json_t *show_head(const struct state_bundle *stored, const struct bundle *bundle)
{
	json_t *json =
	    json_pack("{s:o,s:o,s:I,s:s}", "name", show_text(bundle->name), "version", show_text(stored->version),
		      "serial", (json_int_t)stored->serial, "state", bundle_condition_names[bundle->condition]);

	if (bundle->reason[0])
		json_object_set_new(json, "reason", show_text(bundle->reason));
	return json;
}

json_t *show_listed(const struct bundles *b, const struct bundle *bundle)
{
	const struct state_bundle *stored = state_find(b->state, bundle->name);
	json_t *json = show_head(stored, bundle), *signers = json_array();
	size_t programs, attached;

	count_programs(bundle->kernel, &programs, &attached);
	for (size_t i = 0; i < stored->signer_count; i++)
		json_array_append_new(signers, show_digest(&stored->signers[i]));
	json_object_set_new(json, "digest", show_digest(&stored->digest));
	json_object_set_new(json, "signers", signers);
	json_object_set_new(json, "installed_at", json_integer(stored->installed_at));
	json_object_set_new(json, "programs", json_integer((json_int_t)programs));
	json_object_set_new(json, "attached", json_integer((json_int_t)attached));
	return json;
}

static json_t *show_outputs(const struct bundle *bundle)
{
	json_t *list = json_array();
	const struct manifest *m = bundle->verified ? verified_manifest(bundle->verified) : NULL;

	for (size_t i = 0; m && i < m->output_count; i++) {
		json_t *one = json_pack("{s:o,s:s}", "map", show_text(m->outputs[i].map), "kind",
					output_kind_names[m->outputs[i].kind]);
		for (size_t k = 0; k < bundle->sample_count; k++)
			if (bundle->samples[k].output == i && m->outputs[i].kind == OUTPUT_SAMPLE)
				json_object_set_new(one, "interval_ms",
						    json_integer(sampler_interval_ms(bundle->samples[k].sampler)));
		json_array_append_new(list, one);
	}
	return list;
}

/* What the kernel side counted, and what the worker did. */
static json_t *show_lost(const struct bundles *b, const struct bundle *bundle, uint64_t *events, json_t *warnings)
{
	uint64_t kernel[OBS_LOST_COUNT] = {0};
	const struct worker_bundle_stats *worker =
	    bundle->handle && b->worker->stats ? worker_bundle_stats_of(b->worker, bundle->handle) : NULL;
	uint64_t sum[LOSS_SOURCE_COUNT] = {0};
	struct err e = ERR_INIT;

	if (bundle->kernel && sampler_lost(bundle->kernel, verified_manifest(bundle->verified), kernel, &e)) {
		char text[ERR_FRAMES * ERR_FRAME_BYTES];
		json_array_append_new(warnings, show_text(err_text(&e, text, sizeof(text))));
	}
	sum[LOSS_RING] = kernel[OBS_LOST_RING];
	sum[LOSS_MAP] = kernel[OBS_LOST_MAP];
	sum[LOSS_PARSER] = kernel[OBS_LOST_PARSER];
	sum[LOSS_SAMPLING] = kernel[OBS_LOST_SAMPLING];
	sum[LOSS_TABLE] = kernel[OBS_LOST_TABLE];
	sum[LOSS_MISSED] = bundle->kernel ? kernel_missed(bundle->kernel) : 0;
	*events = worker ? worker->events : 0;
	for (int i = 0; worker && i < LOSS_SOURCE_COUNT; i++)
		sum[i] += worker->lost[i];
	return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "ring", number(sum[LOSS_RING]), "map", number(sum[LOSS_MAP]),
			 "parser", number(sum[LOSS_PARSER]), "subscriber", number(sum[LOSS_SUBSCRIBER]), "sampling",
			 number(sum[LOSS_SAMPLING]), "table", number(sum[LOSS_TABLE]), "missed",
			 number(sum[LOSS_MISSED]));
}

json_t *show_bundle(const struct bundles *b, const struct bundle *bundle, json_t *warnings)
{
	const struct state_bundle *stored = state_find(b->state, bundle->name);
	json_t *json = show_head(stored, bundle), *params = json_object();
	uint64_t events;
	json_t *lost = show_lost(b, bundle, &events, warnings);

	if (bundle->kernel)
		kernel_refresh(bundle->kernel);
	for (size_t i = 0; i < stored->param_count; i++)
		json_object_set_new(params, stored->params[i].name, show_text(stored->params[i].text));
	json_object_set_new(json, "programs", show_programs(bundle->kernel));
	json_object_set_new(json, "outputs", show_outputs(bundle));
	json_object_set_new(json, "events", number(events));
	json_object_set_new(json, "lost", lost);
	json_object_set_new(json, "parameters", params);
	return json;
}

/* ---- parameters ---- */

static void type_text(const struct manifest_param *p, char *dst, size_t size)
{
	char base[32];

	if (p->kind == PARAM_UINT || p->kind == PARAM_INT)
		snprintf(base, sizeof(base), "%c%u", p->kind == PARAM_UINT ? 'u' : 's', p->size * 8);
	else
		snprintf(base, sizeof(base), "%s", param_kind_names[p->kind]);
	if (p->count)
		snprintf(dst, size, "%s list, at most %u", base, p->count);
	else
		snprintf(dst, size, "%s", base);
}

static json_t *show_param(const struct bundle *bundle, const struct manifest *m, const struct manifest_param *p)
{
	OWN_FREE uint8_t *bytes = calloc(1, param_bytes(p) + 1);
	OWN_FREE char *initial = malloc(PARAM_TEXT_MAX_BYTES), *value = malloc(PARAM_TEXT_MAX_BYTES);
	char type[64];
	struct err e = ERR_INIT;

	if (!bytes || !initial || !value)
		return NULL;
	type_text(p, type, sizeof(type));
	param_format(m, p, p->initial, initial, PARAM_TEXT_MAX_BYTES);
	if (param_read(bundle->kernel, p, bytes, &e))
		snprintf(value, PARAM_TEXT_MAX_BYTES, "unknown");
	else
		param_format(m, p, bytes, value, PARAM_TEXT_MAX_BYTES);
	json_t *json = json_pack("{s:o,s:s,s:o,s:o,s:o}", "name", show_text(p->name), "type", type, "value",
				 show_text(value), "default", show_text(initial), "help", show_text(p->help));
	if (p->unit[0])
		json_object_set_new(json, "unit", show_text(p->unit));
	if (p->kind == PARAM_UINT) {
		json_object_set_new(json, "min", number(p->umin));
		json_object_set_new(json, "max", number(p->umax));
	} else if (p->kind == PARAM_INT) {
		json_object_set_new(json, "min", json_integer(p->min));
		json_object_set_new(json, "max", json_integer(p->max));
	} else if (p->kind == PARAM_ENUM && p->enum_index >= 0) {
		const struct manifest_enum *names = &m->enums[p->enum_index];
		json_t *list = json_array();
		for (size_t i = 0; i < names->value_count; i++)
			json_array_append_new(list, show_text(names->values[i].name));
		json_object_set_new(json, "enumerators", list);
	}
	return json;
}

json_t *show_params(const struct bundle *bundle)
{
	json_t *list = json_array();
	const struct manifest *m = bundle->verified ? verified_manifest(bundle->verified) : NULL;

	for (size_t i = 0; m && i < m->param_count; i++)
		json_array_append_new(list, show_param(bundle, m, &m->params[i]));
	return json_pack("{s:o,s:o}", "name", show_text(bundle->name), "parameters", list);
}

/* ---- results ---- */

json_t *show_result(const struct bundles_result *result)
{
	static const char *const actions[] = {
	    [BUNDLES_INSTALLED] = "installed",
	    [BUNDLES_UPGRADED] = "upgraded",
	    [BUNDLES_ALREADY] = "already installed",
	    [BUNDLES_VERIFIED] = "verified",
	};
	const struct manifest *m = verified_manifest(result->verified);
	const struct cms_signer *signers;
	size_t count = verified_signers(result->verified, &signers);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_pack("{s:o,s:o}", "signer", show_digest(&signers[i].signer), "subject",
						      show_text(signers[i].cert.subject)));
	return json_pack("{s:o,s:o,s:I,s:o,s:o,s:s,s:o}", "name", show_text(m->name), "version", show_text(m->version),
			 "serial", (json_int_t)m->serial, "digest", show_digest(verified_digest(result->verified)),
			 "signers", list, "action", actions[result->action], "programs", show_programs(result->kernel));
}

json_t *show_certificate(const struct cert_info *info, const char *names)
{
	return json_pack("{s:o,s:o,s:s,s:I,s:I,s:o}", "signer", show_digest(&info->signer), "subject",
			 show_text(info->subject), "algorithm", info->algorithm, "not_before",
			 (json_int_t)info->not_before, "not_after", (json_int_t)info->not_after, "names",
			 show_text(names));
}
