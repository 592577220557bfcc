#include "keys/flow.h"

#include <string.h>

int flow_of_program(const struct code *code, const char *name, struct flow *out, struct err *e)
{
	for (size_t i = 0; i < code->function_count; i++)
		if (strcmp(code->functions[i].name, name) == 0) {
			*out = (struct flow){.any = true, .writes_context = true, .writes_memory = true};
			return 0;
		}
	return err_set(e, ERR_OBJECT_MALFORMED, "no function %s", name);
}
