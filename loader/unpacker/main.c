/* Takes one archive apart with no privileges (design: the gate, step 2). Started by the supervisor with its own uid, it
 * closes the sandbox before it looks at the first byte, and gives back sealed memfds. */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bundles/archive.h"
#include "bundles/base/file.h"
#include "loader/ipc/log.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/supervisor.h"
#include "loader/ipc/unpacker.h"
#include "loader/sandbox/sandbox.h"

static int send_file(const struct bundle_file *file, struct err *e)
{
	struct unpacker_msg msg = {.kind = UNPACKER_FILE};
	OWN_FD int fd = -1;

	if (strlen(file->path) >= sizeof(msg.path))
		return err_set(e, ERR_ARCHIVE_ENTRY_NAME, "%s: name too long", file->path);
	memcpy(msg.path, file->path, strlen(file->path));
	if (file_sealed("obsload-file", file->data, file->size, &fd, e))
		return err_wrap(e, "%s", file->path);
	return msg_send(UNPACKER_FD_MONITOR, &msg, sizeof(msg), &fd, 1, 0, e);
}

static int unpack(struct err *e)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	struct unpacker_msg done = {.kind = UNPACKER_DONE};
	size_t size;

	if (file_check_sealed(UNPACKER_FD_FILE, BUNDLE_MAX_BYTES, &size, e))
		return -1;
	if (size == 0)
		return err_set(e, ERR_ARCHIVE_TRUNCATED, "the file is empty");
	const uint8_t *tar = mmap(NULL, size, PROT_READ, MAP_PRIVATE, UNPACKER_FD_FILE, 0);
	if (tar == MAP_FAILED)
		return err_errno(e, ERR_NOMEM, "mapping %zu bytes", size);
	if (archive_read(tar, size, &files, e))
		return -1;
	for (size_t i = 0; i < files->count; i++)
		if (send_file(&files->file[i], e))
			return -1;
	done.count = (uint32_t)files->count;
	return msg_send(UNPACKER_FD_MONITOR, &done, sizeof(done), NULL, 0, 0, e);
}

int main(void)
{
	struct unpacker_msg failed = {.kind = UNPACKER_FAILED};
	struct err e = ERR_INIT, unsent = ERR_INIT;

	log_open("unpacker");
	if (sandbox_enter(SANDBOX_UNPACKER, &e)) {
		log_err(LOG_LEVEL_ERROR, &e);
	} else if (unpack(&e) == 0) {
		return 0;
	}
	snprintf(failed.code_name, sizeof(failed.code_name), "%s", err_name(e.code));
	err_text(&e, failed.text, sizeof(failed.text));
	if (msg_send(UNPACKER_FD_MONITOR, &failed, sizeof(failed), NULL, 0, 0, &unsent))
		return 1;
	return 0;
}
