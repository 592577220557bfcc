#include "loader/supervisor/options.h"

#include <grp.h>
#include <pwd.h>

#include "bundles/base/arguments.h"
#include "loader/ipc/log.h"

enum { WORKER_ID = 64911, UNPACKER_ID = 64912, MAX_SUBSCRIBERS = 100000 };

#define UNPACKER_USER "obsload-unpack"

static const char help_text[] = "usage: obsload run [OPTION...]\n"
				"\n"
				"  --config-dir DIR      policy.json and trust.d (/etc/obsload)\n"
				"  --state-dir DIR       installed bundles and audit log (/var/lib/obsload)\n"
				"  --run-dir DIR         control.sock and events.sock (/run/obsload)\n"
				"  --bpffs DIR           bpffs that holds the pins (/sys/fs/bpf)\n"
				"  --cgroup DIR          cgroup2 mount (found)\n"
				"  --group NAME          who may read events.sock (obsload)\n"
				"  --control-group NAME  who may use control.sock besides root (nobody)\n"
				"  --worker-user NAME    user of the worker (obsload-worker)\n"
				"  --max-subscribers N   connections to events.sock at once\n"
				"  --foreground          log plain lines\n";

enum option_flag {
	OPTION_CONFIG = 1 << 0,
	OPTION_STATE = 1 << 1,
	OPTION_RUN = 1 << 2,
	OPTION_BPFFS = 1 << 3,
	OPTION_CGROUP = 1 << 4,
	OPTION_GROUP = 1 << 5,
	OPTION_CONTROL = 1 << 6,
	OPTION_WORKER = 1 << 7,
	OPTION_SUBSCRIBERS = 1 << 8,
	OPTION_FOREGROUND = 1 << 9,
	OPTION_HELP = 1 << 10,
};

static const struct option long_options[] = {
    {"config-dir", required_argument, NULL, OPTION_CONFIG},
    {"state-dir", required_argument, NULL, OPTION_STATE},
    {"run-dir", required_argument, NULL, OPTION_RUN},
    {"bpffs", required_argument, NULL, OPTION_BPFFS},
    {"cgroup", required_argument, NULL, OPTION_CGROUP},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"control-group", required_argument, NULL, OPTION_CONTROL},
    {"worker-user", required_argument, NULL, OPTION_WORKER},
    {"max-subscribers", required_argument, NULL, OPTION_SUBSCRIBERS},
    {"foreground", no_argument, NULL, OPTION_FOREGROUND},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct reading {
	struct run_options options;
	bool help;
};

static int take(void *to, unsigned flag, const char *value, struct err *e)
{
	struct reading *r = to;
	struct run_options *o = &r->options;
	uint64_t n;

	switch (flag) {
	case OPTION_CONFIG:
		o->config_dir = value;
		return 0;
	case OPTION_STATE:
		o->state_dir = value;
		return 0;
	case OPTION_RUN:
		o->run_dir = value;
		return 0;
	case OPTION_BPFFS:
		o->bpffs = value;
		return 0;
	case OPTION_CGROUP:
		o->cgroup = value;
		return 0;
	case OPTION_GROUP:
		o->group = value;
		return 0;
	case OPTION_CONTROL:
		o->control_group = value;
		return 0;
	case OPTION_WORKER:
		o->worker_user = value;
		return 0;
	case OPTION_SUBSCRIBERS:
		if (arguments_number("--max-subscribers", value, 1, MAX_SUBSCRIBERS, &n, e))
			return -1;
		o->max_subscribers = (unsigned)n;
		return 0;
	case OPTION_FOREGROUND:
		o->foreground = true;
		return 0;
	default:
		r->help = true;
		return 0;
	}
}

static int check_folder(const char *option, const char *path, struct err *e)
{
	if (path && path[0] != '/')
		return err_set(e, ERR_USAGE, "run: %s is an absolute path, not \"%s\"", option, path);
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *out, bool *help, struct err *e)
{
	struct reading r = {.options = {.config_dir = "/etc/obsload",
					.state_dir = "/var/lib/obsload",
					.run_dir = "/run/obsload",
					.bpffs = "/sys/fs/bpf",
					.group = "obsload",
					.worker_user = "obsload-worker"}};
	const struct run_options *o = &r.options;
	const struct arguments arguments = {
	    .command = "run", .known = long_options, .letters = "h", .accepted = UINT32_MAX, .take = take};
	int first;

	if (arguments_read(&arguments, argc, argv, &r, &first, e))
		return -1;
	*help = r.help;
	if (r.help) {
		fputs(help_text, stdout);
		return 0;
	}
	if (first < argc)
		return err_set(e, ERR_USAGE, "run takes no word \"%s\"", argv[first]);
	if (check_folder("--config-dir", o->config_dir, e) || check_folder("--state-dir", o->state_dir, e) ||
	    check_folder("--run-dir", o->run_dir, e) || check_folder("--bpffs", o->bpffs, e) ||
	    check_folder("--cgroup", o->cgroup, e))
		return -1;
	*out = *o;
	return 0;
}

static void find_user(const char *name, uid_t fallback, uid_t *uid, gid_t *gid)
{
	const struct passwd *user = getpwnam(name);

	if (user && user->pw_uid != 0 && user->pw_gid != 0) {
		*uid = user->pw_uid;
		*gid = user->pw_gid;
		return;
	}
	*uid = *gid = fallback;
	log_line(LOG_LEVEL_INFO, "no unprivileged user %s: uid and gid %u are used", name, fallback);
}

int run_ids_find(const struct run_options *o, struct run_ids *out, struct err *e)
{
	struct run_ids ids = {.events_gid = 0};
	const struct group *group = getgrnam(o->group);

	if (group)
		ids.events_gid = group->gr_gid;
	else
		log_line(LOG_LEVEL_WARNING, "no group %s: only root may read events.sock", o->group);
	if (o->control_group) {
		group = getgrnam(o->control_group);
		if (!group)
			return err_set(e, ERR_USAGE, "--control-group: no group %s on this host", o->control_group);
		ids.control_gid = group->gr_gid;
	}
	find_user(o->worker_user, WORKER_ID, &ids.worker_uid, &ids.worker_gid);
	find_user(UNPACKER_USER, UNPACKER_ID, &ids.unpacker_uid, &ids.unpacker_gid);
	if (ids.worker_uid == ids.unpacker_uid)
		return err_set(e, ERR_USAGE, "worker and unpacker need different users, both are uid %u",
			       ids.worker_uid);
	*out = ids;
	return 0;
}
