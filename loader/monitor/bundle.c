#include <fcntl.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/ipc/log.h"
#include "loader/monitor/bundles.h"
#include "loader/monitor/params.h"

enum {
	LOST_INTERVAL_MS = 1000,
	MISSED_INTERVAL_MS = 1000,
	RETRY_MS = 1000,
	RETIRE_MS = 5000, /* the largest sample takes the worker four seconds */
};

const char *const bundle_condition_names[] = {
    [BUNDLE_RUNNING] = "running", [BUNDLE_PARTIAL] = "partial", [BUNDLE_STOPPED] = "stopped",
    [BUNDLE_REFUSED] = "refused", [BUNDLE_WAITING] = "waiting",
};

int bundle_apply_params(struct kernel_bundle *kernel, const struct manifest *m, struct state_bundle *stored,
			struct err *e)
{
	for (size_t i = 0; i < stored->param_count;) {
		const struct state_param *set = &stored->params[i];
		const struct manifest_param *param = manifest_param_find(m, set->name);
		struct err why = ERR_INIT;
		OWN_FREE uint8_t *bytes = NULL;
		OWN_FREE char *name = NULL;

		if (param) {
			bytes = calloc(1, param_bytes(param) + 1);
			if (!bytes)
				return err_errno(e, ERR_NOMEM, "parameter %s", set->name);
		}
		if (param && param_parse(m, param, set->text, bytes, &why) == 0) {
			if (param_apply(kernel, param, bytes, e))
				return err_wrap(e, "parameter %s", set->name);
			i++;
			continue;
		}
		log_line(LOG_LEVEL_WARNING, "%s: serial %llu does not take parameter %s=%s: back to its default",
			 m->name, (unsigned long long)m->serial, set->name, set->text);
		name = strdup(set->name);
		if (!name)
			return err_errno(e, ERR_NOMEM, "parameter");
		if (state_param_set(stored, name, NULL, e))
			return -1;
	}
	return 0;
}

/* ---- towards the worker ---- */

