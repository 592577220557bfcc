#include "bundles/base/arguments.h"

#include <inttypes.h>
#include <string.h>

enum { LETTERS_MAX = 16 };

/* The option that getopt_long(3) answered with; NULL if it answered with a mistake. */
static const struct option *find(const struct arguments *a, int answer, int index)
{
	if (index >= 0)
		return &a->known[index];
	for (const struct option *o = a->known; o->name; o++)
		if (answer == o->name[0])
			return o;
	return NULL;
}

static int mistake(const struct arguments *a, int answer, const char *word, struct err *e)
{
	if (answer == ':')
		return err_set(e, ERR_USAGE, "%s needs a value", word);
	/* getopt leaves the bit of a long option that was given a value and takes none. */
	for (const struct option *o = a->known; o->name && strchr(word, '='); o++)
		if (optopt == o->val)
			return err_set(e, ERR_USAGE, "--%s takes no value", o->name);
	return err_set(e, ERR_USAGE, "unknown option %s", word);
}

static int in_command(const struct arguments *a, struct err *e)
{
	return a->command ? err_wrap(e, "%s", a->command) : -1;
}

static int not_taken(const struct arguments *a, const char *option, struct err *e)
{
	return a->command ? err_set(e, ERR_USAGE, "%s takes no --%s", a->command, option)
			  : err_set(e, ERR_USAGE, "--%s goes behind the command", option);
}

int arguments_read(const struct arguments *a, int argc, char **argv, void *to, int *first, struct err *e)
{
	char letters[LETTERS_MAX];

	snprintf(letters, sizeof(letters), "%s:%s", a->stop ? "+" : "", a->letters);
	opterr = 0;
	optind = 0; /* 0, not 1: glibc then forgets the permutation of an earlier run */
	for (;;) {
		/* getopt moves optind past a cluster of short options only at its end, so look before it reads. */
		int at = optind ? optind : 1, index = -1;
		int answer = getopt_long(argc, argv, letters, a->known, &index);

		if (answer == -1)
			break;
		if (answer == ':' || answer == '?') {
			mistake(a, answer, argv[optind > at ? optind - 1 : at], e);
			return in_command(a, e);
		}
		const struct option *o = find(a, answer, index);
		if (!o || !(a->accepted & (unsigned)o->val))
			return not_taken(a, o ? o->name : "?", e);
		if (a->take(to, (unsigned)o->val, optarg, e))
			return in_command(a, e);
	}
	*first = optind;
	return 0;
}

bool arguments_hold(int argc, char **argv, const char *option)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], option) == 0)
			return true;
	return false;
}

int arguments_number(const char *what, const char *text, uint64_t least, uint64_t most, uint64_t *out, struct err *e)
{
	uint64_t n = 0;
	bool good = text[0] != '\0';

	for (const char *p = text; good && *p; p++) {
		unsigned digit = (unsigned)(*p - '0');
		good = digit <= 9 && !__builtin_mul_overflow(n, 10, &n) && !__builtin_add_overflow(n, digit, &n);
	}
	if (!good || n < least || n > most)
		return err_set(e, ERR_USAGE, "%s \"%s\" is no whole number from %" PRIu64 " to %" PRIu64, what, text,
			       least, most);
	*out = n;
	return 0;
}
