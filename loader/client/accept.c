#include <jansson.h>

#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

int command_accept(const struct options *o, int argc, char **argv, struct err *e)
{
	struct control_request request;
	json_auto_t *answer = NULL;

	(void)argc;
	if (ask_request(CONTROL_ACCEPT, NULL, argv[0], &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	fputs("accepted: ", stdout);
	view_put(view_text(answer, "accepted"));
	fputc('\n', stdout);
	return 0;
}
