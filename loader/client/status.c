#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static void show_daemon(const json_t *d)
{
	char up[32], total[32], events[32], bytes[32];

	term_duration(view_number(d, "uptime_s") * 1000000000, " ", up, sizeof(up));
	term_count(view_number(d, "subscribers_total"), total, sizeof(total));
	term_count(view_number(d, "sent_events"), events, sizeof(events));
	term_bytes(view_number(d, "sent_bytes"), " ", bytes, sizeof(bytes));
	fputs("obsload ", stdout);
	view_put(view_text(d, "version"));
	printf(", pid %" PRIu64 ", up %s, worker %" PRIu64, view_number(d, "pid"), up, view_number(d, "worker_pid"));
	if (view_number(d, "worker_restarts"))
		printf(" (started again %" PRIu64 " times)", view_number(d, "worker_restarts"));
	printf("\nsubscribers %" PRIu64 ", %s in all, %" PRIu64 " refused; sent %s events, %s\n",
	       view_number(d, "subscribers"), total, view_number(d, "subscribers_refused"), events, bytes);
}

static void show_losses(const json_t *lost, const struct term *term)
{
	const char *source;
	const json_t *value;
	bool any = false;

	fputs("  lost", stdout);
	/* json_object_foreach takes no const object; nothing is changed */
	json_object_foreach((json_t *)lost, source, value)
	{
		char count[32];

		if (json_integer_value(value) <= 0)
			continue;
		any = true;
		term_count((uint64_t)json_integer_value(value), count, sizeof(count));
		fputc(' ', stdout);
		term_style(stdout, term, strcmp(source, "sampling") == 0 ? STYLE_DIM : STYLE_RED);
		view_put(source);
		printf(" %s", count);
		term_style(stdout, term, STYLE_PLAIN);
	}
	fputs(any ? "\n" : " nothing\n", stdout);
}

static int show_outputs(const json_t *outputs, const struct term *term, struct err *e)
{
	static const struct table_column columns[] = {{"OUTPUT"}, {"KIND"}, {"INTERVAL", .right = true}};
	OWN(table) struct table *t = NULL;
	const json_t *output;
	size_t i;

	if (json_array_size(outputs) == 0)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(outputs, i, output)
	{
		char interval[32] = "";

		if (view_number(output, "interval_ms"))
			term_duration(view_number(output, "interval_ms") * 1000000, " ", interval, sizeof(interval));
		table_cell(t, STYLE_PLAIN, "%s", view_text(output, "map"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(output, "kind"));
		table_cell(t, STYLE_PLAIN, "%s", interval);
	}
	return table_print(t, stdout, term, 2, e);
}

static void show_parameters(const json_t *parameters)
{
	const char *name;
	const json_t *value;

	if (json_object_size(parameters) == 0)
		return;
	fputs("  parameters", stdout);
	json_object_foreach((json_t *)parameters, name, value)
	{
		const char *text = json_string_value(value);

		fputc(' ', stdout);
		view_put(name);
		fputc('=', stdout);
		view_put(text ? text : "");
	}
	fputc('\n', stdout);
}

static int show_bundle(const json_t *b, const struct term *term, struct err *e)
{
	const char *state = view_text(b, "state"), *reason = view_text(b, "reason");
	char events[32];

	fputc('\n', stdout);
	term_style(stdout, term, STYLE_BOLD);
	view_put(view_text(b, "name"));
	term_style(stdout, term, STYLE_PLAIN);
	fputc(' ', stdout);
	view_put(view_text(b, "version"));
	printf(" (serial %" PRIu64 ") ", view_number(b, "serial"));
	term_style(stdout, term, view_state_style(state));
	view_put(state);
	term_style(stdout, term, STYLE_PLAIN);
	if (reason[0]) {
		fputs(": ", stdout);
		view_put(reason);
	}
	fputc('\n', stdout);
	if (view_programs(json_object_get(b, "programs"), stdout, term, e) ||
	    show_outputs(json_object_get(b, "outputs"), term, e))
		return -1;
	show_parameters(json_object_get(b, "parameters"));
	term_count(view_number(b, "events"), events, sizeof(events));
	printf("  events %s\n", events);
	show_losses(json_object_get(b, "lost"), term);
	return 0;
}

int command_status(const struct options *o, int argc, char **argv, struct err *e)
{
	struct term term = term_of(STDOUT_FILENO);
	struct control_request request;
	json_auto_t *answer = NULL;
	const json_t *item;
	size_t i;

	if (ask_request(CONTROL_STATUS, argc ? argv[0] : NULL, NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	show_daemon(json_object_get(answer, "daemon"));
	json_array_foreach(json_object_get(answer, "warnings"), i, item)
	{
		const char *text = json_string_value(item);

		term_style(stdout, &term, STYLE_YELLOW);
		fputs("warning: ", stdout);
		view_put(text ? text : "");
		term_style(stdout, &term, STYLE_PLAIN);
		fputc('\n', stdout);
	}
	json_array_foreach(json_object_get(answer, "bundles"), i, item)
	{
		if (show_bundle(item, &term, e))
			return -1;
	}
	if (json_array_size(json_object_get(answer, "bundles")) == 0)
		puts("\nno bundle is installed");
	return 0;
}
