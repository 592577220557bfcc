/* Gate steps 1 and 2 with unpackers that an attacker could have taken over, and the host's lists. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "loader/ipc/msg.h"
#include "loader/ipc/unpacker.h"
#include "loader/monitor/admit.h"
#include "loader/monitor/loop.h"
#include "tests/unit/pki.h"

typedef void script_fn(int sock);

static int spawn(void *ctx, int sock, int file_fd, pid_t *pid, int *pidfd, struct err *e)
{
	script_fn *script = *(script_fn **)ctx;

	(void)file_fd;
	*pid = fork();
	if (*pid < 0)
		return err_errno(e, ERR_IO, "fork");
	if (*pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		script(sock);
		_exit(0);
	}
	*pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);
	return 0;
}

static void end(void *ctx, pid_t pid)
{
	(void)ctx;
	kill(pid, SIGKILL);
}

static int unpack(script_fn *script, struct bundle_files **out, struct err *e)
{
	const struct admit_unpacker unpacker = {.spawn = spawn, .kill = end, .ctx = (void *)&script, .timeout_ms = 300};
	OWN_FD int file = memfd_create("file", MFD_CLOEXEC);
	int rc = admit_unpack(&unpacker, file, out, e);

	while (waitpid(-1, NULL, 0) > 0)
		;
	return rc;
}

static void refused_with(script_fn *script, enum err_code code)
{
	struct bundle_files *files = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(unpack(script, &files, &e), -1);
	assert_null(files);
	assert_string_equal(err_name(e.code), err_name(code));
}

/* ---- what unpackers do ---- */

static void send_msg(int sock, uint32_t kind, const char *path, uint32_t count, int fd)
{
	struct unpacker_msg msg = {.kind = kind, .count = count};
	struct err e = ERR_INIT;

	snprintf(msg.path, sizeof(msg.path), "%s", path);
	if (msg_send(sock, &msg, sizeof(msg), &fd, fd >= 0, 0, &e))
		_exit(1);
}

static void send_file(int sock, const char *path, const char *text)
{
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;

	if (file_sealed("x", text, strlen(text), &fd, &e))
		_exit(1);
	send_msg(sock, UNPACKER_FILE, path, 0, fd);
}

static void send_failure(int sock, const char *code)
{
	struct unpacker_msg msg = {.kind = UNPACKER_FAILED};
	struct err e = ERR_INIT;

	memset(msg.text, 'x', sizeof(msg.text)); /* no NUL */
	snprintf(msg.code_name, sizeof(msg.code_name), "%s", code);
	if (msg_send(sock, &msg, sizeof(msg), NULL, 0, 0, &e))
		_exit(1);
}

static void script_good(int sock)
{
	send_file(sock, "manifest.json", "{}");
	send_file(sock, "obj/x86_64/a.bpf.o", "elf");
	send_msg(sock, UNPACKER_DONE, "", 2, -1);
}

static void script_silent_death(int sock)
{
	(void)sock;
}

static void script_half_then_death(int sock)
{
	send_file(sock, "manifest.json", "{}");
}

static void script_hangs(int sock)
{
	send_file(sock, "manifest.json", "{}");
	pause();
}

static void script_wrong_count(int sock)
{
	send_file(sock, "manifest.json", "{}");
	send_msg(sock, UNPACKER_DONE, "", 2, -1);
}

static void script_no_bytes(int sock)
{
	send_msg(sock, UNPACKER_FILE, "manifest.json", 0, -1);
}

static void script_not_sealed(int sock)
{
	send_msg(sock, UNPACKER_FILE, "manifest.json", 0, memfd_create("x", MFD_ALLOW_SEALING));
}

static void script_real_file(int sock)
{
	send_msg(sock, UNPACKER_FILE, "manifest.json", 0, open("/etc/passwd", O_RDONLY));
}

static void script_outside(int sock)
{
	send_file(sock, "manifest.json", "{}");
	send_file(sock, "obj/../../etc/x.bpf.o", "elf");
	send_msg(sock, UNPACKER_DONE, "", 2, -1);
}

static void script_long_name(int sock)
{
	struct unpacker_msg msg = {.kind = UNPACKER_FILE};
	struct err e = ERR_INIT;
	OWN_FD int fd = -1;

	memset(msg.path, 'a', sizeof(msg.path));
	if (file_sealed("x", "x", 1, &fd, &e) || msg_send(sock, &msg, sizeof(msg), &fd, 1, 0, &e))
		_exit(1);
}

