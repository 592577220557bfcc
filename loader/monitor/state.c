#include "loader/monitor/state.h"

#include <fcntl.h>
#include <string.h>

#include "bundles/base/file.h"
#include "bundles/manifest.h"
#include "loader/monitor/state_json.h"

int state_boot_id(char out[static BOOT_ID_BYTES], struct err *e)
{
	OWN_FREE uint8_t *text = NULL;
	size_t size;

	if (file_read("/proc/sys/kernel/random/boot_id", 64, ERR_INTERNAL, &text, &size, e))
		return -1;
	if (size < BOOT_ID_BYTES - 1)
		return err_set(e, ERR_INTERNAL, "boot_id of %zu bytes", size);
	memcpy(out, text, BOOT_ID_BYTES - 1);
	out[BOOT_ID_BYTES - 1] = '\0';
	return 0;
}

void state_bundle_clear(struct state_bundle *bundle)
{
	for (size_t i = 0; i < bundle->param_count; i++) {
		free(bundle->params[i].name);
		free(bundle->params[i].text);
	}
	free(bundle->params);
	bundle->params = NULL;
	bundle->param_count = 0;
}

static void drop_bundles(struct state *state)
{
	for (size_t i = 0; i < state->count; i++)
		state_bundle_clear(&state->bundles[i]);
	free(state->bundles);
	state->bundles = NULL;
	state->count = 0;
}

void state_free(struct state *state)
{
	drop_bundles(state);
	if (state->dir_fd >= 0)
		close(state->dir_fd);
	*state = (struct state)STATE_INIT;
}

static int read_state(struct state *state, struct err *e)
{
	OWN_FREE uint8_t *json = NULL;
	size_t size;
	OWN_FD int fd = openat(state->dir_fd, "state.json", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	state->missing = fd < 0 && errno == ENOENT;
	if (fd < 0)
		return state->missing ? 0 : err_errno(e, ERR_STATE_IO, "open");
	if (file_read_fd(fd, STATE_MAX_BYTES, ERR_STATE_CORRUPT, &json, &size, e))
		return -1;
	return state_parse(json, size, state, e);
}

int state_open(const char *folder, struct state *out, struct err *e)
{
	struct state state = STATE_INIT;
	struct err why = ERR_INIT;

	state.dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state.dir_fd < 0)
		return err_errno(e, ERR_STATE_IO, "%s", folder);
	if (read_state(&state, &why)) {
		if (why.code != ERR_STATE_CORRUPT) {
			state_free(&state);
			if (e)
				*e = why;
			return err_wrap(e, "%s/state.json", folder);
		}
		/* Half of what it said is no better than nothing. */
		drop_bundles(&state);
		state.boot_id[0] = '\0';
		err_text(&why, state.damage, sizeof(state.damage));
	}
	*out = state;
	return 0;
}

int state_save(const struct state *state, struct err *e)
{
	OWN_FREE char *json = NULL;

	if (state_format(state, &json, e))
		return -1;
	if (file_replace_at(state->dir_fd, "state.json", json, strlen(json), 0600, e)) {
		if (e)
			e->code = ERR_STATE_IO;
		return -1;
	}
	return 0;
}

struct state_bundle *state_find(const struct state *state, const char *name)
{
	for (size_t i = 0; i < state->count; i++)
		if (strcmp(state->bundles[i].name, name) == 0)
			return &state->bundles[i];
	return NULL;
}

int state_add(struct state *state, const char *name, struct state_bundle **out, struct err *e)
{
	struct state_bundle *found = state_find(state, name);

	if (!found) {
		if (!manifest_name_valid(name))
			return err_set(e, ERR_INTERNAL, "%s is no bundle's name", name);
		if (state->count == STATE_MAX_NAMES)
			return err_set(e, ERR_LIMIT, "more than %d names of bundles", STATE_MAX_NAMES);
		struct state_bundle *grown = reallocarray(state->bundles, state->count + 1, sizeof(*grown));
		if (!grown)
			return err_errno(e, ERR_NOMEM, "state");
		state->bundles = grown;
		found = &grown[state->count++];
		memset(found, 0, sizeof(*found));
		snprintf(found->name, sizeof(found->name), "%s", name);
	}
	*out = found;
	return 0;
}

int state_param_set(struct state_bundle *bundle, const char *name, const char *text, struct err *e)
{
	size_t i = 0;

	while (i < bundle->param_count && strcmp(bundle->params[i].name, name) != 0)
		i++;
	if (!text) {
		if (i == bundle->param_count)
			return 0;
		free(bundle->params[i].name);
		free(bundle->params[i].text);
		bundle->params[i] = bundle->params[--bundle->param_count];
		return 0;
	}
	OWN_FREE char *new_text = strdup(text);
	if (!new_text)
		return err_errno(e, ERR_NOMEM, "parameter %s", name);
	if (i < bundle->param_count) {
		free(bundle->params[i].text);
		bundle->params[i].text = TAKE_PTR(new_text);
		return 0;
	}
	OWN_FREE char *new_name = strdup(name);
	struct state_param *grown = reallocarray(bundle->params, bundle->param_count + 1, sizeof(*grown));
	if (grown)
		bundle->params = grown;
	if (!new_name || !grown)
		return err_errno(e, ERR_NOMEM, "parameter %s", name);
	grown[bundle->param_count++] = (struct state_param){.name = TAKE_PTR(new_name), .text = TAKE_PTR(new_text)};
	return 0;
}

const char *state_param_get(const struct state_bundle *bundle, const char *name)
{
	for (size_t i = 0; i < bundle->param_count; i++)
		if (strcmp(bundle->params[i].name, name) == 0)
			return bundle->params[i].text;
	return NULL;
}

int state_bundle_copy(const struct state_bundle *from, struct state_bundle *to, struct err *e)
{
	struct state_bundle copy = *from;

	copy.params = NULL;
	copy.param_count = 0;
	for (size_t i = 0; i < from->param_count; i++) {
		if (state_param_set(&copy, from->params[i].name, from->params[i].text, e)) {
			state_bundle_clear(&copy);
			return -1;
		}
	}
	*to = copy;
	return 0;
}
