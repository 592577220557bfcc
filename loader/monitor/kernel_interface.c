#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "loader/monitor/kernel_impl.h"

/* Programs on network interfaces, which come and go while the programs run. What an event said is never believed: the
 * kernel is asked what stands, since an index may be that of another device by now. */

struct interface {
	int index;
	bool up;
	char name[IF_NAMESIZE];
};

enum presence { HERE, GONE, UNKNOWN };

static enum presence look(int index, struct interface *out)
{
	struct ifreq request = {.ifr_ifindex = index};
	OWN_FD int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*out = (struct interface){.index = index};
	snprintf(out->name, sizeof(out->name), "#%d", index);
	if (fd < 0)
		return UNKNOWN;
	if (ioctl(fd, SIOCGIFNAME, &request))
		return errno == ENODEV || errno == ENXIO ? GONE : UNKNOWN;
	memcpy(out->name, request.ifr_name, sizeof(out->name));
	if (ioctl(fd, SIOCGIFFLAGS, &request))
		return errno == ENODEV ? GONE : UNKNOWN;
	out->up = request.ifr_flags & IFF_UP;
	return HERE;
}

bool interface_follows(const struct kernel_prog *p)
{
	const char *kind = p->program->attach;

	return strcmp(kind, "xdp") == 0 || strcmp(kind, "tc") == 0 ||
	       (strcmp(kind, "socket") == 0 && p->options.interface[0]);
}

static bool covers(const struct kernel_prog *p, const struct interface *at)
{
	return !p->options.interface[0] || strcmp(p->options.interface, at->name) == 0;
}

static bool is_on(const struct kernel_prog *p, int index)
{
	for (size_t n = 0; n < p->attachment_count; n++)
		if (p->attachments[n].ifindex == index)
			return true;
	return false;
}

/* ---- refusals, for whoever asks for the status ---- */

static void explain(struct kernel_bundle *kb, size_t i)
{
	const struct kernel_prog *p = &kb->progs[i];
	char *text = kb->views[i].interfaces;
	size_t size = sizeof(kb->views[i].interfaces);

	text[0] = '\0';
	if (p->refusal_count > 1)
		snprintf(text, size, "not on %s and %zu more: %s", p->refusals[0].name, p->refusal_count - 1,
			 p->refusals[0].why);
	else if (p->refusal_count)
		snprintf(text, size, "not on %s: %s", p->refusals[0].name, p->refusals[0].why);
	else if (p->attached && interface_follows(p) && p->attachment_count == 0)
		snprintf(text, size, "waits for %s to be up",
			 p->options.interface[0] ? p->options.interface : "an interface");
}

static void forget_refusal(struct kernel_prog *p, int index)
{
	for (size_t n = 0; n < p->refusal_count; n++)
		if (p->refusals[n].index == index)
			p->refusals[n--] = p->refusals[--p->refusal_count];
}

/* Whether it is news. */
static bool note_refusal(struct kernel_prog *p, const struct interface *at, const struct err *why)
{
	char text[ERR_FRAMES * ERR_FRAME_BYTES];
	struct interface_refusal one = {.index = at->index};
	bool known = false;

	memcpy(one.name, at->name, sizeof(one.name));
	snprintf(one.why, sizeof(one.why), "%.*s", (int)sizeof(one.why) - 1, err_text(why, text, sizeof(text)));
	for (size_t n = 0; n < p->refusal_count; n++)
		known |= p->refusals[n].index == one.index && strcmp(p->refusals[n].name, one.name) == 0 &&
			 strcmp(p->refusals[n].why, one.why) == 0;
	forget_refusal(p, one.index);
	struct interface_refusal *grown = reallocarray(p->refusals, p->refusal_count + 1, sizeof(*grown));
	if (!grown)
		return !known;
	p->refusals = grown;
	p->refusals[p->refusal_count++] = one;
	return !known;
}

/* ---- the first time ---- */

static int attach_to_named(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	unsigned index = if_nametoindex(p->options.interface);

	if (index == 0)
		return err_errno(e, ERR_KERNEL_ATTACH, "interface %s", p->options.interface);
	return net_attach_to(kb, p, (int)index, e);
}

/* One interface that refuses does not take the others' events away; all of them do. */
static int attach_to_all(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	struct if_nameindex *all = if_nameindex();
	bool any = false;

	if (!all)
		return err_errno(e, ERR_KERNEL_ATTACH, "list of interfaces");
	for (struct if_nameindex *at = all; at->if_index; at++) {
		struct interface one;
		struct err why = ERR_INIT;
		if (look((int)at->if_index, &one) != HERE || !one.up || net_attach_to(kb, p, one.index, &why) == 0)
			continue;
		note_refusal(p, &one, &why);
		if (!any && e)
			*e = why;
		any = true;
	}
	if_freenameindex(all);
	if (p->attachment_count)
		return 0;
	return any ? -1 : err_set(e, ERR_KERNEL_ATTACH, "no interface is up");
}

