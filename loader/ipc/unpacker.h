/* Unpacker to monitor: one packet a file with its sealed memfd, then one final packet. What it says is not believed. */
#ifndef OBS_IPC_UNPACKER_H
#define OBS_IPC_UNPACKER_H

#include <stdint.h>

enum unpacker_kind { UNPACKER_FILE = 1, UNPACKER_DONE, UNPACKER_FAILED };

struct unpacker_msg {
	uint32_t kind;
	uint32_t count;     /* DONE: files sent */
	char path[104];     /* FILE */
	char code_name[64]; /* FAILED: an archive.* or system.* code */
	char text[1024];    /* FAILED */
};

#endif
