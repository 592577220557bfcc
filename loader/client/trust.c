#include <jansson.h>
#include <string.h>

#include "keys/cert.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static int add(const struct options *o, const char *path, struct err *e)
{
	struct control_request request;
	OWN_FD int fd = -1;
	json_auto_t *answer = NULL;

	if (ask_request(CONTROL_TRUST_ADD, NULL, o->names ? o->names : "*", &request, e) ||
	    ask_open(path, CERT_PEM_MAX_BYTES, ERR_CERTIFICATE_MALFORMED, &fd, e))
		return -1;
	if (ask(o, &request, fd, &answer, e))
		return ask_refused(path, e);
	if (!answer)
		return 0;
	fputs("trusted ", stdout);
	view_put(view_text(answer, "subject"));
	fputs(" (", stdout);
	view_put_short(view_text(answer, "signer"));
	fputs(") for the names ", stdout);
	view_put(view_text(answer, "names"));
	fputc('\n', stdout);
	return 0;
}

static int list(const struct options *o, struct err *e)
{
	static const struct table_column columns[] = {
	    {"SIGNER"}, {"NAMES", .wrap = true}, {"SUBJECT", .wrap = true}, {"ALGORITHM"}, {"FROM"}, {"UNTIL"},
	};
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	OWN(table) struct table *t = NULL;
	const json_t *signer;
	size_t i;

	if (ask_request(CONTROL_TRUST_LIST, NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(json_object_get(answer, "signers"), i, signer)
	{
		char from[64], until[64];

		view_time(json_object_get(signer, "not_before"), from, sizeof(from));
		view_time(json_object_get(signer, "not_after"), until, sizeof(until));
		table_cell(t, STYLE_BOLD, "%.16s", view_text(signer, "signer"));
		bool revoked = json_is_true(json_object_get(signer, "revoked"));
		table_cell(t, revoked ? STYLE_RED : STYLE_PLAIN, "%s",
			   revoked ? "revoked" : view_text(signer, "names"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(signer, "subject"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(signer, "algorithm"));
		table_cell(t, STYLE_PLAIN, "%.10s", from);
		table_cell(t, STYLE_PLAIN, "%.10s", until);
	}
	if (table_rows(t) == 0) {
		puts("no signer is trusted: obsload trust add CERT");
		return 0;
	}
	return table_print(t, stdout, &term, 0, e);
}

static int remove_signer(const struct options *o, const char *signer, struct err *e)
{
	struct control_request request;
	json_auto_t *answer = NULL;
	const json_t *name;
	size_t i;

	if (ask_request(CONTROL_TRUST_REMOVE, NULL, signer, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	fputs("no longer trusted: ", stdout);
	view_put(view_text(answer, "subject"));
	fputs(" (", stdout);
	view_put_short(view_text(answer, "signer"));
	fputs(")\n", stdout);
	json_array_foreach(json_object_get(answer, "refused_at_next_start"), i, name)
	{
		fputs("warning: ", stdout);
		view_put(json_string_value(name) ? json_string_value(name) : "");
		fputs(" runs on, but its other signers are not enough: the next start will refuse it\n", stdout);
	}
	return 0;
}

int command_trust(const struct options *o, int argc, char **argv, struct err *e)
{
	const char *what = argv[0];

	if (o->names && strcmp(what, "add") != 0)
		return err_set(e, ERR_USAGE, "trust %s takes no --names", what);
	if (strcmp(what, "list") == 0 && argc == 1)
		return list(o, e);
	if (strcmp(what, "add") == 0 && argc == 2)
		return add(o, argv[1], e);
	if (strcmp(what, "remove") == 0 && argc == 2)
		return remove_signer(o, argv[1], e);
	return err_set(e, ERR_USAGE, "trust takes: add CERT, list, or remove SIGNER");
}