int interface_attach(struct kernel_bundle *kb, struct kernel_prog *p, struct err *e)
{
	int result;

	if (!interface_follows(p))
		return net_attach_to(kb, p, 0, e);
	result = p->options.interface[0] ? attach_to_named(kb, p, e) : attach_to_all(kb, p, e);
	if (result == 0)
		explain(kb, (size_t)(p - kb->progs));
	return result;
}

/* ---- later ---- */

bool interface_absent(const struct kernel_prog *p)
{
	return interface_follows(p) && p->options.interface[0] && if_nametoindex(p->options.interface) == 0;
}

bool interface_pins(const struct kernel_prog *p)
{
	return interface_follows(p) && strcmp(p->program->attach, "socket") != 0;
}

void interface_settle(struct kernel_bundle *kb, size_t i)
{
	kb->progs[i].attached = true;
	explain(kb, i);
}

/* The pin or record goes last: it is what finds the rest after a crash. */
static void let_go(struct kernel_bundle *kb, size_t i, size_t n)
{
	struct kernel_prog *p = &kb->progs[i];
	struct attachment a = p->attachments[n];

	p->attachments[n] = p->attachments[--p->attachment_count];
	if (a.kind == ATTACHMENT_TC)
		net_let_go_tc(kb->pin_root, &a.tc, kb->views[i].id);
	pin_forget(kb, p, &a);
	if (a.kind == ATTACHMENT_FD)
		close(a.fd);
}

void kernel_interface_drop(struct kernel_bundle *kb, int index)
{
	struct interface at;
	enum presence presence = look(index, &at);

	if (presence == UNKNOWN)
		return;
	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		if (!p->attached || !interface_follows(p))
			continue;
		for (size_t n = p->attachment_count; n-- > 0;)
			if (p->attachments[n].ifindex == index &&
			    (presence == GONE || !covers(p, &at) || !net_stands(&p->attachments[n], kb->views[i].id)))
				let_go(kb, i, n);
		if (presence == GONE || !covers(p, &at))
			forget_refusal(p, index);
		explain(kb, i);
	}
}

static int attach_late(struct kernel_bundle *kb, size_t i, int index, struct err *e)
{
	struct kernel_prog *p = &kb->progs[i];

	if (attach_to_interface(kb, i, index, e))
		return -1;
	if (p->pinned && pin_late(kb, p, p->attachment_count - 1, e)) {
		let_go(kb, i, p->attachment_count - 1);
		return -1;
	}
	return 0;
}

int kernel_interface_attach(struct kernel_bundle *kb, int index, struct err *e)
{
	struct interface at;
	enum presence presence = look(index, &at);
	int result = 0;

	for (size_t i = 0; i < kb->prog_count; i++) {
		struct kernel_prog *p = &kb->progs[i];
		struct err why = ERR_INIT;
		if (presence == GONE || !p->attached || !interface_follows(p) || is_on(p, index))
			continue;
		if (presence == UNKNOWN)
			err_errno(&why, ERR_KERNEL_ATTACH, "interface %s cannot be looked at", at.name);
		else if (!covers(p, &at) || !at.up)
			continue;
		if (presence == HERE && attach_late(kb, i, index, &why) == 0)
			forget_refusal(p, index);
		else if (note_refusal(p, &at, &why) && result == 0) {
			if (e)
				*e = why;
			result = err_wrap(e, "%s on interface %s", kb->manifest->name, at.name);
		}
		explain(kb, i);
	}
	return result;
}

void kernel_forget_interfaces(const struct kernel_host *host)
{
	char path[PATH_MAX];
	DIR *dir = NULL;

	if (snprintf(path, sizeof(path), "%s/+clsact", host->pin_root) < (int)sizeof(path))
		dir = opendir(path);
	for (struct dirent *at; dir && (at = readdir(dir));) {
		struct interface gone;
		char *end;
		unsigned long index = strtoul(at->d_name, &end, 10);
		if (*end == '\0' && index > 0 && index <= INT_MAX && look((int)index, &gone) == GONE)
			pin_forget_qdisc(host->pin_root, (int)index);
	}
	if (dir)
		closedir(dir);
}

void kernel_each_interface(const struct kernel_bundle *kb, bool refused_only, void (*each)(void *ctx, int index),
			   void *ctx)
{
	for (size_t i = 0; i < kb->prog_count; i++) {
		const struct kernel_prog *p = &kb->progs[i];
		for (size_t n = 0; n < p->refusal_count; n++)
			each(ctx, p->refusals[n].index);
		for (size_t n = 0; !refused_only && n < p->attachment_count; n++)
			if (p->attachments[n].ifindex)
				each(ctx, p->attachments[n].ifindex);
	}
}
