#include <jansson.h>
#include <string.h>

#include "keys/cert.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static int list(const struct options *o, struct err *e)
{
	static const struct table_column columns[] = {{"IDENTITY"}, {"NOTE", .wrap = true}};
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	OWN(table) struct table *t = NULL;
	const json_t *one;
	size_t i;

	if (ask_request(CONTROL_REVOKE_LIST, NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(json_object_get(answer, "revoked"), i, one)
	{
		table_cell(t, STYLE_BOLD, "%.16s", view_text(one, "identity"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(one, "note"));
	}
	if (table_rows(t) == 0) {
		puts("nothing is revoked");
		return 0;
	}
	return table_print(t, stdout, &term, 0, e);
}

static void show_names(const char *label, const json_t *names)
{
	const json_t *name;
	size_t i;

	json_array_foreach(names, i, name)
	{
		fputs(i ? ", " : label, stdout);
		view_put(json_string_value(name) ? json_string_value(name) : "");
	}
	if (json_array_size(names))
		fputc('\n', stdout);
}

static void show(const json_t *answer, bool undo)
{
	view_put(view_text(answer, "action"));
	fputs(": ", stdout);
	view_put(view_text(answer, "what"));
	fputs(" (", stdout);
	view_put_short(view_text(answer, "identity"));
	fputs(")\n", stdout);
	show_names("  detached: ", json_object_get(answer, "detached"));
	show_names("  still refused: ", json_object_get(answer, "refused"));
	show_names(undo ? "  runs again: " : "  goes on, since others signed it too: ",
		   json_object_get(answer, "running"));
}

/* Hex digits are an identity; a file of such a name is given as ./NAME. */
static bool is_identity(const char *text)
{
	size_t length = strlen(text);

	return length >= 8 && length <= DIGEST_HEX_BYTES - 1 && strspn(text, "0123456789abcdef") == length;
}

int command_revoke(const struct options *o, int argc, char **argv, struct err *e)
{
	bool undo = o->given & OPTION_UNDO, listing = o->given & OPTION_LIST;
	struct control_request request;
	json_auto_t *answer = NULL;
	OWN_FD int fd = -1;

	if (listing ? undo || argc : !argc)
		return err_set(e, ERR_USAGE, "revoke takes: CERT or IDENTITY, maybe with --undo; or --list");
	if (listing)
		return list(o, e);
	bool identity = is_identity(argv[0]);
	if (!identity && ask_open(argv[0], CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &fd, e))
		return -1;
	if (ask_request(undo ? CONTROL_REVOKE_UNDO : CONTROL_REVOKE, NULL, identity ? argv[0] : NULL, &request, e) ||
	    ask(o, &request, fd, &answer, e))
		return -1;
	if (answer)
		show(answer, undo);
	return 0;
}
