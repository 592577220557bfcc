#include <inttypes.h>
#include <jansson.h>

#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static void add_row(struct table *t, const json_t *bundle)
{
	const char *state = view_text(bundle, "state");
	const json_t *signers = json_object_get(bundle, "signers");
	const char *first = json_string_value(json_array_get(signers, 0));
	size_t more = json_array_size(signers);
	char installed[64];

	view_time(json_object_get(bundle, "installed_at"), installed, sizeof(installed));
	table_cell(t, STYLE_BOLD, "%s", view_text(bundle, "name"));
	table_cell(t, STYLE_PLAIN, "%s", view_text(bundle, "version"));
	table_cell(t, STYLE_PLAIN, "%" PRIu64, view_number(bundle, "serial"));
	table_cell(t, view_state_style(state), "%s", state);
	table_cell(t, STYLE_PLAIN, "%" PRIu64 "/%" PRIu64, view_number(bundle, "attached"),
		   view_number(bundle, "programs"));
	if (more > 1)
		table_cell(t, STYLE_PLAIN, "%.16s +%zu", first ? first : "", more - 1);
	else
		table_cell(t, STYLE_PLAIN, "%.16s", first ? first : "");
	table_cell(t, STYLE_PLAIN, "%s", installed);
	table_cell(t, STYLE_PLAIN, "%s", view_text(bundle, "reason"));
}

int command_list(const struct options *o, int argc, char **argv, struct err *e)
{
	static const struct table_column columns[] = {
	    {"NAME"},   {"VERSION"},   {"SERIAL", .right = true}, {"STATE"}, {"ATTACHED", .right = true},
	    {"SIGNER"}, {"INSTALLED"}, {"REASON", .wrap = true},
	};
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	OWN(table) struct table *t = NULL;
	const json_t *bundle;
	size_t i;

	(void)argc;
	(void)argv;
	if (ask_request(CONTROL_LIST, NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(json_object_get(answer, "bundles"), i, bundle)
	{
		add_row(t, bundle);
	}
	if (table_rows(t) == 0) {
		puts("no bundle is installed");
		return 0;
	}
	return table_print(t, stdout, &term, 0, e);
}
