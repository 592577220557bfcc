#include "loader/client/view.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "bundles/base/text.h"

const char *view_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t view_number(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

enum style view_state_style(const char *state)
{
	static const struct {
		const char *word;
		enum style style;
	} styles[] = {
	    {"running", STYLE_GREEN},  {"attached", STYLE_GREEN},     {"attached (by daemon)", STYLE_GREEN},
	    {"loaded", STYLE_GREEN},   {"done", STYLE_GREEN},         {"accepted", STYLE_GREEN},
	    {"partial", STYLE_YELLOW}, {"unavailable", STYLE_YELLOW}, {"unused", STYLE_DIM},
	    {"stopped", STYLE_YELLOW}, {"waiting", STYLE_YELLOW},     {"refused", STYLE_RED},
	    {"failed", STYLE_RED},
	};

	for (size_t i = 0; i < ARRAY_LEN(styles); i++)
		if (strcmp(styles[i].word, state) == 0)
			return styles[i].style;
	return STYLE_PLAIN;
}

void view_time(const json_t *time_value, char *dst, size_t size)
{
	const char *text = json_string_value(time_value);
	struct tm tm = {0};
	time_t seconds;

	if (json_is_integer(time_value)) {
		seconds = (time_t)json_integer_value(time_value);
	} else if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm)) {
		seconds = timegm(&tm);
	} else {
		snprintf(dst, size, "%s", text ? text : "");
		return;
	}
	if (!localtime_r(&seconds, &tm) || strftime(dst, size, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(dst, size, "%s", text ? text : "");
}

int view_programs(const json_t *programs, FILE *f, const struct term *term, struct err *e)
{
	static const struct table_column columns[] = {
	    {"PROGRAM"},
	    {"ATTACH"},
	    {"TARGET"},
	    {"STATE"},
	    {"ID", .right = true},
	    {"RUNS", .right = true},
	    {"PER RUN", .right = true},
	    {"MISSED", .right = true},
	    {"REASON", .wrap = true},
	};
	OWN(table) struct table *t = NULL;
	const json_t *p;
	size_t i;

	if (json_array_size(programs) == 0)
		return 0;
	if (table_new(columns, ARRAY_LEN(columns), &t, e))
		return -1;
	json_array_foreach(programs, i, p)
	{
		const char *state = view_text(p, "state");
		uint64_t id = view_number(p, "id"), runs = view_number(p, "runs");
		uint64_t skipped = view_number(p, "missed");
		char count[32] = "", each[32] = "", missed[32] = "";

		if (skipped)
			term_count(skipped, missed, sizeof(missed));

		if (runs) {
			term_count(runs, count, sizeof(count));
			term_duration(view_number(p, "run_time_ns") / runs, " ", each, sizeof(each));
		}
		table_cell(t, STYLE_PLAIN, "%s", view_text(p, "name"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(p, "attach"));
		table_cell(t, STYLE_PLAIN, "%s", view_text(p, "target"));
		table_cell(t, view_state_style(state), "%s", state);
		if (id)
			table_cell(t, STYLE_DIM, "%" PRIu64, id);
		else
			table_cell(t, STYLE_DIM, "%s", "");
		table_cell(t, STYLE_PLAIN, "%s", count);
		table_cell(t, STYLE_PLAIN, "%s", each);
		table_cell(t, STYLE_RED, "%s", missed);
		table_cell(t, STYLE_PLAIN, "%s", view_text(p, "reason"));
	}
	return table_print(t, f, term, 2, e);
}

int view_bundle_result(const json_t *answer, struct err *e)
{
	struct term term = term_of(STDOUT_FILENO);
	const json_t *signer;
	size_t i;

	term_style(stdout, &term, STYLE_GREEN);
	view_put(view_text(answer, "action"));
	term_style(stdout, &term, STYLE_PLAIN);
	fputc(' ', stdout);
	term_style(stdout, &term, STYLE_BOLD);
	view_put(view_text(answer, "name"));
	term_style(stdout, &term, STYLE_PLAIN);
	fputc(' ', stdout);
	view_put(view_text(answer, "version"));
	printf(" (serial %" PRIu64 ", manifest ", view_number(answer, "serial"));
	view_put_short(view_text(answer, "digest"));
	fputs(")\n", stdout);
	json_array_foreach(json_object_get(answer, "signers"), i, signer)
	{
		fputs("  signed by ", stdout);
		view_put(view_text(signer, "subject"));
		fputs(" (", stdout);
		view_put_short(view_text(signer, "signer"));
		fputs(")\n", stdout);
	}
	return view_programs(json_object_get(answer, "programs"), stdout, &term, e);
}

void view_put(const char *text)
{
	text_terminal(stdout, text, false);
}

void view_put_short(const char *hex)
{
	char part[17];

	snprintf(part, sizeof(part), "%s", hex);
	view_put(part);
}
