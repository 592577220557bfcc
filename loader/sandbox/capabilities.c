#include "loader/sandbox/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

enum { LIST_MAX = 16 };

struct list {
	cap_value_t cap[LIST_MAX];
	size_t count;
};

static void cap_owner_free(cap_t *caps)
{
	if (*caps)
		cap_free(*caps);
}

static void add(struct list *list, cap_value_t cap)
{
	list->cap[list->count++] = cap;
}

/* Linux 5.8 split CAP_BPF and CAP_PERFMON off CAP_SYS_ADMIN. Before, nothing less will do. */
static bool has_cap_bpf(void)
{
	return cap_max_bits() > CAP_BPF;
}

static bool is_permitted(cap_value_t cap)
{
	__attribute__((cleanup(cap_owner_free))) cap_t caps = cap_get_proc();
	cap_flag_value_t value = CAP_CLEAR;

	return caps && cap_get_flag(caps, cap, CAP_PERMITTED, &value) == 0 && value == CAP_SET;
}

static int perf_event_paranoid(void)
{
	char text[16];
	OWN_FD int fd = open("/proc/sys/kernel/perf_event_paranoid", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return 0; /* there are no perf events at all */
	text[n] = '\0';
	return (int)strtol(text, NULL, 10);
}

/* Debian's kernels refuse every perf event where this setting is above 2, and have it at 3. Perf events for uprobes are
 * refused since a correction of July 2025, which went to the stable branches too; from Linux 6.6 on nobody needs them. */
static bool perf_needs_admin(void)
{
	unsigned major = 0, minor = 0;
	struct utsname name;

	if (perf_event_paranoid() > 2)
		return true;
	/* NOLINTNEXTLINE(cert-err34-c): the kernel's own words. */
	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return true;
	return major < 6 || (major == 6 && minor < 6);
}

/* Who does not give the daemon CAP_SYS_ADMIN goes without the perf events that need it. */
static cap_value_t perf_capability(void)
{
	if (!has_cap_bpf())
		return CAP_SYS_ADMIN;
	return perf_needs_admin() && is_permitted(CAP_SYS_ADMIN) ? CAP_SYS_ADMIN : CAP_PERFMON;
}

static struct list role_list(enum sandbox_role role)
{
	struct list list = {.count = 0};

	switch (role) {
	case SANDBOX_SUPERVISOR:
		add(&list, CAP_SETUID);
		add(&list, CAP_SETGID);
		add(&list, CAP_KILL);
		add(&list, CAP_NET_RAW);
		add(&list, perf_capability());
		/* Lets children empty their bounding sets. It gives nothing that the bounding set does not hold. */
		add(&list, CAP_SETPCAP);
		break;
	case SANDBOX_MONITOR:
		if (has_cap_bpf()) {
			add(&list, CAP_BPF);
			add(&list, CAP_PERFMON);
		} else {
			add(&list, CAP_SYS_ADMIN);
		}
		add(&list, CAP_NET_ADMIN);
		add(&list, CAP_SYS_PTRACE);
		add(&list, CAP_DAC_READ_SEARCH);
		break;
	case SANDBOX_WORKER:
	case SANDBOX_UNPACKER:
		break;
	}
	return list;
}

static bool in_list(const struct list *list, cap_value_t cap)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->cap[i] == cap)
			return true;
	return false;
}

void sandbox_capability_names(enum sandbox_role role, char *dst, size_t size)
{
	struct list list = role_list(role);
	size_t used = 0;

	if (size)
		dst[0] = '\0';
	for (size_t i = 0; i < list.count && used < size; i++) {
		char *name = cap_to_name(list.cap[i]);
		int n = snprintf(dst + used, size - used, "%s%s", i ? "," : "", name ? name : "?");
		cap_free(name);
		if (n < 0)
			return;
		used += (size_t)n;
	}
}

