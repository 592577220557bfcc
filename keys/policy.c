#include "keys/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"

enum {
	POLICY_SCHEMA = 1,
	POLICY_MAX_GRANTS = 1024,
	POLICY_MAX_ITEMS = 1024, /* of one list */
	POLICY_PATTERN_MAX = 511,
};

struct patterns {
	char **item;
	size_t count;
};

struct grant {
	struct patterns names;
	struct digest *signers;
	size_t signer_count;
	unsigned threshold;
	struct patterns allow, deny;
};

struct policy {
	struct grant *grants;
	size_t grant_count;
	struct patterns allow, deny;
};

static void patterns_clear(struct patterns *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->item[i]);
	free((void *)p->item);
	*p = (struct patterns){};
}

static void grant_clear(struct grant *g)
{
	patterns_clear(&g->names);
	patterns_clear(&g->allow);
	patterns_clear(&g->deny);
	free(g->signers);
	*g = (struct grant){};
}

void policy_free(struct policy **policy)
{
	if (!*policy)
		return;
	for (size_t i = 0; i < (*policy)->grant_count; i++)
		grant_clear(&(*policy)->grants[i]);
	free((*policy)->grants);
	patterns_clear(&(*policy)->allow);
	patterns_clear(&(*policy)->deny);
	free(*policy);
	*policy = NULL;
}

int policy_default(struct policy **out, struct err *e)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return err_errno(e, ERR_NOMEM, "policy");
	*out = policy;
	return 0;
}

/* ---- patterns ---- */