/* The worker reads a sample; a descriptor that can only read keeps it from writing into ours. */
static int read_only_copy(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void hand_ring(const struct bundles *b, const struct bundle *bundle, size_t output)
{
	const struct manifest *m = verified_manifest(bundle->verified);
	const struct manifest_output *o = &m->outputs[output];
	struct worker_msg msg = {.op = WORKER_OUTPUT, .bundle = bundle->handle, .output = (uint32_t)output, .cpus = 1};
	int fd = kernel_map_fd(bundle->kernel, o->object, o->map);

	if (fd < 0)
		return; /* no program of its object is in use */
	const struct manifest_map *map = manifest_output_map(m, o);
	msg.ring_bytes = map ? map->max_entries : 0;
	worker_send(b->worker, &msg, fd);
}

static void hand_sample(const struct bundles *b, const struct bundle *bundle, struct bundle_sample *s)
{
	struct worker_msg msg = {.op = WORKER_OUTPUT,
				 .bundle = bundle->handle,
				 .output = (uint32_t)s->output,
				 .cpus = sampler_cpus(s->sampler)};
	OWN_FD int fd = read_only_copy(sampler_fd(s->sampler));
	const struct manifest_output *o = &verified_manifest(bundle->verified)->outputs[s->output];

	/* To send it again would tell some of it twice. */
	uint32_t entries = s->with_worker ? sampler_drop(s->sampler) : 0;
	if (entries)
		log_line(LOG_LEVEL_WARNING,
			 "%s: the worker died with a sample of map %s: its %u entries count as lost, though some may "
			 "have been told",
			 bundle->name, o->map, entries);
	s->with_worker = false;
	if (fd < 0)
		log_line(LOG_LEVEL_ERROR, "%s: output %zu: %s", bundle->name, s->output, strerror(errno));
	else
		worker_send(b->worker, &msg, fd);
}

void bundle_hand_over(const struct bundles *b, struct bundle *bundle)
{
	struct worker_msg msg = {.op = WORKER_BUNDLE, .bundle = bundle->handle};

	if (!bundle->verified)
		return;
	const struct manifest *m = verified_manifest(bundle->verified);
	snprintf(msg.name, sizeof(msg.name), "%s", m->name);
	msg.serial = m->serial;
	msg.count = bundle->held;
	worker_send(b->worker, &msg, bundle->manifest_fd);
	bundle->missed = 0;
	for (size_t i = 0; i < m->output_count; i++)
		if (m->outputs[i].kind == OUTPUT_RING)
			hand_ring(b, bundle, i);
	for (size_t i = 0; i < bundle->sample_count; i++)
		hand_sample(b, bundle, &bundle->samples[i]);
}

void bundle_notice(const struct bundles *b, const char *name, uint64_t serial, const char *action, enum err_code code)
{
	struct worker_msg msg = {.op = WORKER_NOTICE, .serial = serial};

	snprintf(msg.name, sizeof(msg.name), "%s", name);
	snprintf(msg.action, sizeof(msg.action), "%s", action);
	if (code != ERR_NONE)
		snprintf(msg.code, sizeof(msg.code), "%s", err_name(code));
	worker_send(b->worker, &msg, -1);
}

/* ---- samples ---- */

static void drop_samples(struct bundle *bundle)
{
	for (size_t i = 0; i < bundle->sample_count; i++)
		sampler_free(&bundle->samples[i].sampler);
	free(bundle->samples);
	bundle->samples = NULL;
	bundle->sample_count = 0;
}

static int make_samples(struct bundle *bundle, const struct manifest *m, struct err *e)
{
	bundle->samples = calloc(m->output_count ? m->output_count : 1, sizeof(*bundle->samples));
	if (!bundle->samples)
		return err_errno(e, ERR_NOMEM, "outputs of %s", m->name);
	for (size_t i = 0; i < m->output_count; i++) {
		const struct manifest_output *o = &m->outputs[i];
		struct bundle_sample *s = &bundle->samples[bundle->sample_count];
		if (o->kind == OUTPUT_RING || kernel_map_fd(bundle->kernel, o->object, o->map) < 0)
			continue;
		if (sampler_new(bundle->kernel, m, i, &s->sampler, e))
			return err_wrap(e, "output %s of %s", o->map, m->name);
		s->output = i;
		bundle->sample_count++;
	}
	return 0;
}

static uint32_t interval_ms(const struct manifest *m, const struct bundle_sample *s)
{
	uint32_t ms = sampler_interval_ms(s->sampler);

	if (m->outputs[s->output].kind == OUTPUT_LOST || ms == 0)
		return LOST_INTERVAL_MS;
	return ms;
}

static bool can_take(const struct bundles *b, const struct bundle_sample *s)
{
	return b->worker->ready && !s->with_worker;
}

static void take_sample(const struct bundles *b, const struct bundle *bundle, struct bundle_sample *s)
{
	const struct worker_msg msg = {.op = WORKER_SAMPLE, .bundle = bundle->handle, .output = (uint32_t)s->output};
	struct err e = ERR_INIT;

	if (sampler_take(s->sampler, &e)) {
		if (!s->failed)
			log_err(LOG_LEVEL_ERROR, &e);
		s->failed = true;
		return;
	}
	s->failed = false;
	s->with_worker = true;
	worker_send(b->worker, &msg, -1);
}

static void tell_missed(const struct bundles *b, struct bundle *bundle, uint64_t now_ms)
{
	struct worker_msg msg = {.op = WORKER_MISSED, .bundle = bundle->handle};

	bundle->missed_due_ms = loop_next(now_ms, MISSED_INTERVAL_MS);
	if (!b->worker->ready)
		return;
	msg.count = kernel_missed(bundle->kernel);
	if (msg.count == bundle->missed)
		return;
	bundle->missed = msg.count;
	worker_send(b->worker, &msg, -1);
}

static void iterate(struct bundle *bundle, uint64_t now_ms)
{
	struct err e = ERR_INIT;
	int next = -1;

	if (kernel_run_iterators(bundle->kernel, now_ms, &next, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
		next = RETRY_MS;
	}
	bundle->iterate_ms = next < 0 ? UINT64_MAX : now_ms + (uint64_t)next;
}

void bundle_sample(struct bundles *b, struct bundle *bundle, uint64_t now_ms, uint64_t *next_ms)
{
	if (!bundle->kernel)
		return;
	for (size_t i = 0; i < bundle->sample_count; i++) {
		struct bundle_sample *s = &bundle->samples[i];
		uint64_t at = s->due_ms;
		/* An interval that was shortened meanwhile counts at once. */
		uint64_t most = loop_next(now_ms, interval_ms(verified_manifest(bundle->verified), s));
		s->due_ms = loop_sooner(at, most);
		if (now_ms >= s->due_ms) {
			s->due_ms = most;
			/* Nobody to take it in, or still at it: the map keeps what it has. */
			if (can_take(b, s))
				take_sample(b, bundle, s);
		}
		*next_ms = loop_sooner(*next_ms, s->due_ms);
	}
	if (now_ms >= bundle->missed_due_ms)
		tell_missed(b, bundle, now_ms);
	*next_ms = loop_sooner(*next_ms, bundle->missed_due_ms);
	if (now_ms >= bundle->iterate_ms)
		iterate(bundle, now_ms);
	*next_ms = loop_sooner(*next_ms, bundle->iterate_ms);
}

/* ---- running ---- */

/* Two bundles never share a slot of the worker's counters. */
static uint32_t new_handle(struct bundles *b)
{
	for (;;) {
		uint32_t handle = ++b->last_handle;
		bool taken = handle == 0;
		for (size_t i = 0; i < b->count && !taken; i++)
			taken = b->bundle[i]->handle &&
				b->bundle[i]->handle % WORKER_STATS_SLOTS == handle % WORKER_STATS_SLOTS;
		if (!taken)
			return handle;
	}
}

void bundle_enter(struct bundles *b, struct bundle *bundle)
{
	bundle->handle = new_handle(b);
	bundle_hand_over(b, bundle);
}

/* What was counted since the last interval. A worker that is at a sample, or just starts again, is waited for. */
static void take_last_samples(const struct bundles *b, const struct bundle *bundle, uint64_t deadline_ms)
{
	while (!b->worker->ready && worker_wait(b->worker, deadline_ms))
		;
	if (!b->worker->ready)
		log_line(LOG_LEVEL_WARNING, "%s: no worker runs: what its maps and rings hold at the end is lost",
			 bundle->name);
	for (size_t i = 0; b->worker->ready && i < bundle->sample_count; i++) {
		struct bundle_sample *s = &bundle->samples[i];
		while (!can_take(b, s) && worker_wait(b->worker, deadline_ms))
			;
		if (can_take(b, s))
			take_sample(b, bundle, s);
		else
			log_line(LOG_LEVEL_WARNING,
				 "%s: the worker still reads a sample of map %s: what was counted since is lost",
				 bundle->name, verified_manifest(bundle->verified)->outputs[s->output].map);
	}
}

int bundle_retire(struct bundles *b, struct bundle *bundle, struct err *e)
{
	const struct worker_msg msg = {.op = WORKER_REMOVE, .bundle = bundle->handle};
	uint64_t now = loop_now_ms();
	int rc = 0;

	if (bundle->kernel) {
		kernel_missed(bundle->kernel); /* links take theirs along */
		kernel_detach(bundle->kernel);
		take_last_samples(b, bundle, now + RETIRE_MS);
		tell_missed(b, bundle, now);
		rc = kernel_remove(&bundle->kernel, e);
	}
	if (bundle->left_pinned)
		rc = kernel_remove_pins(&b->host, bundle->name, bundle->left_pinned, e);
	bundle->left_pinned = 0;
	if (bundle->handle)
		worker_send(b->worker, &msg, -1);
	return rc;
}

/* A group is served by any of its programs. */
static bool group_served(const struct kernel_program *programs, size_t count, const struct kernel_program *one)
{
	for (size_t i = 0; i < count; i++)
		if (programs[i].object == one->object && strcmp(programs[i].program->group, one->program->group) == 0 &&
		    programs[i].state != KERNEL_UNAVAILABLE)
			return true;
	return false;
}

static enum bundle_condition condition_of(const struct kernel_bundle *kernel)
{
	const struct kernel_program *programs;
	size_t count = kernel_programs(kernel, &programs);

	for (size_t i = 0; i < count; i++)
		if (programs[i].state == KERNEL_UNAVAILABLE &&
		    (!programs[i].program->group[0] || !group_served(programs, count, &programs[i])))
			return BUNDLE_PARTIAL;
	return BUNDLE_RUNNING;
}

int bundle_new(struct verified_bundle **verified, struct kernel_bundle **kernel, struct bundle **out, struct err *e)
{
	struct bundle *bundle = calloc(1, sizeof(*bundle));
	const struct manifest *m = verified_manifest(*verified);
	const struct bundle_file *file = verified_manifest_file(*verified);

	if (!bundle)
		return err_errno(e, ERR_NOMEM, "bundle %s", m->name);
	snprintf(bundle->name, sizeof(bundle->name), "%s", m->name);
	bundle->manifest_fd = -1;
	bundle->kernel = *kernel;
	bundle->condition = condition_of(*kernel);
	if (file_sealed("obsload-manifest", file->data, file->size, &bundle->manifest_fd, e) ||
	    make_samples(bundle, m, e)) {
		bundle->kernel = NULL;
		bundle_free(&bundle);
		return -1;
	}
	bundle_note_signers(bundle, *verified);
	bundle->verified = TAKE_PTR(*verified);
	*kernel = NULL;
	*out = bundle;
	return 0;
}

static void rest(struct bundle *bundle, enum bundle_condition condition, const struct err *why)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];

	bundle->condition = condition;
	snprintf(bundle->reason, sizeof(bundle->reason), "%.*s [%s]", BUNDLE_REASON_BYTES - 80,
		 err_text(why, text, sizeof(text)), err_name(why->code));
	bundle->iterate_ms = UINT64_MAX;
}