static void script_wrong_order(int sock)
{
	send_file(sock, "obj/x86_64/a.bpf.o", "elf");
	send_file(sock, "manifest.json", "{}");
	send_msg(sock, UNPACKER_DONE, "", 2, -1);
}

static void script_twice(int sock)
{
	send_file(sock, "manifest.json", "{}");
	send_file(sock, "manifest.json", "{}");
}

static void script_unknown_kind(int sock)
{
	send_msg(sock, 77, "", 0, -1);
}

static void script_short_message(int sock)
{
	if (send(sock, "x", 1, 0) != 1)
		_exit(1);
}

static void script_bad_archive(int sock)
{
	send_failure(sock, "archive.order");
}

static void script_has_no_memory(int sock)
{
	send_failure(sock, "system.memory");
}

static void script_claims_another_step(int sock)
{
	send_failure(sock, "signature.untrusted");
}

static void script_claims_success(int sock)
{
	send_failure(sock, "ok");
}

static void unpack_good_child_gives_files(void **state)
{
	OWN(bundle_files) struct bundle_files *files = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(unpack(script_good, &files, &e), 0);
	assert_int_equal(files->count, 2);
	assert_memory_equal(bundle_files_manifest(files)->data, "{}", 2);
}

static void unpack_lying_child_is_refused(void **state)
{
	(void)state;
	refused_with(script_silent_death, ERR_ARCHIVE_UNPACKER);
	refused_with(script_half_then_death, ERR_ARCHIVE_UNPACKER);
	refused_with(script_wrong_count, ERR_ARCHIVE_UNPACKER);
	refused_with(script_no_bytes, ERR_ARCHIVE_UNPACKER);
	refused_with(script_unknown_kind, ERR_ARCHIVE_UNPACKER);
	refused_with(script_short_message, ERR_ARCHIVE_UNPACKER);
	refused_with(script_claims_another_step, ERR_ARCHIVE_UNPACKER);
	refused_with(script_claims_success, ERR_ARCHIVE_UNPACKER);
	refused_with(script_bad_archive, ERR_ARCHIVE_ORDER);
	refused_with(script_has_no_memory, ERR_NOMEM);
}

static void unpack_files_outside_the_format_are_refused(void **state)
{
	(void)state;
	refused_with(script_outside, ERR_ARCHIVE_ENTRY_NAME);
	refused_with(script_long_name, ERR_ARCHIVE_ENTRY_NAME);
	refused_with(script_wrong_order, ERR_ARCHIVE_ORDER);
	refused_with(script_twice, ERR_ARCHIVE_DUPLICATE);
}

static void unpack_bytes_that_could_change_are_refused(void **state)
{
	(void)state;
	refused_with(script_not_sealed, ERR_ARCHIVE_UNPACKER);
	refused_with(script_real_file, ERR_ARCHIVE_UNPACKER);
}

static void unpack_hanging_child_ends_in_time(void **state)
{
	uint64_t start = loop_now_ms();

	(void)state;
	refused_with(script_hangs, ERR_ARCHIVE_UNPACKER);
	assert_true(loop_now_ms() - start < 5000);
}

/* ---- step 1 ---- */

static void seal_reads_from_the_start(void **state)
{
	OWN_FD int fd = memfd_create("file", MFD_CLOEXEC);
	OWN_FD int sealed = -1;
	struct err e = ERR_INIT;
	size_t size, check;
	char text[8] = "";

	(void)state;
	assert_int_equal(write(fd, "bundle", 6), 6);
	assert_int_equal(admit_seal(fd, &sealed, &size, &e), 0);
	assert_int_equal(size, 6);
	assert_int_equal(pread(sealed, text, 6, 0), 6);
	assert_string_equal(text, "bundle");
	assert_int_equal(file_check_sealed(sealed, 6, &check, &e), 0);
}