/* After a mismatch only the last '*' needs another try, so the cost is at most length times length. */
static bool glob(const char *pattern, const char *text)
{
	const char *star = NULL, *again = NULL;

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			again = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++again;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static bool matches(const struct patterns *p, const char *text)
{
	for (size_t i = 0; i < p->count; i++)
		if (glob(p->item[i], text))
			return true;
	return false;
}

static bool name_pattern_valid(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= 2 * MANIFEST_NAME_MAX + 1 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-/*") == len;
}

/* "kind:rest", either may be or hold a '*'; or "*". */
static bool capability_pattern_valid(const char *s)
{
	size_t len = strlen(s), kind = strspn(s, "abcdefghijklmnopqrstuvwxyz_*");

	if (len == 0 || len > POLICY_PATTERN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return strcmp(s, "*") == 0 || (kind > 0 && s[kind] == ':' && s[kind + 1]);
}

static int patterns_add(struct patterns *p, const char *text, struct err *e)
{
	char **grown = (char **)reallocarray((void *)p->item, p->count + 1, sizeof(char *));

	if (!grown)
		return err_errno(e, ERR_NOMEM, "policy");
	p->item = grown;
	grown[p->count] = strdup(text);
	if (!grown[p->count])
		return err_errno(e, ERR_NOMEM, "policy");
	p->count++;
	return 0;
}

/* ---- reading ---- */

static int PRINTF_LIKE(3, 4) malformed(struct err *e, const char *place, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(e, ERR_POLICY_MALFORMED, "%s: %s", place, text);
}

static int check_object(const json_t *json, const char *place, const char *const *keys, struct err *e)
{
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return malformed(e, place, "not an object");
	json_object_foreach((json_t *)json, key, value)
	{
		size_t i = 0;
		while (keys[i] && strcmp(keys[i], key) != 0)
			i++;
		if (!keys[i])
			return malformed(e, place, "unknown key \"%.64s\"", key);
	}
	return 0;
}

static int check_list(const json_t *json, const char *place, size_t least, size_t most, struct err *e)
{
	if (!json_is_array(json))
		return malformed(e, place, json ? "not a list" : "missing");
	if (json_array_size(json) < least)
		return malformed(e, place, "empty");
	if (json_array_size(json) > most)
		return malformed(e, place, "more than %zu", most);
	return 0;
}

static int read_patterns(const json_t *json, const char *place, size_t least, bool (*valid)(const char *),
			 struct patterns *out, struct err *e)
{
	if (check_list(json, place, least, POLICY_MAX_ITEMS, e))
		return -1;
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *text = json_string_value(json_array_get(json, i));
		if (!text || !valid(text))
			return malformed(e, place, "item %zu is no pattern", i);
		if (patterns_add(out, text, e))
			return -1;
	}
	return 0;
}

static int read_capabilities(const json_t *json, const char *place, struct patterns *allow, struct patterns *deny,
			     struct err *e)
{
	static const char *const keys[] = {"allow", "deny", NULL};
	char inner[96];

	if (!json)
		return 0;
	if (check_object(json, place, keys, e))
		return -1;
	const json_t *list = json_object_get(json, "allow");
	snprintf(inner, sizeof(inner), "%s.allow", place);
	if (list && read_patterns(list, inner, 0, capability_pattern_valid, allow, e))
		return -1;
	list = json_object_get(json, "deny");
	snprintf(inner, sizeof(inner), "%s.deny", place);
	return list ? read_patterns(list, inner, 0, capability_pattern_valid, deny, e) : 0;
}

static int read_signers(const json_t *json, const char *place, struct grant *g, struct err *e)
{
	if (check_list(json, place, 1, POLICY_MAX_ITEMS, e))
		return -1;
	g->signers = calloc(json_array_size(json), sizeof(*g->signers));
	if (!g->signers)
		return err_errno(e, ERR_NOMEM, "policy");
	for (size_t i = 0; i < json_array_size(json); i++) {
		const char *hex = json_string_value(json_array_get(json, i));
		struct digest signer;

		if (!hex || !digest_parse(hex, &signer))
			return malformed(e, place, "item %zu is no signer: 64 lower-case hex digits", i);
		for (size_t k = 0; k < g->signer_count; k++)
			if (digest_equal(&g->signers[k], &signer))
				return malformed(e, place, "item %zu is there twice", i);
		g->signers[g->signer_count++] = signer;
	}
	return 0;
}

static int read_grant(const json_t *json, size_t index, struct grant *g, struct err *e)
{
	static const char *const keys[] = {"names", "signers", "threshold", "capabilities", NULL};
	char place[64], inner[80];

	snprintf(place, sizeof(place), "grants[%zu]", index);
	if (check_object(json, place, keys, e))
		return -1;
	snprintf(inner, sizeof(inner), "%s.names", place);
	if (read_patterns(json_object_get(json, "names"), inner, 1, name_pattern_valid, &g->names, e))
		return -1;
	snprintf(inner, sizeof(inner), "%s.signers", place);
	if (read_signers(json_object_get(json, "signers"), inner, g, e))
		return -1;
	const json_t *threshold = json_object_get(json, "threshold");
	json_int_t n = threshold ? json_integer_value(threshold) : 1;
	if (n < 1 || n > BUNDLE_MAX_SIGNATURES)
		return malformed(e, place, "threshold is not a whole number from 1 to %d", BUNDLE_MAX_SIGNATURES);
	g->threshold = (unsigned)n;
	snprintf(inner, sizeof(inner), "%s.capabilities", place);
	return read_capabilities(json_object_get(json, "capabilities"), inner, &g->allow, &g->deny, e);
}

static int read_policy(const json_t *json, struct policy *policy, struct err *e)
{
	static const char *const keys[] = {"schema", "grants", "capabilities", NULL};

	if (check_object(json, "policy", keys, e))
		return -1;
	const json_t *schema = json_object_get(json, "schema");
	if (!json_is_integer(schema) || json_integer_value(schema) != POLICY_SCHEMA)
		return malformed(e, "schema", "not %d, which is what this program knows", POLICY_SCHEMA);
	if (read_capabilities(json_object_get(json, "capabilities"), "capabilities", &policy->allow, &policy->deny, e))
		return -1;
	const json_t *grants = json_object_get(json, "grants");
	if (check_list(grants, "grants", 0, POLICY_MAX_GRANTS, e))
		return -1;
	policy->grants = calloc(json_array_size(grants) + 1, sizeof(*policy->grants));
	if (!policy->grants)
		return err_errno(e, ERR_NOMEM, "policy");
	for (size_t i = 0; i < json_array_size(grants); i++)
		if (read_grant(json_array_get(grants, i), i, &policy->grants[policy->grant_count++], e))
			return -1;
	return 0;
}

int policy_parse(const uint8_t *json, size_t size, struct policy **out, struct err *e)
{
	OWN(policy) struct policy *policy = NULL;
	json_auto_t *root = NULL;

	if (size > POLICY_MAX_BYTES)
		return err_set(e, ERR_POLICY_MALFORMED, "more than %d bytes", POLICY_MAX_BYTES);
	if (policy_default(&policy, e))
		return -1;
	if (json_read(json, size, ERR_POLICY_MALFORMED, &root, e) || read_policy(root, policy, e))
		return -1;
	*out = TAKE_PTR(policy);
	return 0;
}

int policy_load(int dir_fd, const char *path, struct policy **out, struct err *e)
{
	OWN_FREE uint8_t *json = NULL;
	size_t size;
	OWN_FD int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 && errno == ENOENT)
		return policy_default(out, e);
	if (fd < 0)
		return err_errno(e, ERR_IO, "%s", path);
	if (file_read_fd(fd, POLICY_MAX_BYTES, ERR_POLICY_MALFORMED, &json, &size, e) ||
	    policy_parse(json, size, out, e))
		return err_wrap(e, "%s", path);
	return 0;
}

/* ---- writing ---- */

static json_t *json_of_patterns(const struct patterns *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->count; i++)
		json_array_append_new(list, json_string(p->item[i]));
	return list;
}

