#include "loader/client/pretty.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <time.h>

#include "bundles/base/own.h"
#include "bundles/base/text.h"
#include "loader/client/ask.h"

enum {
	EVENT_COLUMNS_MAX = 28,
	PROCESS_COLUMNS_MAX = 26,
	ENDPOINT_COLUMNS_MAX = 60,
	PATH_BYTES = 512,
	NAME_BYTES_MAX = 400,
	DEPTH_MAX = 16,
};

/* Fields that have a place of their own, or say nothing to a reader of this host's stream. */
static const char *const shown_elsewhere[] = {
    "time",
    "event",
    "bundle",
    "host",
    "host.name",
    "seq",
    "process.pid",
    "process.executable.name",
    "network.local.address",
    "network.local.port",
    "network.peer.address",
    "network.peer.port",
    "network.transport",
    "network.type",
};

static const struct {
	const char *path, *name;
} short_names[] = {
    {"process.cgroup.id", "cgroup"},
    {"process.executable.path", "exe"},
    {"network.io.direction", "direction"},
    {"network.protocol.name", "protocol"},
};

static const struct {
	const char *family;
	enum style style;
} families[] = {
    {"tcp", STYLE_GREEN},   {"udp", STYLE_BLUE}, {"dns", STYLE_CYAN}, {"http", STYLE_MAGENTA},
    {"rpc", STYLE_MAGENTA}, {"db", STYLE_BLUE},  {"obs", STYLE_BOLD}, {"messaging", STYLE_MAGENTA},
};

static const struct {
	const char *event;
	enum style style;
} exceptions[] = {
    {"tcp.connect_failed", STYLE_RED}, {"tcp.reset", STYLE_RED},  {"tcp.drop", STYLE_RED},
    {"tcp.retransmit", STYLE_YELLOW},  {"obs.lost", STYLE_ALARM},
};

void pretty_init(struct pretty *p, const struct term *term)
{
	*p = (struct pretty){.term = *term, .event_columns = 18, .process_columns = 18};
}

static enum style style_of(const char *event)
{
	size_t len = strcspn(event, ".");

	for (size_t i = 0; i < ARRAY_LEN(exceptions); i++)
		if (strcmp(exceptions[i].event, event) == 0)
			return exceptions[i].style;
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (strlen(families[i].family) == len && memcmp(families[i].family, event, len) == 0)
			return families[i].style;
	return STYLE_YELLOW;
}

/* Writes text in a column that grows up to `most`. */
static void put_column(FILE *f, const struct term *term, enum style style, const char *text, size_t text_size,
		       size_t *columns, size_t most)
{
	OWN_TEXT_STREAM struct text_stream s = {0};
	OWN_FREE char *safe = NULL;
	size_t size;

	if (text_stream_open(&s))
		return;
	text_terminal_bytes(s.f, text, text_size, false);
	if (text_stream_end(&s, &safe, &size))
		return;
	size_t wide = term_columns(safe, size);
	if (wide > *columns)
		*columns = wide < most ? wide : most;
	if (style != STYLE_PLAIN)
		term_style(f, term, style);
	fputs(safe, f);
	if (style != STYLE_PLAIN)
		term_style(f, term, STYLE_PLAIN);
	fprintf(f, "%*s", (int)(wide < *columns ? *columns - wide : 0) + 2, "");
}

/* "2026-11-22T10:00:00.123456789Z" as local "11:00:00.123". */
static void put_time(FILE *f, const struct term *term, const char *text)
{
	struct tm tm = {0};
	const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
	char clock[32], fraction[4] = "000";

	if (!rest) {
		fputs("--:--:--.---  ", f);
		return;
	}
	if (*rest == '.')
		for (size_t i = 0; i < 3 && rest[1 + i] >= '0' && rest[1 + i] <= '9'; i++)
			fraction[i] = rest[1 + i];
	time_t seconds = timegm(&tm);
	if (!localtime_r(&seconds, &tm) || !strftime(clock, sizeof(clock), "%H:%M:%S", &tm))
		snprintf(clock, sizeof(clock), "--:--:--");
	term_style(f, term, STYLE_DIM);
	fprintf(f, "%s.%s", clock, fraction);
	term_style(f, term, STYLE_PLAIN);
	fputs("  ", f);
}

