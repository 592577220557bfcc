/* Any JSON object as the daemon's answer to a command: it holds names of processes, subjects of certificates and notes, and
 * what reaches a terminal holds nothing that a terminal obeys. The first byte is the command, the second the terminal's
 * width, 0 for a pipe. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "bundles/base/json.h"
#include "loader/client/ask.h"
#include "loader/client/commands.h"
#include "loader/client/term.h"
#include "tests/fuzz/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_ask(const struct options *o, const struct control_request *request, int fd, struct json_t **out,
	       struct err *e);
struct term __wrap_term_of(int fd);

static struct {
	const uint8_t *data;
	size_t size;
	unsigned width;
} answer;

int __wrap_ask(const struct options *o, const struct control_request *request, int fd, struct json_t **out,
	       struct err *e)
{
	(void)o, (void)request, (void)fd;
	if (json_read(answer.data, answer.size, ERR_DAEMON_PROTOCOL, out, e))
		return -1;
	if (json_is_object(*out))
		return 0;
	json_decref(*out);
	*out = NULL;
	return err_set(e, ERR_DAEMON_PROTOCOL, "no object");
}

struct term __wrap_term_of(int fd)
{
	(void)fd;
	return (struct term){.utf8 = true, .width = answer.width};
}

static const struct {
	command_fn *run;
	unsigned given;
	const char *words[3];
} commands[] = {
    {command_audit, 0, {NULL}},
    {command_audit, OPTION_CHAIN, {NULL}},
    {command_list, 0, {NULL}},
    {command_status, 0, {NULL}},
    {command_params, 0, {NULL}},
    {command_trust, 0, {"list"}},
    {command_trust, 0, {"remove", "0123456789abcdef"}},
    {command_trust, 0, {"add", "/dev/null"}},
    {command_revoke, OPTION_LIST, {NULL}},
    {command_revoke, 0, {"0123456789abcdef"}},
    {command_install, 0, {"/dev/null"}},
    {command_remove, 0, {"a/b"}},
    {command_set, 0, {"a/b", "p=1"}},
    {command_accept, 0, {"clock"}},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct options o = OPTIONS_INIT;
	struct err e = ERR_INIT;
	char *words[3];
	size_t out_size;
	int count = 0;

	if (size < 2)
		return 0;
	size_t command = data[0] % ARRAY_LEN(commands);
	answer.width = data[1] ? 40 + data[1] % 160 : 0;
	answer.data = data + 2;
	answer.size = size - 2;
	o.given = commands[command].given;
	for (; count < 3 && commands[command].words[count]; count++)
		words[count] = (char *)(uintptr_t)commands[command].words[count];
	terminal_take(&out_size);
	if (commands[command].run(&o, count, words, &e) && e.code == ERR_NONE)
		abort();
	const char *out = terminal_take(&out_size);
	terminal_check(out, out_size);
	return 0;
}