static void put_capabilities(json_t *object, const struct patterns *allow, const struct patterns *deny)
{
	if (!allow->count && !deny->count)
		return;
	json_t *json = json_object();
	if (allow->count)
		json_object_set_new(json, "allow", json_of_patterns(allow));
	if (deny->count)
		json_object_set_new(json, "deny", json_of_patterns(deny));
	json_object_set_new(object, "capabilities", json);
}

static json_t *json_of_grant(const struct grant *g)
{
	json_t *json = json_object(), *signers = json_array();
	char hex[DIGEST_HEX_BYTES];

	for (size_t i = 0; i < g->signer_count; i++) {
		digest_hex(&g->signers[i], hex);
		json_array_append_new(signers, json_string(hex));
	}
	json_object_set_new(json, "names", json_of_patterns(&g->names));
	json_object_set_new(json, "signers", signers);
	json_object_set_new(json, "threshold", json_integer(g->threshold));
	put_capabilities(json, &g->allow, &g->deny);
	return json;
}

int policy_format(const struct policy *policy, char **out, size_t *out_size, struct err *e)
{
	unsigned long failures = json_failures();
	json_auto_t *json = json_object();
	json_t *grants = json_array();
	OWN_FREE char *text = NULL;

	for (size_t i = 0; i < policy->grant_count; i++)
		json_array_append_new(grants, json_of_grant(&policy->grants[i]));
	json_object_set_new(json, "schema", json_integer(POLICY_SCHEMA));
	json_object_set_new(json, "grants", grants);
	put_capabilities(json, &policy->allow, &policy->deny);
	if (json_write(json, JSON_INDENT(2), failures, &text, e))
		return err_wrap(e, "policy");
	size_t size = strlen(text);
	/* What is written must be read again. */
	if (size + 1 > POLICY_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "the policy would have more than %d bytes", POLICY_MAX_BYTES);
	char *line = realloc(text, size + 2);
	if (!line)
		return err_errno(e, ERR_NOMEM, "writing the policy");
	text = line;
	memcpy(text + size, "\n", 2);
	*out = TAKE_PTR(text);
	*out_size = size + 1;
	return 0;
}

/* ---- editing ---- */

static bool grant_has(const struct grant *g, const struct digest *signer)
{
	for (size_t i = 0; i < g->signer_count; i++)
		if (digest_equal(&g->signers[i], signer))
			return true;
	return false;
}

/* A grant that the new name may join without getting more than was asked for: no capabilities of its own. */
static struct grant *grant_of_only(struct policy *policy, const struct digest *signer)
{
	for (size_t i = 0; i < policy->grant_count; i++) {
		struct grant *g = &policy->grants[i];
		if (g->signer_count == 1 && g->threshold == 1 && !g->allow.count && !g->deny.count &&
		    grant_has(g, signer))
			return g;
	}
	return NULL;
}

static int grant_new(struct policy *policy, const char *name_pattern, const struct digest *signer, struct err *e)
{
	struct grant g = {.threshold = 1};

	if (policy->grant_count == POLICY_MAX_GRANTS)
		return err_set(e, ERR_LIMIT, "more than %d grants", POLICY_MAX_GRANTS);
	struct grant *grown = reallocarray(policy->grants, policy->grant_count + 1, sizeof(*grown));
	if (!grown)
		return err_errno(e, ERR_NOMEM, "policy");
	policy->grants = grown;
	g.signers = calloc(1, sizeof(*g.signers));
	if (!g.signers)
		return err_errno(e, ERR_NOMEM, "policy");
	g.signers[g.signer_count++] = *signer;
	if (patterns_add(&g.names, name_pattern, e)) {
		grant_clear(&g);
		return -1;
	}
	policy->grants[policy->grant_count++] = g;
	return 0;
}

int policy_grant(struct policy *policy, const char *name_pattern, const struct digest *signer, bool *changed,
		 struct err *e)
{
	struct grant *g = grant_of_only(policy, signer);