static int set_caps(const struct list *permitted, const struct list *effective, struct err *e)
{
	__attribute__((cleanup(cap_owner_free))) cap_t caps = cap_init();

	if (!caps)
		return err_errno(e, ERR_NOMEM, "capabilities");
	if ((permitted->count && cap_set_flag(caps, CAP_PERMITTED, (int)permitted->count, permitted->cap, CAP_SET)) ||
	    (effective->count && cap_set_flag(caps, CAP_EFFECTIVE, (int)effective->count, effective->cap, CAP_SET)))
		return err_errno(e, ERR_INTERNAL, "capability list");
	if (cap_set_proc(caps))
		return err_errno(e, ERR_KERNEL_NO_BPF, "capset");
	return 0;
}

static int check_present(const struct list *list, struct err *e)
{
	for (size_t i = 0; i < list->count; i++) {
		if (!is_permitted(list->cap[i])) {
			char *name = cap_to_name(list->cap[i]);
			err_set(e, ERR_KERNEL_NO_BPF,
				"this process does not have %s: not root, or a container without it",
				name ? name : "a capability");
			cap_free(name);
			return -1;
		}
	}
	return 0;
}

static int drop_bounding(const struct list *keep, const struct list *keep_too, struct err *e)
{
	for (cap_value_t cap = 0; cap < (cap_value_t)cap_max_bits(); cap++) {
		if (in_list(keep, cap) || (keep_too && in_list(keep_too, cap)) || cap_get_bound(cap) != 1)
			continue;
		if (cap_drop_bound(cap))
			return err_errno(e, ERR_KERNEL_NO_BPF, "dropping capability %d from the bounding set", cap);
	}
	return 0;
}

static int no_new_privs(struct err *e)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_errno(e, ERR_INTERNAL, "no_new_privs");
	return 0;
}

int sandbox_check(enum sandbox_role role, struct err *e)
{
	const struct list own = role_list(role), monitor = role_list(SANDBOX_MONITOR);

	if (role == SANDBOX_SUPERVISOR && check_present(&monitor, e))
		return -1;
	return check_present(&own, e);
}

int sandbox_capabilities(enum sandbox_role role, struct err *e)
{
	struct list own = role_list(role), permitted = own;
	struct list monitor = role_list(SANDBOX_MONITOR);
	const struct list *bound_too = NULL;

	if (role == SANDBOX_SUPERVISOR) {
		bound_too = &monitor;
		/* Under no_new_privs (a container, a service unit) exec gives no capability that is not permitted here. */
		if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
			for (size_t i = 0; i < monitor.count; i++)
				add(&permitted, monitor.cap[i]);
		}
	}
	if (sandbox_check(role, e) || drop_bounding(&own, bound_too, e))
		return -1;
	if (cap_reset_ambient())
		return err_errno(e, ERR_INTERNAL, "ambient capabilities");
	if (set_caps(&permitted, &own, e))
		return -1;
	return role == SANDBOX_SUPERVISOR ? 0 : no_new_privs(e);
}

int sandbox_bounding(enum sandbox_role role, struct err *e)
{
	const struct list keep = role_list(role);

	return drop_bounding(&keep, NULL, e);
}

int sandbox_identity(uid_t uid, gid_t gid, struct err *e)
{
	const struct list none = {.count = 0};

	if (uid == 0 || gid == 0)
		return err_set(e, ERR_INTERNAL, "uid %u and gid %u are not unprivileged", uid, gid);
	if (setgroups(0, NULL))
		return err_errno(e, ERR_KERNEL_NO_BPF, "setgroups");
	/* Before setresuid: it takes CAP_SETPCAP away with everything else. */
	if (drop_bounding(&none, NULL, e))
		return -1;
	if (cap_reset_ambient())
		return err_errno(e, ERR_INTERNAL, "ambient capabilities");
	if (setresgid(gid, gid, gid))
		return err_errno(e, ERR_KERNEL_NO_BPF, "setresgid %u", gid);
	if (setresuid(uid, uid, uid))
		return err_errno(e, ERR_KERNEL_NO_BPF, "setresuid %u", uid);
	if (set_caps(&none, &none, e) || no_new_privs(e))
		return -1;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return err_errno(e, ERR_INTERNAL, "PR_SET_DUMPABLE");
	if (setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0)
		return err_set(e, ERR_INTERNAL, "privileges came back after they were given up");
	return 0;
}
