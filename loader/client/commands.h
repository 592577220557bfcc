/* The commands of obsload, each in the file of its name. argv holds the words that are left after options; their number
 * was checked against the table in main.c. They write to standard output and leave errors to main. */
#ifndef OBS_CLIENT_COMMANDS_H
#define OBS_CLIENT_COMMANDS_H

#include "loader/client/options.h"

typedef int command_fn(const struct options *o, int argc, char **argv, struct err *e);

MUST_CHECK int command_install(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_remove(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_list(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_status(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_verify(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_trust(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_revoke(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_set(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_params(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_events(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_accept(const struct options *o, int argc, char **argv, struct err *e);
MUST_CHECK int command_audit(const struct options *o, int argc, char **argv, struct err *e);

#endif
