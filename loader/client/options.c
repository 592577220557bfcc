#include "loader/client/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

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
    {NULL, 0, NULL, 0},
};

int options_number(const char *what, const char *text, uint64_t least, uint64_t most, uint64_t *out, struct err *e)
{
	uint64_t n = 0;

	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9' || n > (UINT64_MAX - 9) / 10)
			return err_set(e, ERR_USAGE, "%s \"%s\" is no whole number from %" PRIu64 " to %" PRIu64, what,
				       text, least, most);
		n = n * 10 + (uint64_t)(*p - '0');
	}
	if (text[0] == '\0' || n < least || n > most)
		return err_set(e, ERR_USAGE, "%s \"%s\" is no whole number from %" PRIu64 " to %" PRIu64, what, text,
			       least, most);
	*out = n;
	return 0;
}

static int take(struct options *o, int flag, const char *value, struct err *e)
{
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
		return options_number("--last", value, 1, 1000000, &o->last, e);
	case OPTION_SAMPLE:
		return options_number("--sample", value, 1, 1000000, &o->sample, e);
	case OPTION_COUNT:
		return options_number("--count", value, 1, UINT32_MAX, &o->count, e);
	default:
		return 0; /* --help and --version are told by `given` */
	}
}

int options_parse(struct options *o, unsigned accepted, bool stop, int argc, char **argv, int *first, struct err *e)
{
	opterr = 0;
	optind = 0; /* 0, not 1: glibc then forgets the permutation of an earlier run */
	for (;;) {
		/* getopt moves optind past a cluster of short options only at its end, so look before it reads. */
		int at = optind ? optind : 1, index = -1;
		int flag = getopt_long(argc, argv, stop ? "+:h" : ":h", long_options, &index);

		if (flag == -1)
			break;
		if (flag == 'h')
			flag = OPTION_HELP;
		if (flag == ':')
			return err_set(e, ERR_USAGE, "%s needs a value", argv[optind - 1]);
		if (flag == '?')
			return err_set(e, ERR_USAGE, "unknown option %s", argv[optind > at ? optind - 1 : at]);
		if (!(accepted & (unsigned)flag))
			return err_set(e, ERR_USAGE, "%s takes no --%s", stop ? "obsload" : argv[0],
				       long_options[index < 0 ? 2 : index].name);
		o->given |= (unsigned)flag;
		if (take(o, flag, optarg, e))
			return -1;
	}
	*first = optind;
	return 0;
}