int bundle_new_idle(const char *name, enum bundle_condition condition, const struct err *why, struct bundle **out,
		    struct err *e)
{
	struct bundle *bundle = calloc(1, sizeof(*bundle));

	if (!bundle)
		return err_errno(e, ERR_NOMEM, "bundle %s", name);
	snprintf(bundle->name, sizeof(bundle->name), "%s", name);
	bundle->manifest_fd = -1;
	rest(bundle, condition, why);
	*out = bundle;
	return 0;
}

void bundle_note_signers(struct bundle *bundle, const struct verified_bundle *verified)
{
	const struct cms_signer *signers;

	bundle->signer_count = verified_signers(verified, &signers);
	memcpy(bundle->signers, signers, bundle->signer_count * sizeof(*signers));
}

bool bundle_part_of(const struct bundle *bundle, const struct digest *identity)
{
	if (!bundle->verified)
		return false;
	if (digest_equal(verified_digest(bundle->verified), identity))
		return true;
	for (size_t i = 0; i < bundle->signer_count; i++)
		for (size_t k = 0; k < bundle->signers[i].chain_count; k++)
			if (digest_equal(&bundle->signers[i].chain[k], identity))
				return true;
	return false;
}

static void stop(struct bundle *bundle)
{
	drop_samples(bundle);
	kernel_close(&bundle->kernel);
	verified_bundle_free(&bundle->verified);
	bundle->signer_count = 0;
	bundle->unaudited = false;
	if (bundle->manifest_fd >= 0)
		close(bundle->manifest_fd);
	bundle->manifest_fd = -1;
}

int bundle_refuse(struct bundles *b, struct bundle *bundle, const struct err *why, struct err *e)
{
	int rc = bundle_retire(b, bundle, e);

	stop(bundle);
	bundle->handle = 0;
	rest(bundle, BUNDLE_REFUSED, why);
	return rc;
}

void bundle_free(struct bundle **bundle)
{
	if (!*bundle)
		return;
	stop(*bundle);
	free(*bundle);
	*bundle = NULL;
}
