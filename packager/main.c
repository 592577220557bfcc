#include <stdio.h>
#include <string.h>

#include "packager/packager.h"

static const struct command *const commands[] = {
    &command_keygen, &command_build, &command_sign, &command_verify, &command_inspect,
};

static void help(FILE *f)
{
	fputs("usage: obspkg COMMAND [ARGUMENTS]\n\n", f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\nobspkg COMMAND --help tells more; obspkg(1) tells all.\n", f);
}

static int run(int argc, char **argv, struct err *e)
{
	struct options o;

	if (argc < 2)
		return err_set(e, ERR_USAGE, "no command");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i]->name) != 0)
			continue;
		if (options_parse(commands[i], argc - 1, argv + 1, &o, e))
			return -1;
		if (!(o.given & OPTION_HELP))
			return commands[i]->run(&o, e);
		fputs(commands[i]->help, stdout);
		return 0;
	}
	return err_set(e, ERR_USAGE, "there is no command \"%s\"", argv[1]);
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;

	if (argc > 1 &&
	    (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)) {
		help(stdout);
		return 0;
	}
	if (argc > 1 && strcmp(argv[1], "--version") == 0) {
		puts("obspkg " OBS_VERSION);
		return 0;
	}
	if (run(argc, argv, &e) == 0 && (fflush(stdout) == 0 || !err_errno(&e, ERR_IO, "standard output")))
		return 0;
	return err_print(stderr, "obspkg", &e, arguments_hold(argc, argv, "--json"));
}
