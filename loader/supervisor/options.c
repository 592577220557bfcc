#include "loader/supervisor/options.h"

#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "loader/ipc/log.h"

enum { WORKER_ID = 64911, UNPACKER_ID = 64912, MAX_SUBSCRIBERS = 100000 };

#define UNPACKER_USER "obsload-unpack"

static const char help_text[] = "Usage: obsload run [options]\n"
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

enum { OPT_CONFIG = 256, OPT_STATE, OPT_RUN, OPT_BPFFS, OPT_CGROUP, OPT_GROUP, OPT_CONTROL, OPT_WORKER, OPT_MAX };

static const struct option long_options[] = {
    {"config-dir", required_argument, NULL, OPT_CONFIG},
    {"state-dir", required_argument, NULL, OPT_STATE},
    {"run-dir", required_argument, NULL, OPT_RUN},
    {"bpffs", required_argument, NULL, OPT_BPFFS},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"group", required_argument, NULL, OPT_GROUP},
    {"control-group", required_argument, NULL, OPT_CONTROL},
    {"worker-user", required_argument, NULL, OPT_WORKER},
    {"max-subscribers", required_argument, NULL, OPT_MAX},
    {"foreground", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int parse_count(const char *text, unsigned *out, struct err *e)
{
	char *end = NULL;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || n < 1 || n > MAX_SUBSCRIBERS)
		return err_set(e, ERR_USAGE, "--max-subscribers: a number from 1 to %d, not \"%s\"", MAX_SUBSCRIBERS,
			       text);
	*out = (unsigned)n;
	return 0;
}

static int check_folder(const char *option, const char *path, struct err *e)
{
	if (path && path[0] != '/')
		return err_set(e, ERR_USAGE, "%s: an absolute path, not \"%s\"", option, path);
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *out, bool *help, struct err *e)
{
	struct run_options o = {.config_dir = "/etc/obsload",
				.state_dir = "/var/lib/obsload",
				.run_dir = "/run/obsload",
				.bpffs = "/sys/fs/bpf",
				.group = "obsload",
				.worker_user = "obsload-worker"};
	const char **text[] = {&o.config_dir, &o.state_dir, &o.run_dir,       &o.bpffs,
			       &o.cgroup,     &o.group,     &o.control_group, &o.worker_user};
	int c;

	*help = false;
	optind = 0;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
		if (c == 'h') {
			*help = true;
			fputs(help_text, stdout);
			return 0;
		}
		if (c == ':')
			return err_set(e, ERR_USAGE, "%s: a value is missing", argv[optind - 1]);
		if (c == '?')
			return err_set(e, ERR_USAGE, "%s: unknown option of run", argv[optind - 1]);
		if (c == 'f')
			o.foreground = true;
		else if (c == OPT_MAX && parse_count(optarg, &o.max_subscribers, e))
			return -1;
		else if (c != OPT_MAX)
			*text[c - OPT_CONFIG] = optarg;
	}
	if (optind < argc)
		return err_set(e, ERR_USAGE, "run takes no word \"%s\"", argv[optind]);
	if (check_folder("--config-dir", o.config_dir, e) || check_folder("--state-dir", o.state_dir, e) ||
	    check_folder("--run-dir", o.run_dir, e) || check_folder("--bpffs", o.bpffs, e) ||
	    check_folder("--cgroup", o.cgroup, e))
		return -1;
	*out = o;
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
