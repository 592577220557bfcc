#include <inttypes.h>
#include <jansson.h>

#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/view.h"

int command_remove(const struct options *o, int argc, char **argv, struct err *e)
{
	struct control_request request;
	json_auto_t *answer = NULL;

	(void)argc;
	if (ask_request(CONTROL_REMOVE, argv[0], NULL, &request, e) || ask(o, &request, -1, &answer, e))
		return -1;
	if (!answer)
		return 0;
	fputs("removed ", stdout);
	view_put(view_text(answer, "name"));
	printf(" (serial %" PRIu64 ")\n", view_number(answer, "serial"));
	return 0;
}
