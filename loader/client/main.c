/* obsload: the commands of a host. Each is a row here and a file of its own. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "loader/client/commands.h"
#include "loader/supervisor/supervisor.h"

struct command {
	const char *name, *arguments, *summary;
	unsigned options; /* besides the global ones */
	int least, most;  /* words; most -1: any number */
	command_fn *run;  /* NULL: the daemon, which reads its own options */
};

static const struct command commands[] = {
    {"run", "[OPTION...]", "the daemon: verify, attach, stream (run --help)", 0, 0, -1, NULL},
    {"install", "FILE|- [--allow-downgrade]", "verify a bundle and attach it, or upgrade to it", OPTION_ALLOW_DOWNGRADE,
     1, 1, command_install},
    {"remove", "NAME", "detach a bundle and forget its bytes", 0, 1, 1, command_remove},
    {"list", "", "what is installed", 0, 0, 0, command_list},
    {"status", "[NAME]", "daemon, programs, outputs, losses", 0, 0, 1, command_status},
    {"verify", "FILE|- [--allow-downgrade]", "the whole gate and this kernel's verifier; attaches nothing",
     OPTION_ALLOW_DOWNGRADE, 1, 1, command_verify},
    {"trust", "add CERT [--names PATTERN] | list | remove SIGNER", "who may sign, and which names", OPTION_NAMES, 1, 2,
     command_trust},
    {"revoke", "CERT|IDENTITY [--undo] | --list", "what runs from a signer or bundle is detached, for good",
     OPTION_UNDO | OPTION_LIST, 0, 1, command_revoke},
    {"set", "NAME PARAM=VALUE...", "change parameters while it runs", 0, 2, -1, command_set},
    {"params", "[NAME]", "parameters with type, range and value", 0, 0, 1, command_params},
    {"events", "[PATTERN...] [--where 'FIELD OP VALUE'] [--bundle PATTERN] [--last N] [--sample N] [--count N]",
     "the live stream", OPTION_WHERE | OPTION_BUNDLE | OPTION_LAST | OPTION_SAMPLE | OPTION_COUNT, 0, -1,
     command_events},
    {"accept", "clock|state", "what the daemon warns of has been looked at", 0, 1, 1, command_accept},
    {"audit", "[--last N | --verify]", "who did what, and what was refused", OPTION_LAST | OPTION_CHAIN, 0, 0,
     command_audit},
};

static void usage(FILE *f)
{
	fputs("usage: obsload [--json] [--run-dir DIR] COMMAND ...\n\n", f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %s%s%s\n           %s\n", commands[i].name, commands[i].arguments[0] ? " " : "",
			commands[i].arguments, commands[i].summary);
	fputs("\n  --json         machine-readable output and errors\n"
	      "  --run-dir DIR  where the daemon's sockets are (" OPTIONS_RUN_DIR ")\n"
	      "  --help, --version\n\n"
	      "See obsload(8), obs-events(5).\n",
	      f);
}

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* The words of a command: options in between are taken out, their number is checked. */
static int run(const struct command *c, struct options *o, int argc, char **argv, struct err *e)
{
	int first;

	if (options_parse(o, OPTIONS_GLOBAL | c->options, false, argc, argv, &first, e))
		return -1;
	if (o->given & OPTION_HELP) {
		printf("usage: obsload %s%s%s\n  %s\n\nEvery command takes --json and --run-dir DIR; obsload(8) tells "
		       "all.\n",
		       c->name, c->arguments[0] ? " " : "", c->arguments, c->summary);
		return 0;
	}
	int words = argc - first;
	if (words < c->least)
		return err_set(e, ERR_USAGE, "%s: a word is missing: obsload %s %s", c->name, c->name, c->arguments);
	if (c->most >= 0 && words > c->most)
		return err_set(e, ERR_USAGE, "%s: \"%s\" is a word too many", c->name, argv[first + c->most]);
	return c->run(o, words, argv + first, e);
}

/* The daemon reads its own options; what stood before the command goes with them. */
static int run_daemon(const struct options *o, int argc, char **argv)
{
	char *option = (char *)"--run-dir", *value = (char *)o->run_dir;

	if (!(o->given & OPTION_RUN_DIR))
		return supervisor_main(argc, argv);
	OWN_FREE char **args = calloc((size_t)argc + 3, sizeof(*args));
	if (!args) {
		struct err e = ERR_INIT;
		err_set(&e, ERR_NOMEM, "arguments");
		return err_print(stderr, "obsload", &e, o->json);
	}
	args[0] = argv[0];
	args[1] = option;
	args[2] = value;
	for (int i = 1; i < argc; i++)
		args[i + 2] = argv[i];
	return supervisor_main(argc + 2, args);
}

/* What could not be written was not done, as far as the reader can tell. */
static int flush(struct err *e)
{
	if (fflush(stdout) || ferror(stdout))
		return errno == EPIPE ? 0 : err_errno(e, ERR_IO, "standard output");
	return 0;
}

int main(int argc, char **argv)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	const struct command *c;
	int first;

	setlocale(LC_CTYPE, "");
	o.json = arguments_hold(argc, argv, "--json");
	if (options_parse(&o, OPTIONS_GLOBAL | OPTION_VERSION, true, argc, argv, &first, &e))
		return err_print(stderr, "obsload", &e, o.json);
	if (o.given & (OPTION_VERSION | OPTION_HELP)) {
		if (o.given & OPTION_HELP)
			usage(stdout);
		else
			puts("obsload " OBS_VERSION);
		return flush(&e) ? err_print(stderr, "obsload", &e, o.json) : 0;
	}
	if (first == argc) {
		usage(stderr);
		return err_status(ERR_USAGE);
	}
	c = find(argv[first]);
	if (!c) {
		err_set(&e, ERR_USAGE, "there is no command \"%s\"", argv[first]);
		return err_print(stderr, "obsload", &e, o.json);
	}
	if (!c->run)
		return run_daemon(&o, argc - first, argv + first);
	if (run(c, &o, argc - first, argv + first, &e) || flush(&e))
		return err_print(stderr, "obsload", &e, o.json);
	return 0;
}
