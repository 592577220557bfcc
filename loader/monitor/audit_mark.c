/* audit.json: struct audit_mark. */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "bundles/base/file.h"
#include "bundles/base/json.h"
#include "loader/monitor/audit_impl.h"

enum { MARK_SCHEMA = 1, MARK_MAX_BYTES = 4096 };

static const char mark_name[] = "audit.json";

static int parse(const uint8_t *text, size_t size, struct audit_mark *out, struct err *e)
{
	json_auto_t *root = NULL;
	json_int_t lines, first, dropped;
	const char *last, *before;
	struct audit_mark mark;
	int schema;

	if (json_read(text, size, ERR_AUDIT_BROKEN, &root, e))
		return -1;
	if (json_unpack(root, "{s:i,s:I,s:s,s:I,s:I,s:s!}", "schema", &schema, "lines", &lines, "last", &last, "first",
			&first, "dropped", &dropped, "before", &before) ||
	    schema != MARK_SCHEMA || first < 1 || dropped < 0 || lines < dropped || !digest_parse(last, &mark.last) ||
	    !digest_parse(before, &mark.before))
		return err_set(e, ERR_AUDIT_BROKEN, "it does not say what it should");
	mark.lines = (uint64_t)lines;
	mark.first = (uint64_t)first;
	mark.dropped = (uint64_t)dropped;
	*out = mark;
	return 0;
}

int audit_mark_read(int dir_fd, struct audit_mark *out, bool *found, struct err *e)
{
	OWN_FREE uint8_t *text = NULL;
	size_t size;
	OWN_FD int fd = openat(dir_fd, mark_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	*found = false;
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_errno(e, ERR_AUDIT_BROKEN, "%s", mark_name);
	if (file_read_fd(fd, MARK_MAX_BYTES, ERR_AUDIT_BROKEN, &text, &size, e) || parse(text, size, out, e))
		return err_wrap(e, "%s", mark_name);
	*found = true;
	return 0;
}

int audit_mark_write(int dir_fd, const struct audit_mark *mark, struct err *e)
{
	char last[DIGEST_HEX_BYTES], before[DIGEST_HEX_BYTES], text[512];

	digest_hex(&mark->last, last);
	digest_hex(&mark->before, before);
	int n = snprintf(text, sizeof(text),
			 "{\"schema\":%d,\"lines\":%" PRIu64 ",\"last\":\"%s\",\"first\":%" PRIu64
			 ",\"dropped\":%" PRIu64 ",\"before\":\"%s\"}\n",
			 MARK_SCHEMA, mark->lines, last, mark->first, mark->dropped, before);
	if (file_replace_at(dir_fd, mark_name, text, (size_t)n, 0600, e)) {
		if (e)
			e->code = ERR_STATE_IO;
		return -1;
	}
	return 0;
}
