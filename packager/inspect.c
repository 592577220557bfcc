#include "packager/packager.h"
int cmd_inspect(int argc, char **argv, struct err *e)
{
	(void)argc; (void)argv;
	return err_set(e, ERR_USAGE, "not yet");
}
