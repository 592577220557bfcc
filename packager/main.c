#include <stdio.h>
#include <string.h>

#include "packager/packager.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv, struct err *e);
	const char *help;
} commands[] = {
    {"keygen", cmd_keygen, "make a key and its certificate"},
    {"build", cmd_build, "compile a folder with a bundle.json into a bundle"},
    {"sign", cmd_sign, "add a signature to a bundle"},
    {"verify", cmd_verify, "check a bundle as far as that needs no host"},
    {"inspect", cmd_inspect, "show what is in a bundle"},
};

static void help(FILE *f)
{
	fputs("usage: obspkg COMMAND [ARGUMENTS]\n\n", f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].help);
	fputs("\nobspkg COMMAND --help tells more; obspkg(1) tells all.\n", f);
}

static bool wants_json(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--json") == 0)
			return true;
	return false;
}

static int run(int argc, char **argv, struct err *e)
{
	if (argc < 2)
		return err_set(e, ERR_USAGE, "no command");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1, e);
	return err_set(e, ERR_USAGE, "unknown command \"%s\"", argv[1]);
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
	return err_print(stderr, "obspkg", &e, wants_json(argc, argv));
}
