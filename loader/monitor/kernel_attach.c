#include <string.h>

#include "keys/libbpf_said.h"
#include "loader/monitor/kernel_impl.h"

enum { FREQUENCY_DEFAULT = 49, INTERVAL_MIN_MS = 10, INTERVAL_MAX_MS = 3600000 };

/* ---- options: "key=value key=value" ---- */

static int option_number(const char *value, uint32_t least, uint32_t most, uint32_t *out)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end || n < least || n > most)
		return -1;
	*out = (uint32_t)n;
	return 0;
}

/* A path that stays below the root that it is taken from. */
static bool is_below(const char *path)
{
	for (const char *at = path; at; at = strchr(at, '/')) {
		at += *at == '/';
		if (strncmp(at, "..", 2) == 0 && (at[2] == '\0' || at[2] == '/'))
			return false;
	}
	return true;
}

static bool option_set(struct attach_options *o, const char *key, const char *value)
{
	if (strcmp(key, "interface") == 0) {
		bool all = strcmp(value, "all") == 0;
		snprintf(o->interface, sizeof(o->interface), "%s", all ? "" : value);
		return value[0] && strlen(value) < sizeof(o->interface);
	}
	if (strcmp(key, "direction") == 0) {
		o->egress = strcmp(value, "egress") == 0;
		return o->egress || strcmp(value, "ingress") == 0;
	}
	if (strcmp(key, "frequency") == 0)
		return option_number(value, 1, SUPERVISOR_PERF_FREQUENCY_MAX, &o->frequency) == 0;
	if (strcmp(key, "interval_ms") == 0)
		return option_number(value, INTERVAL_MIN_MS, INTERVAL_MAX_MS, &o->interval_ms) == 0;
	if (strcmp(key, "map") == 0) {
		snprintf(o->map, sizeof(o->map), "%s", value);
		return value[0] && strlen(value) < sizeof(o->map);
	}
	if (strcmp(key, "cgroup") == 0) {
		value += strspn(value, "/");
		snprintf(o->cgroup, sizeof(o->cgroup), "%s", value);
		return strlen(value) < sizeof(o->cgroup) && is_below(value);
	}
	return false;
}

int attach_options_parse(const struct manifest_program *program, struct attach_options *out, struct err *e)
{
	struct attach_options o = {.frequency = FREQUENCY_DEFAULT};
	OWN_FREE char *text = strdup(program->options);
	char *rest = NULL;

	if (!text)
		return err_errno(e, ERR_NOMEM, "attach options");
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		char *value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (!value || !option_set(&o, word, value))
			return err_set(e, ERR_MANIFEST_VALUE, "attach option %s%s%s", word, value ? "=" : "",
				       value ? value : "");
	}
	*out = o;
	return 0;
}

/* ---- attachments ---- */

int attachment_add(struct kernel_prog *p, const struct attachment *a, struct err *e)
{
	struct attachment *grown = reallocarray(p->attachments, p->attachment_count + 1, sizeof(*grown));

	if (!grown)
		return err_errno(e, ERR_NOMEM, "attachment of %s", p->program->name);
	p->attachments = grown;
	p->attachments[p->attachment_count] = *a;
	p->attachments[p->attachment_count++].number = p->next_number++;
	return 0;
}

int attachment_add_fd(struct kernel_prog *p, int *fd, int ifindex, struct err *e)
{
	if (attachment_add(p, &(struct attachment){.kind = ATTACHMENT_FD, .fd = *fd, .ifindex = ifindex}, e))
		return -1;
	*fd = -1;
	return 0;
}

int attachment_add_link(struct kernel_prog *p, struct bpf_link *link, struct err *e)
{
	if (!link)
		return err_errno(e, ERR_KERNEL_ATTACH, "%s", p->program->section);
	if (attachment_add(p, &(struct attachment){.kind = ATTACHMENT_LIBBPF, .link = link, .fd = -1}, e)) {
		bpf_link__destroy(link);
		return -1;
	}
	return 0;
}

int attachment_fd(const struct attachment *a)
{
	return a->kind == ATTACHMENT_LIBBPF ? bpf_link__fd(a->link) : a->fd;
}

