/* Client and monitor over control.sock (SOCK_SEQPACKET). A connection carries one request; the monitor answers with any
 * number of progress packets and one final packet, whose descriptor is a sealed memfd with a JSON object. The monitor
 * parses no JSON of clients: requests are this struct, and a descriptor that comes along is a sealed memfd, since a read of
 * anything else may keep it waiting for ever. */
#ifndef OBS_IPC_CONTROL_H
#define OBS_IPC_CONTROL_H

#include <stdint.h>

enum { CONTROL_MAGIC = 0x6f627363, CONTROL_VERSION = 1, CONTROL_NAME_BYTES = 160, CONTROL_ARG_BYTES = 1024 };

enum control_op {
	CONTROL_INSTALL = 1, /* fd: the bundle */
	CONTROL_VERIFY,      /* fd: the bundle; the whole gate and a load into the kernel; attaches nothing */
	CONTROL_REMOVE,      /* name */
	CONTROL_LIST,
	CONTROL_STATUS,    /* name or "" */
	CONTROL_TRUST_ADD, /* fd: PEM certificate; arg: name pattern */
	CONTROL_TRUST_LIST,
	CONTROL_TRUST_REMOVE, /* arg: signer, 64 hex or a unique prefix of at least 8 */
	CONTROL_SET,          /* name; arg: parameter; fd: its value as text */
	CONTROL_PARAMS,       /* name or "" */
	CONTROL_AUDIT,        /* JSON: {"entries": [...]}, newest last; arg: how many, decimal, to CONTROL_AUDIT_MOST */
	CONTROL_REVOKE,       /* arg: identity or a prefix of at least 8, or "" and fd: PEM certificate */
	CONTROL_REVOKE_UNDO,  /* the same */
	CONTROL_REVOKE_LIST,
	CONTROL_ACCEPT,       /* arg: "clock" or "state" */
	CONTROL_AUDIT_VERIFY, /* the whole chain: {"lines", "files", "since", "last", ...} */
	CONTROL_OP_COUNT,
};

enum { CONTROL_AUDIT_MOST = 10000 };

enum control_flag { CONTROL_ALLOW_DOWNGRADE = 1 << 0 };

struct control_request {
	uint32_t magic, version;
	uint32_t op;
	uint32_t flags;
	char name[CONTROL_NAME_BYTES]; /* NUL-terminated and NUL-padded, as arg */
	char arg[CONTROL_ARG_BYTES];
};

enum control_kind { CONTROL_PROGRESS = 1, CONTROL_FINAL };

struct control_reply {
	uint32_t magic, version;
	uint32_t kind;
	uint32_t code; /* enum err_code of the final packet; 0: done. Stable by name only: code_name */
	int32_t errnum;
	uint32_t step, steps; /* progress */
	char code_name[64];
	char text[1536]; /* progress or error text */
	/* fd 0 of a final packet: sealed memfd with JSON (done), or with the error's log (refused; may be absent) */
};

#endif
