#include "packager/options.h"

#include "bundles/limits.h"

enum { DAYS_MAX = 36500, FD_MAX = 1 << 20 };

static const struct option known[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"out", required_argument, NULL, OPTION_OUTPUT},
    {"name", required_argument, NULL, OPTION_NAME},
    {"days", required_argument, NULL, OPTION_DAYS},
    {"key", required_argument, NULL, OPTION_KEY},
    {"cert", required_argument, NULL, OPTION_CERT},
    {"passphrase-file", required_argument, NULL, OPTION_PASSPHRASE_FILE},
    {"passphrase-fd", required_argument, NULL, OPTION_PASSPHRASE_FD},
    {"prepare", no_argument, NULL, OPTION_PREPARE},
    {"attach", required_argument, NULL, OPTION_ATTACH},
    {"threshold", required_argument, NULL, OPTION_THRESHOLD},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {0},
};

static int take_number(const char *what, const char *text, uint64_t least, uint64_t most, unsigned *out, struct err *e)
{
	uint64_t n;

	if (arguments_number(what, text, least, most, &n, e))
		return -1;
	*out = (unsigned)n;
	return 0;
}

static int take_cert(struct options *o, const char *value, struct err *e)
{
	if (o->cert_count == OPTIONS_MAX_CERTS)
		return err_set(e, ERR_USAGE, "at most %d times --cert", OPTIONS_MAX_CERTS);
	o->cert[o->cert_count++] = value;
	o->signing.cert = o->cert[0];
	return 0;
}

static int take(void *to, unsigned flag, const char *value, struct err *e)
{
	struct options *o = to;
	unsigned fd;

	o->given |= flag;
	switch (flag) {
	case OPTION_JSON:
		o->json = true;
		return 0;
	case OPTION_OUTPUT:
		o->output = value;
		return 0;
	case OPTION_NAME:
		o->name = value;
		return 0;
	case OPTION_DAYS:
		return take_number("--days", value, 1, DAYS_MAX, &o->days, e);
	case OPTION_KEY:
		o->signing.key = value;
		return 0;
	case OPTION_CERT:
		return take_cert(o, value, e);
	case OPTION_PASSPHRASE_FILE:
		o->signing.pass.file = value;
		return 0;
	case OPTION_PASSPHRASE_FD:
		if (take_number("--passphrase-fd", value, 0, FD_MAX, &fd, e))
			return -1;
		o->signing.pass.fd = (int)fd;
		return 0;
	case OPTION_ATTACH:
		o->attach = value;
		return 0;
	case OPTION_THRESHOLD:
		return take_number("--threshold", value, 1, BUNDLE_MAX_SIGNATURES, &o->threshold, e);
	case OPTION_POLICY:
		o->policy = value;
		return 0;
	default:
		return 0; /* told by `given` */
	}
}

static int check(const struct command *c, const struct options *o, int words, const char *first, struct err *e)
{
	if (c->word && words != 1)
		return err_set(e, ERR_USAGE, "%s: give one %s", c->name, c->word);
	if (!c->word && words)
		return err_set(e, ERR_USAGE, "%s takes no word \"%s\"", c->name, first);
	if (c->options & OPTION_KEY) {
		if (!o->signing.key != !o->signing.cert)
			return err_set(e, ERR_USAGE, "%s: --key and --cert go together", c->name);
		if (o->cert_count > 1)
			return err_set(e, ERR_USAGE, "%s: one --cert: the key's", c->name);
	}
	if (o->signing.pass.file && o->signing.pass.fd >= 0)
		return err_set(e, ERR_USAGE, "%s: --passphrase-file or --passphrase-fd, not both", c->name);
	return 0;
}

int options_parse(const struct command *command, int argc, char **argv, struct options *out, struct err *e)
{
	struct options o = {.days = 365, .name = "obs signer", .signing.pass = {.fd = -1, .ask = true}};
	const struct arguments arguments = {
	    .command = command->name,
	    .known = known,
	    .letters = command->options & OPTION_OUTPUT ? "ho:" : "h",
	    .accepted = OPTIONS_GLOBAL | command->options,
	    .take = take,
	};
	int first;

	if (arguments_read(&arguments, argc, argv, &o, &first, e))
		return -1;
	if (!(o.given & OPTION_HELP)) {
		if (check(command, &o, argc - first, argv[first], e))
			return -1;
		o.word = argv[first];
	}
	*out = o;
	return 0;
}
