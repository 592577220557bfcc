#include "loader/monitor/revoked.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>

#include "bundles/base/file.h"

enum { REVOKED_MAX_BYTES = 4 << 20 };

static const char file_name[] = "revoked";

void revoked_free(struct revoked *revoked)
{
	free(revoked->one);
	*revoked = (struct revoked){0};
}

const struct revoked_one *revoked_find(const struct revoked *revoked, const struct digest *digest)
{
	for (size_t i = 0; i < revoked->count; i++)
		if (digest_equal(&revoked->one[i].digest, digest))
			return &revoked->one[i];
	return NULL;
}

/* Blanks around [text, text + size) are left out. */
static const char *trim(const char *text, size_t *size)
{
	while (*size && isspace((unsigned char)text[*size - 1]))
		--*size;
	while (*size && isspace((unsigned char)*text)) {
		text++;
		--*size;
	}
	return text;
}

/* *some is false for a line without an identity. */
static int parse_line(const char *line, size_t size, struct revoked_one *out, bool *some, struct err *e)
{
	const char *comment = memchr(line, '#', size);
	size_t length = comment ? (size_t)(comment - line) : size;
	size_t note = comment ? size - length - 1 : 0;
	char hex[DIGEST_HEX_BYTES] = "";
	const char *text = trim(line, &length);

	*some = length > 0;
	if (!*some)
		return 0;
	if (length == sizeof(hex) - 1)
		memcpy(hex, text, length);
	if (!digest_parse(hex, &out->digest))
		return err_set(e, ERR_POLICY_MALFORMED, "64 lower-case hex digits are due");
	text = comment ? trim(comment + 1, &note) : "";
	snprintf(out->note, sizeof(out->note), "%.*s", (int)note, text);
	return 0;
}

static int read_text(int config_fd, char **out, size_t *out_size, struct err *e)
{
	OWN_FREE uint8_t *text = NULL;
	OWN_FD int fd = openat(config_fd, file_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*out_size = 0;
	if (fd < 0 && errno == ENOENT) {
		*out = strdup("");
		return *out ? 0 : err_errno(e, ERR_NOMEM, "%s", file_name);
	}
	if (fd < 0)
		return err_errno(e, ERR_POLICY_MALFORMED, "%s", file_name);
	if (file_read_fd(fd, REVOKED_MAX_BYTES, ERR_POLICY_MALFORMED, &text, out_size, e))
		return err_wrap(e, "%s", file_name);
	if (memchr(text, '\0', *out_size))
		return err_set(e, ERR_POLICY_MALFORMED, "%s: not a text file", file_name);
	*out = (char *)TAKE_PTR(text);
	return 0;
}

/* From *at to the end of its line, which *at is then behind; false at the end. */
static bool next_line(const char **at, const char **line, size_t *size)
{
	if (!**at)
		return false;
	*line = *at;
	*size = strcspn(*at, "\n");
	*at += *size + ((*line)[*size] == '\n');
	return true;
}

static int parse(const char *text, struct revoked *r, struct err *e)
{
	const char *line;
	size_t size, room = 0;

	for (unsigned number = 1; next_line(&text, &line, &size); number++) {
		bool some;
		if (r->count == room) {
			room = room ? room * 2 : 16;
			struct revoked_one *grown = reallocarray(r->one, room, sizeof(*grown));
			if (!grown)
				return err_errno(e, ERR_NOMEM, "%s", file_name);
			r->one = grown;
		}
		if (parse_line(line, size, &r->one[r->count], &some, e))
			return err_wrap(e, "%s, line %u", file_name, number);
		r->count += some;
	}
	return 0;
}

int revoked_read(int config_fd, struct revoked *out, struct err *e)
{
	OWN_FREE char *text = NULL;
	struct revoked r = {0};
	size_t size;

	if (read_text(config_fd, &text, &size, e))
		return -1;
	if (parse(text, &r, e)) {
		revoked_free(&r);
		return -1;
	}
	*out = r;
	return 0;
}

int revoked_add(int config_fd, const struct digest *digest, const char *note, struct err *e)
{
	OWN_FREE char *text = NULL, *fresh = NULL;
	char hex[DIGEST_HEX_BYTES];
	size_t size;

	digest_hex(digest, hex);
	if (read_text(config_fd, &text, &size, e))
		return -1;
	int n = asprintf(&fresh, "%s%s%s # %s\n", text, size && text[size - 1] != '\n' ? "\n" : "", hex, note);
	if (n < 0) {
		fresh = NULL;
		return err_set(e, ERR_NOMEM, "%s", file_name);
	}
	if (n > REVOKED_MAX_BYTES)
		return err_set(e, ERR_LIMIT, "%s would have more than %d bytes", file_name, REVOKED_MAX_BYTES);
	return file_replace_at(config_fd, file_name, fresh, (size_t)n, 0644, e);
}

int revoked_drop(int config_fd, const struct digest *digest, struct err *e)
{
	OWN_FREE char *text = NULL, *left = NULL;
	const char *line, *at;
	size_t size, used = 0;

	if (read_text(config_fd, &text, &size, e))
		return -1;
	left = malloc(size + 1);
	if (!left)
		return err_errno(e, ERR_NOMEM, "%s", file_name);
	for (at = text; next_line(&at, &line, &size);) {
		struct revoked_one one;
		bool some;
		if (parse_line(line, size, &one, &some, e))
			return err_wrap(e, "%s", file_name);
		if (some && digest_equal(&one.digest, digest))
			continue;
		memcpy(left + used, line, (size_t)(at - line));
		used += (size_t)(at - line);
	}
	return file_replace_at(config_fd, file_name, left, used, 0644, e);
}
