#include <jansson.h>
#include <string.h>

#include "bundles/base/file.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static int set_one(const struct options *o, const char *name, const char *assignment, struct err *e)
{
	const char *value = strchr(assignment, '=') + 1;
	OWN_FREE char *param = strndup(assignment, (size_t)(value - 1 - assignment));
	OWN_FD int fd = -1;
	struct control_request request;
	json_auto_t *answer = NULL;

	if (!param)
		return err_errno(e, ERR_NOMEM, "%s", assignment);
	if (ask_request(CONTROL_SET, name, param, &request, e) ||
	    file_sealed("obsload-value", value, strlen(value), &fd, e) || ask(o, &request, fd, &answer, e))
		return -1;
	if (!answer)
		return 0;
	view_put(view_text(answer, "name"));
	fputc(' ', stdout);
	view_put(view_text(answer, "parameter"));
	fputs(": \"", stdout);
	view_put(view_text(answer, "previous"));
	fputs("\" is now \"", stdout);
	view_put(view_text(answer, "value"));
	fputs("\"\n", stdout);
	return 0;
}

int command_set(const struct options *o, int argc, char **argv, struct err *e)
{
	/* Each is one request, so look at all before the first takes effect. */
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '=' || !strchr(argv[i], '='))
			return err_set(e, ERR_USAGE, "\"%s\" is not param=value", argv[i]);
	for (int i = 1; i < argc; i++)
		if (set_one(o, argv[0], argv[i], e))
			return i > 1 ? err_wrap(e, "%s (%d of %d before it took effect)", argv[i], i - 1, argc - 1)
				     : -1;
	return 0;
}
