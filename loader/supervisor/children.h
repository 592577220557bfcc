/* The supervisor's children: fork, identity, exec, reaping. */
#ifndef OBS_SUPERVISOR_CHILDREN_H
#define OBS_SUPERVISOR_CHILDREN_H

#include "loader/supervisor/options.h"

enum child_kind { CHILD_NONE, CHILD_MONITOR, CHILD_WORKER, CHILD_UNPACKER, CHILD_KIND_COUNT };

enum { CHILDREN_MAX = 16, CHILD_MAX_FDS = 5, CHILD_FIRST_FD = 3, CHILD_MAX_ARGS = 20 };

struct children {
	int program_fd[CHILD_KIND_COUNT]; /* opened once: a child is always of the daemon's own release */
	struct {
		enum child_kind kind;
		pid_t pid;
	} child[CHILDREN_MAX];
	struct run_ids ids;
	bool plain_log;
};

extern const char *const child_kind_names[CHILD_KIND_COUNT];

/* Opens the programs, which are in ../libexec/obsload beside the folder of this one. */
MUST_CHECK int children_open(struct children *c, const struct run_ids *ids, bool plain_log, struct err *e);
void children_close(struct children *c);

/* Starts a child. fds[i] becomes descriptor 3 + i; -1 leaves it closed; nothing else but 0, 1 and 2 is inherited. args
 * is NULL-terminated and starts with the program's name. Worker and unpacker have their identity before exec. */
MUST_CHECK int children_spawn(struct children *c, enum child_kind kind, const int *fds, size_t fd_count,
			      const char *const *args, pid_t *out_pid, struct err *e);

/* Waits for whatever ended, without blocking. Returns its kind, CHILD_NONE if nothing ended; how is a sentence. */
enum child_kind children_reap(struct children *c, pid_t *out_pid, int *out_status, char *how, size_t size);

/* Signals a child; ESRCH in errno if pid is none of them. */
int children_kill(const struct children *c, pid_t pid, int sig);
void children_kill_all(const struct children *c, int sig);
bool children_any(const struct children *c);
size_t children_count(const struct children *c, enum child_kind kind);

#endif