static void put_process(FILE *f, struct pretty *p, const json_t *process)
{
	const json_t *name = json_object_get(json_object_get(process, "executable"), "name");
	const json_t *pid = json_object_get(process, "pid");
	size_t used = json_string_length(name);
	char text[512] = "-";

	if (used > NAME_BYTES_MAX)
		used = NAME_BYTES_MAX;
	if (used)
		memcpy(text, json_string_value(name), used);
	if (json_is_integer(pid))
		used += (size_t)snprintf(text + used, sizeof(text) - used, "[%" JSON_INTEGER_FORMAT "]",
					 json_integer_value(pid));
	put_column(f, &p->term, STYLE_PLAIN, text, used ? used : 1, &p->process_columns, PROCESS_COLUMNS_MAX);
}

/* "10.0.0.1:4242", "[2001:db8::1]:443", "10.0.0.1", ":443", "". */
static void endpoint(const json_t *side, char *dst, size_t size)
{
	const char *address = json_string_value(json_object_get(side, "address"));
	const json_t *port = json_object_get(side, "port");
	bool six = address && strchr(address, ':');
	char number[32] = "";

	if (json_is_integer(port))
		snprintf(number, sizeof(number), ":%" JSON_INTEGER_FORMAT, json_integer_value(port));
	snprintf(dst, size, "%s%s%s%s", six && number[0] ? "[" : "", address ? address : "",
		 six && number[0] ? "]" : "", number);
}

static void put_endpoints(FILE *f, struct pretty *p, const json_t *network)
{
	const json_t *local_side = json_object_get(network, "local"), *peer_side = json_object_get(network, "peer");
	char local[128], peer[128], both[300] = "";

	endpoint(local_side, local, sizeof(local));
	endpoint(peer_side, peer, sizeof(peer));
	if (local[0] && peer[0])
		snprintf(both, sizeof(both), "%s %s %s", local, p->term.utf8 ? "\xe2\x86\x92" : "->", peer);
	else
		snprintf(both, sizeof(both), "%s%s", local, peer);
	if (both[0] || p->endpoint_columns)
		put_column(f, &p->term, STYLE_PLAIN, both, strlen(both), &p->endpoint_columns, ENDPOINT_COLUMNS_MAX);
}

static bool ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a > b && strcmp(text + a - b, end) == 0;
}

/* Short name of a field, without its last `cut` bytes: the unit, where the value carries it. */
static void put_key(FILE *f, const struct term *term, const char *path, const char *event, size_t cut)
{
	size_t family = strcspn(event, ".");
	char name[PATH_BYTES];

	snprintf(name, sizeof(name), "%s", path);
	for (size_t i = 0; i < ARRAY_LEN(short_names); i++)
		if (strcmp(short_names[i].path, path) == 0)
			snprintf(name, sizeof(name), "%s", short_names[i].name);
	if (strncmp(path, event, family) == 0 && path[family] == '.')
		snprintf(name, sizeof(name), "%s", path + family + 1);
	if (cut && strlen(name) > cut)
		name[strlen(name) - cut] = '\0';
	term_style(f, term, STYLE_DIM);
	text_terminal(f, name, false);
	fputc('=', f);
	term_style(f, term, STYLE_PLAIN);
}

/* Text is quoted where it would not read as one word. */
static void put_text(FILE *f, const char *text, size_t size)
{
	bool quote = size == 0;

	for (size_t i = 0; i < size && !quote; i++)
		quote = text[i] && strchr(" =,\"", text[i]);
	if (quote)
		fputc('"', f);
	text_terminal_bytes(f, text, size, false);
	if (quote)
		fputc('"', f);
}

