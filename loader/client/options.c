#include "loader/client/options.h"

static const struct option long_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"run-dir", required_argument, NULL, OPTION_RUN_DIR},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"allow-downgrade", no_argument, NULL, OPTION_ALLOW_DOWNGRADE},
    {"names", required_argument, NULL, OPTION_NAMES},
    {"where", required_argument, NULL, OPTION_WHERE},
    {"bundle", required_argument, NULL, OPTION_BUNDLE},
    {"last", required_argument, NULL, OPTION_LAST},
    {"sample", required_argument, NULL, OPTION_SAMPLE},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"verify", no_argument, NULL, OPTION_CHAIN},
    {"undo", no_argument, NULL, OPTION_UNDO},
    {"list", no_argument, NULL, OPTION_LIST},
    {NULL, 0, NULL, 0},
};

static int take(void *to, unsigned flag, const char *value, struct err *e)
{
	struct options *o = to;

	o->given |= flag;
	switch (flag) {
	case OPTION_JSON:
		o->json = true;
		return 0;
	case OPTION_RUN_DIR:
		o->run_dir = value;
		return 0;
	case OPTION_ALLOW_DOWNGRADE:
		o->allow_downgrade = true;
		return 0;
	case OPTION_NAMES:
		o->names = value;
		return 0;
	case OPTION_WHERE:
		if (o->where_count == OPTIONS_MAX_WHERE)
			return err_set(e, ERR_USAGE, "more than %d times --where", OPTIONS_MAX_WHERE);
		o->where[o->where_count++] = value;
		return 0;
	case OPTION_BUNDLE:
		o->bundle = value;
		return 0;
	case OPTION_LAST:
		return arguments_number("--last", value, 1, 1000000, &o->last, e);
	case OPTION_SAMPLE:
		return arguments_number("--sample", value, 1, 1000000, &o->sample, e);
	case OPTION_COUNT:
		return arguments_number("--count", value, 1, UINT32_MAX, &o->count, e);
	default:
		return 0; /* told by `given` */
	}
}

int options_parse(struct options *o, unsigned accepted, bool stop, int argc, char **argv, int *first, struct err *e)
{
	const struct arguments arguments = {
	    .command = stop ? NULL : argv[0],
	    .known = long_options,
	    .letters = "h",
	    .accepted = accepted,
	    .stop = stop,
	    .take = take,
	};

	return arguments_read(&arguments, argc, argv, o, first, e);
}