static void seal_anything_but_a_file_is_refused(void **state)
{
	struct err e = ERR_INIT;
	int pair[2], sealed = -1;
	size_t size;

	(void)state;
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(admit_seal(pair[0], &sealed, &size, &e), -1);
	assert_int_equal(e.code, ERR_REQUEST_INVALID);
	close(pair[0]);
	close(pair[1]);
	OWN_FD int large = memfd_create("large", MFD_CLOEXEC);
	assert_int_equal(ftruncate(large, (off_t)BUNDLE_MAX_BYTES + 1), 0);
	assert_int_equal(admit_seal(large, &sealed, &size, &e), -1);
	assert_int_equal(e.code, ERR_ARCHIVE_TOO_LARGE);
	assert_int_equal(sealed, -1);
}

/* ---- the host's lists ---- */

static char folder[64];

static int drop(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int make_config(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/obs-admit.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop_config(void **state)
{
	(void)state;
	return nftw(folder, drop, 16, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	OWN_FILE FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
}

static int read_lists(struct err *e)
{
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;

	return admit_trust(folder, &trust, &policy, e) ? -1 : (int)trust_count(trust);
}

static void trust_empty_folder_trusts_nobody(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(read_lists(&e), 0);
}

static void trust_certificate_is_read_each_time(void **state)
{
	OWN_PKI struct pki *pki = pki_make((struct pki_spec){.name = "signer"});
	OWN_FREE char *pem = pki_cert_pem(pki);
	struct err e = ERR_INIT;
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/trust.d", folder);
	assert_int_equal(mkdir(path, 0755), 0);
	put("trust.d/one.pem", pem);
	put("revoked", "# nobody yet\n\n  \n");
	assert_int_equal(read_lists(&e), 1);
	put("trust.d/two.pem", "no certificate");
	assert_int_equal(read_lists(&e), -1);
	assert_int_equal(e.code, ERR_CERTIFICATE_MALFORMED);
}

static void trust_malformed_lists_are_refused(void **state)
{
	struct err e = ERR_INIT;

	(void)state;
	put("revoked", "abcdef\n");
	assert_int_equal(read_lists(&e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
	put("revoked", "");
	put("policy.json", "{\"schema\": 1, \"grants\": 5}");
	assert_int_equal(read_lists(&e), -1);
	assert_int_equal(e.code, ERR_POLICY_MALFORMED);
}

/* As many as the file has room for, in no order. */
static void trust_long_list_is_read(void **state)
{
	enum { LINES = 60000 };
	OWN(trust) struct trust *trust = NULL;
	OWN(policy) struct policy *policy = NULL;
	struct digest digest, unknown = {{0}};
	char path[128], hex[DIGEST_HEX_BYTES];
	struct err e = ERR_INIT;

	(void)state;
	snprintf(path, sizeof(path), "%s/revoked", folder);
	OWN_FILE FILE *f = fopen(path, "w");
	assert_non_null(f);
	/* Some of them twice. */
	for (uint32_t i = 0; i < LINES; i++) {
		uint32_t number = i % (LINES - 10);
		assert_int_equal(digest_of(&number, sizeof(number), &digest, &e), 0);
		digest_hex(&digest, hex);
		fprintf(f, "%s\n", hex);
	}
	fflush(f);
	assert_int_equal(admit_trust(folder, &trust, &policy, &e), 0);
	for (uint32_t i = 0; i < LINES; i += 7) {
		uint32_t number = i % (LINES - 10);
		assert_int_equal(digest_of(&number, sizeof(number), &digest, &e), 0);
		assert_true(trust_revoked(trust, &digest));
	}
	assert_false(trust_revoked(trust, &unknown));
}

int main(void)
{
#define WITH_CONFIG(f) cmocka_unit_test_setup_teardown(f, make_config, drop_config)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(unpack_good_child_gives_files),
	    cmocka_unit_test(unpack_lying_child_is_refused),
	    cmocka_unit_test(unpack_files_outside_the_format_are_refused),
	    cmocka_unit_test(unpack_bytes_that_could_change_are_refused),
	    cmocka_unit_test(unpack_hanging_child_ends_in_time),
	    cmocka_unit_test(seal_reads_from_the_start),
	    cmocka_unit_test(seal_anything_but_a_file_is_refused),
	    WITH_CONFIG(trust_empty_folder_trusts_nobody),
	    WITH_CONFIG(trust_certificate_is_read_each_time),
	    WITH_CONFIG(trust_malformed_lists_are_refused),
	    WITH_CONFIG(trust_long_list_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