static void put_scalar(FILE *f, const json_t *value)
{
	if (json_is_string(value))
		put_text(f, json_string_value(value), json_string_length(value));
	else if (json_is_integer(value))
		fprintf(f, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		fprintf(f, "%g", json_real_value(value));
	else if (json_is_boolean(value))
		fputs(json_boolean_value(value) ? "yes" : "no", f);
	else
		fputc('-', f);
}

static void put_inline(FILE *f, const json_t *value, unsigned depth)
{
	const char *key;
	const json_t *member;
	size_t i;
	bool first = true;

	if (depth == DEPTH_MAX) {
		fputs("...", f);
	} else if (json_is_array(value)) {
		json_array_foreach(value, i, member)
		{
			if (i)
				fputc(',', f);
			put_inline(f, member, depth + 1);
		}
		if (json_array_size(value) == 0)
			fputs("none", f);
	} else if (json_is_object(value)) {
		fputc('{', f);
		json_object_foreach((json_t *)value, key, member)
		{
			if (!first)
				fputc(',', f);
			first = false;
			text_terminal(f, key, false);
			fputc(':', f);
			put_inline(f, member, depth + 1);
		}
		fputc('}', f);
	} else {
		put_scalar(f, value);
	}
}

enum unit { UNIT_NONE, UNIT_NS, UNIT_US, UNIT_BYTES };

/* Names end in their units. */
static enum unit unit_of(const char *path)
{
	if (ends_with(path, "_ns"))
		return UNIT_NS;
	if (ends_with(path, "_us"))
		return UNIT_US;
	return ends_with(path, "_bytes") || ends_with(path, ".bytes") ? UNIT_BYTES : UNIT_NONE;
}

static void put_amount(FILE *f, enum unit unit, uint64_t n)
{
	char amount[64];

	if (unit == UNIT_NS || (unit == UNIT_US && n <= UINT64_MAX / 1000))
		term_duration(unit == UNIT_US ? n * 1000 : n, "", amount, sizeof(amount));
	else if (unit == UNIT_BYTES)
		term_bytes(n, "", amount, sizeof(amount));
	else
		snprintf(amount, sizeof(amount), "%" PRIu64 "%s", n, unit == UNIT_US ? "us" : "");
	fputs(amount, f);
}

/* An integer, or one past 63 bits, which is quoted. */
static void put_number(FILE *f, enum unit unit, const json_t *value)
{
	json_int_t n = json_integer_value(value);

	if (n < 0)
		fputc('-', f);
	if (json_is_string(value))
		put_amount(f, unit, strtoull(json_string_value(value), NULL, 10));
	else
		put_amount(f, unit, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

static void put_label(FILE *f, const struct term *term, const char *path, const char *event)
{
	enum unit unit = unit_of(path);

	fputc(' ', f);
	put_key(f, term, path, event, unit == UNIT_NS || unit == UNIT_US ? 3 : 0);
}

static void put_field(FILE *f, const struct term *term, const char *path, const char *event, const json_t *value)
{
	for (size_t i = 0; i < ARRAY_LEN(shown_elsewhere); i++)
		if (strcmp(shown_elsewhere[i], path) == 0)
			return;
	put_label(f, term, path, event);
	if (json_is_integer(value))
		put_number(f, unit_of(path), value);
	else
		put_inline(f, value, 0);
}

/* {"buckets":[{"le":127,"count":3},...],"count":4}: where half, nearly all and all of the values lie. */
static bool put_histogram(FILE *f, const struct term *term, const char *path, const char *event, const json_t *value)
{
	static const unsigned percents[] = {50, 90, 99, 100};
	const json_t *buckets = json_object_get(value, "buckets"), *count = json_object_get(value, "count"), *bucket;
	size_t i, next = 0;
	uint64_t seen = 0, total = json_integer_value(count) > 0 ? (uint64_t)json_integer_value(count) : 0;

	if (json_object_size(value) != 2 || !json_is_array(buckets) || !json_is_integer(count))
		return false;
	put_label(f, term, path, event);
	fprintf(f, "%" PRIu64, total);
	json_array_foreach(buckets, i, bucket)
	{
		json_int_t n = json_integer_value(json_object_get(bucket, "count"));

		seen += n > 0 ? (uint64_t)n : 0;
		for (; next < ARRAY_LEN(percents) && (double)seen * 100 >= (double)total * percents[next]; next++) {
			fprintf(f, ",p%u<=", percents[next]);
			put_number(f, unit_of(path), json_object_get(bucket, "le"));
		}
	}
	return true;
}

/* Every member that is no object, with its dotted path; path has PATH_BYTES of room and `used` of them are taken. */
static void put_fields(FILE *f, const struct term *term, const json_t *object, char *path, size_t used,
		       const char *event, unsigned depth)
{
	const char *key;
	const json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		int n = snprintf(path + used, PATH_BYTES - used, "%s%s", used ? "." : "", key);
		if (n < 0 || (size_t)n >= PATH_BYTES - used || depth == DEPTH_MAX) {
			fputs(" ...", f);
			continue;
		}
		if (json_is_object(value) && put_histogram(f, term, path, event, value))
			continue;
		if (json_is_object(value))
			put_fields(f, term, value, path, used + (size_t)n, event, depth + 1);
		else
			put_field(f, term, path, event, value);
	}
	path[used] = '\0';
}

/* Integers past 2^63 are good JSON, but jansson takes none: they are quoted, so that they are shown as they came. */
static char *quote_large(const char *line, size_t size)
{
	char *out = malloc(3 * size + 1), *to = out;
	bool in_string = false;

	for (size_t i = 0; out && i < size;) {
		size_t digits = 0;
		if (in_string && line[i] == '\\' && i + 1 < size) {
			*to++ = line[i++];
			*to++ = line[i++];
			continue;
		}
		if (line[i] == '"')
			in_string = !in_string;
		while (!in_string && i + digits < size && line[i + digits] >= '0' && line[i + digits] <= '9')
			digits++;
		bool large = digits >= 19 && i && (line[i - 1] == ':' || line[i - 1] == ',' || line[i - 1] == '[');
		if (large)
			*to++ = '"';
		memcpy(to, line + i, digits ? digits : 1);
		to += digits ? digits : 1;
		i += digits ? digits : 1;
		if (large)
			*to++ = '"';
	}
	if (out)
		*to = '\0';
	return out;
}

static json_t *parse(const char *line, size_t size)
{
	/* Text of a given length may hold NUL. */
	json_t *event = json_loadb(line, size, JSON_ALLOW_NUL, NULL);

	if (event)
		return event;
	OWN_FREE char *quoted = quote_large(line, size);
	return quoted ? json_loads(quoted, JSON_ALLOW_NUL, NULL) : NULL;
}

void pretty_event(struct pretty *p, FILE *f, const char *line, size_t size)
{
	while (size && line[size - 1] == '\n')
		size--;
	json_auto_t *event = parse(line, size);
	const char *name = json_string_value(json_object_get(event, "event"));
	char path[PATH_BYTES] = "";

	if (!name) {
		text_terminal_bytes(f, line, size, false);
		fputc('\n', f);
		return;
	}
	put_time(f, &p->term, json_string_value(json_object_get(event, "time")));
	put_column(f, &p->term, style_of(name), name, strlen(name), &p->event_columns, EVENT_COLUMNS_MAX);
	if (strncmp(name, "obs.", 4) != 0) {
		put_process(f, p, json_object_get(event, "process"));
		put_endpoints(f, p, json_object_get(event, "network"));
	} else {
		const char *bundle = json_string_value(json_object_get(event, "bundle"));
		bundle = bundle ? bundle : "-";
		put_column(f, &p->term, STYLE_PLAIN, bundle, strlen(bundle), &p->process_columns, PROCESS_COLUMNS_MAX);
	}
	put_fields(f, &p->term, event, path, 0, name, 0);
	fputc('\n', f);
}
