#include <jansson.h>

#include "bundles/limits.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

static int send_bundle(const struct options *o, enum control_op op, const char *path, struct err *e)
{
	struct control_request request;
	OWN_FD int fd = -1;
	json_auto_t *answer = NULL;

	if (ask_request(op, NULL, NULL, &request, e) || ask_open(path, BUNDLE_MAX_BYTES, ERR_ARCHIVE_TOO_LARGE, &fd, e))
		return -1;
	if (o->allow_downgrade)
		request.flags |= CONTROL_ALLOW_DOWNGRADE;
	if (ask(o, &request, fd, &answer, e))
		return ask_refused(path, e);
	return answer ? view_bundle_result(answer, e) : 0;
}

int command_install(const struct options *o, int argc, char **argv, struct err *e)
{
	(void)argc;
	return send_bundle(o, CONTROL_INSTALL, argv[0], e);
}

int command_verify(const struct options *o, int argc, char **argv, struct err *e)
{
	(void)argc;
	return send_bundle(o, CONTROL_VERIFY, argv[0], e);
}
