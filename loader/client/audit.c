#include <inttypes.h>
#include <jansson.h>

#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static void add_row(struct table *t, const json_t *entry)
{
	const char *verdict = view_text(entry, "verdict"), *bundle = view_text(entry, "bundle");
	const char *detail = view_text(entry, "detail");
	char when[64];

	view_time(json_object_get(entry, "time"), when, sizeof(when));
	table_cell(t, STYLE_PLAIN, "%s", when);
	table_cell(t, STYLE_PLAIN, "%s", view_text(entry, "action"));
	table_cell(t, view_state_style(verdict), "%s", verdict);
	table_cell(t, STYLE_BOLD, "%s", bundle[0] ? bundle : view_text(entry, "name"));
	if (view_number(entry, "serial"))
		table_cell(t, STYLE_PLAIN, "%" PRIu64, view_number(entry, "serial"));
	else
		table_cell(t, STYLE_PLAIN, "%s", "");
	table_cell(t, STYLE_PLAIN, "%s", view_text(entry, "code"));
	if (json_is_integer(json_object_get(entry, "uid")))
		table_cell(t, STYLE_PLAIN, "uid %" PRIu64 " %s[%" PRIu64 "]", view_number(entry, "uid"),
			   view_text(entry, "comm"), view_number(entry, "pid"));
	else
		table_cell(t, STYLE_PLAIN, "%s", "");
	table_cell(t, STYLE_PLAIN, "%s", detail[0] ? detail : view_text(entry, "message"));
}

static int verify(const struct options *o, struct err *e)
{
	struct control_request request;
	json_auto_t *answer = NULL;
	char since[64];

	if (o->last)
		return err_set(e, ERR_USAGE, "audit takes --last or --verify, not both");
	if (ask_request(CONTROL_AUDIT_VERIFY, NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	view_time(json_object_get(answer, "since"), since, sizeof(since));
	printf("the audit log holds: %" PRIu64 " lines in %" PRIu64 " files since ", view_number(answer, "lines"),
	       view_number(answer, "files"));
	view_put(since);
	fputc('\n', stdout);
	if (view_number(answer, "removed"))
		printf("%" PRIu64 " lines before them were removed with the oldest files\n",
		       view_number(answer, "removed"));
	if (view_number(answer, "recovered"))
		printf("a crash cut it off %" PRIu64 " times, which lines with the action \"recover\" tell\n",
		       view_number(answer, "recovered"));
	fputs("newest line: ", stdout);
	view_put(view_text(answer, "last"));
	fputc('\n', stdout);
	return 0;
}

int command_audit(const struct options *o, int argc, char **argv, struct err *e)
{
	static const struct table_column columns[] = {
	    {"TIME"},
	    {"ACTION"},
	    {"VERDICT"},
	    {"NAME", .wrap = true},
	    {"SERIAL", .right = true},
	    {"CODE"},
	    {"BY", .wrap = true},
	    {"DETAIL", .wrap = true},
	};
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	OWN(table) struct table *t = NULL;
	const json_t *entry;
	char most[24] = "";
	size_t i;

	(void)argc;
	(void)argv;
	if (o->given & OPTION_CHAIN)
		return verify(o, e);
	if (o->last > CONTROL_AUDIT_MOST)
		return err_set(e, ERR_USAGE, "--last %" PRIu64 ": at most %d", o->last, CONTROL_AUDIT_MOST);
	if (o->last)
		snprintf(most, sizeof(most), "%" PRIu64, o->last);
	if (ask_request(CONTROL_AUDIT, NULL, most, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(json_object_get(answer, "entries"), i, entry)
	{
		add_row(t, entry);
	}
	if (table_rows(t) == 0) {
		puts("the audit log is empty");
		return 0;
	}
	return table_print(t, stdout, &term, 0, e);
}
