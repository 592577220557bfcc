/* Fixed-size messages with file descriptors over SOCK_SEQPACKET sockets. One packet is one struct. */
#ifndef OBS_IPC_MSG_H
#define OBS_IPC_MSG_H

#include <stddef.h>

#include "bundles/base/err.h"

enum { MSG_MAX_FDS = 4 };

/* Sends size bytes and fd_count descriptors, which stay the caller's. With MSG_DONTWAIT in flags a full socket is
 * errno EAGAIN. */
MUST_CHECK int msg_send(int sock, const void *data, size_t size, const int *fds, size_t fd_count, int flags,
			struct err *e);

enum msg_result { MSG_OK, MSG_EOF, MSG_AGAIN, MSG_BAD };

/* Receives one packet of exactly size bytes. fds (room for MSG_MAX_FDS, unused ones -1) become the caller's,
 * close-on-exec. MSG_BAD: other size, too many descriptors (all closed), or errno; *e tells. */
MUST_CHECK enum msg_result msg_recv(int sock, void *data, size_t size, int fds[static MSG_MAX_FDS], int flags,
				    struct err *e);

/* Close-on-exec pair of SOCK_SEQPACKET. */
MUST_CHECK int msg_pair(int pair[static 2], struct err *e);

#endif