	if (!name_pattern_valid(name_pattern))
		return err_set(e, ERR_USAGE, "\"%s\" is no pattern of bundle names", name_pattern);
	for (size_t i = 0; g && i < g->names.count; i++)
		if (strcmp(g->names.item[i], name_pattern) == 0) {
			*changed = false;
			return 0;
		}
	if (g && g->names.count == POLICY_MAX_ITEMS)
		return err_set(e, ERR_LIMIT, "more than %d names in one grant", POLICY_MAX_ITEMS);
	if (g ? patterns_add(&g->names, name_pattern, e) : grant_new(policy, name_pattern, signer, e))
		return -1;
	*changed = true;
	return 0;
}

int policy_ungrant(struct policy *policy, const struct digest *signer, struct err *e)
{
	size_t kept = 0;

	(void)e;
	for (size_t i = 0; i < policy->grant_count; i++) {
		struct grant *g = &policy->grants[i];
		size_t left = 0;

		/* The threshold stays: fewer signers must not make it easier. */
		for (size_t k = 0; k < g->signer_count; k++)
			if (!digest_equal(&g->signers[k], signer))
				g->signers[left++] = g->signers[k];
		g->signer_count = left;
		if (left == 0)
			grant_clear(g);
		else
			policy->grants[kept++] = *g;
	}
	policy->grant_count = kept;
	return 0;
}

void policy_names_of(const struct policy *policy, const struct digest *signer, char *dst, size_t size)
{
	size_t used = 0;

	if (size)
		dst[0] = '\0';
	for (size_t i = 0; i < policy->grant_count; i++) {
		const struct grant *g = &policy->grants[i];
		for (size_t k = 0; grant_has(g, signer) && k < g->names.count && used < size; k++) {
			int n = snprintf(dst + used, size - used, "%s%s", used ? ", " : "", g->names.item[k]);
			used += n > 0 ? (size_t)n : 0;
		}
	}
}

/* ---- deciding ---- */

static bool signer_granted(const struct grant *g, const struct cms_signer *signer)
{
	for (size_t i = 0; i < signer->chain_count; i++)
		if (grant_has(g, &signer->chain[i]))
			return true;
	return false;
}

/* Distinct leaf keys: one key under two certificates is one signer. */
static unsigned count_granted(const struct grant *g, const struct cms_signer *signers, size_t count)
{
	unsigned found = 0;

	for (size_t i = 0; i < count; i++) {
		bool again = false;
		for (size_t k = 0; k < i; k++)
			again = again || digest_equal(&signers[k].signer, &signers[i].signer);
		if (!again && signer_granted(g, &signers[i]))
			found++;
	}
	return found;
}

int policy_admit(const struct policy *policy, const char *name, const struct cms_signer *signers, size_t signer_count,
		 size_t *out_grant, struct err *e)
{
	unsigned best = 0, needed = 0;
	bool granted = false;

	for (size_t i = 0; i < policy->grant_count; i++) {
		const struct grant *g = &policy->grants[i];
		if (!matches(&g->names, name))
			continue;
		granted = true;
		unsigned found = count_granted(g, signers, signer_count);
		if (found >= g->threshold) {
			*out_grant = i;
			return 0;
		}
		if (found > best) {
			best = found;
			needed = g->threshold;
		}
	}
	if (!granted)
		return err_set(e, ERR_POLICY_NAME, "nobody may sign the name %s", name);
	if (best == 0)
		return err_set(e, ERR_POLICY_NAME, "none of its signers may sign the name %s", name);
	return err_set(e, ERR_POLICY_THRESHOLD, "%s is signed by %u of the %u signers that it needs", name, best,
		       needed);
}

static bool default_allows(const char *word)
{
	for (size_t i = 0; policy_default_allow[i]; i++)
		if (glob(policy_default_allow[i], word))
			return true;
	return false;
}

int policy_capabilities(const struct policy *policy, size_t grant, const struct capabilities *caps, struct err *e)
{
	static const struct grant none;
	const struct grant *g = grant == POLICY_NO_GRANT ? &none : &policy->grants[grant];

	for (size_t i = 0; i < caps->count; i++) {
		const char *word = caps->word[i];
		if (matches(&policy->deny, word) || matches(&g->deny, word))
			return err_set(e, ERR_CAPABILITY_REFUSED, "%s is denied by the policy", word);
		if (!default_allows(word) && !matches(&policy->allow, word) && !matches(&g->allow, word))
			return err_set(e, ERR_CAPABILITY_REFUSED, "%s is not allowed by the policy", word);
	}
	return 0;
}