void detach_prog(struct kernel_bundle *kb, size_t i)
{
	struct kernel_prog *p = &kb->progs[i];

	for (size_t n = p->attachment_count; n-- > 0;) {
		struct attachment *a = &p->attachments[n];
		net_give_back(p, a);
		switch (a->kind) {
		case ATTACHMENT_LIBBPF:
			/* What is pinned stays: undoing it here would also disable perf events that others hold. */
			if (p->pinned)
				bpf_link__disconnect(a->link);
			if (p->pinned && bpf_link__fd(a->link) >= 0)
				close(bpf_link__fd(a->link));
			bpf_link__destroy(a->link);
			break;
		case ATTACHMENT_FD:
			close(a->fd);
			break;
		case ATTACHMENT_TC:
			if (!p->pinned && net_detach_tc(kb->pin_root, &a->tc, kb->views[i].id, NULL))
				break; /* gone with its interface, or not ours any more */
			break;
		}
	}
	free(p->attachments);
	p->attachments = NULL;
	p->attachment_count = 0;
	free(p->refusals);
	p->refusals = NULL;
	p->refusal_count = 0;
	kb->views[i].interfaces[0] = '\0';
	p->attached = false;
}

/* ---- kinds that libbpf attaches ---- */

static int attach_raw_tp(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	(void)kb;
	return attachment_add_link(p, bpf_program__attach_raw_tracepoint(p->bpf, p->program->target), e);
}

static int attach_trace(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	(void)kb;
	return attachment_add_link(p, bpf_program__attach_trace(p->bpf), e);
}

int attach_split_offset(char *symbol, size_t *offset, struct err *e)
{
	char *plus = strchr(symbol, '+'), *end;

	*offset = 0;
	if (!plus)
		return 0;
	*plus = '\0';
	errno = 0;
	*offset = strtoul(plus + 1, &end, 0);
	if (errno || !plus[1] || *end)
		return err_set(e, ERR_KERNEL_ATTACH, "offset \"%s\" is no number", plus + 1);
	return 0;
}

/* ---- every kind ---- */

static const struct {
	const char *kind;
	int (*attach)(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e);
} kinds[] = {
    {"tp", perf_attach_tp},
    {"raw_tp", attach_raw_tp},
    {"tp_btf", attach_trace},
    {"fentry", attach_trace},
    {"fexit", attach_trace},
    {"kprobe", perf_attach_kprobe},
    {"kretprobe", perf_attach_kprobe},
    {"uprobe", uprobe_attach},
    {"uretprobe", uprobe_attach},
    {"usdt", usdt_attach},
    {"perf_event", perf_attach_clock},
    {"cgroup_skb", net_attach_cgroup},
    {"sockops", net_attach_cgroup},
    {"socket", interface_attach},
    {"xdp", interface_attach},
    {"tc", interface_attach},
    {"iter", iter_attach},
};

bool attach_kind_known(const char *kind)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			return true;
	return false;
}

int attach_prog(struct kernel_bundle *kb, size_t i, struct err *e)
{
	struct kernel_prog *p = &kb->progs[i];
	OWN_LIBBPF_SAID struct libbpf_said said = {0};
	char label[300];
	int result = -1;

	if (!p->bpf)
		return err_set(e, ERR_INTERNAL, "program %s cannot be attached any more", p->program->name);
	libbpf_listen(&said);
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		if (strcmp(kinds[k].kind, p->program->attach) == 0)
			result = kinds[k].attach(kb, p, e);
	libbpf_listen_end();
	if (result) {
		err_log(e, said.text);
		detach_prog(kb, i);
		return err_wrap(e, "%s", prog_label(kb, i, label, sizeof(label)));
	}
	p->attached = true;
	return 0;
}

int attach_to_interface(struct kernel_bundle *kb, size_t i, int ifindex, struct err *e)
{
	OWN_LIBBPF_SAID struct libbpf_said said = {0};

	libbpf_listen(&said);
	int result = net_attach_to(kb, &kb->progs[i], ifindex, e);
	libbpf_listen_end();
	if (result)
		err_log(e, said.text);
	return result;
}
