/* ELF files that uprobes and USDT name. The probes and functions are this test's own, in a copy of it that may be damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "bundles/base/file.h"
#include "loader/monitor/kernel_impl.h"

/* In the format of SystemTap's <sys/sdt.h>. */
#define PROBE(name)                                                                                                    \
	__asm__ volatile("990: nop\n"                                                                                  \
			 ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                                 \
			 ".balign 4\n"                                                                                 \
			 ".4byte 992f-991f, 994f-993f, 3\n"                                                            \
			 "991: .asciz \"stapsdt\"\n"                                                                   \
			 "992: .balign 4\n"                                                                            \
			 "993: .8byte 990b, 0, 0\n"                                                                    \
			 ".asciz \"obs_test\", \"" name "\", \"-4@$42\"\n"                                             \
			 "994: .balign 4\n"                                                                            \
			 ".popsection\n")

static char folder[] = "/tmp/obs-target-XXXXXX";
static char path[sizeof(folder) + 16];

__attribute__((noinline, used)) static int anchor(int n)
{
	PROBE("twice");
	n = n * 3 + 1;
	PROBE("twice");
	return n;
}

static void copy_of_this(void)
{
	OWN_FREE uint8_t *bytes = NULL;
	struct err e = ERR_INIT;
	size_t size;

	assert_int_equal(file_read("/proc/self/exe", 256 << 20, ERR_LIMIT, &bytes, &size, &e), 0);
	unlink(path);
	assert_int_equal(file_replace_at(AT_FDCWD, path, bytes, size, 0600, &e), 0);
}

static bool count_site(void *ctx, const struct usdt_site *site)
{
	assert_string_equal(site->arguments, "-4@$42");
	++*(unsigned *)ctx;
	return true;
}

static bool cut_short(void *ctx, const struct usdt_site *site)
{
	count_site(ctx, site);
	assert_int_equal(truncate(path, 0), 0);
	return true;
}

static void what_is_there_is_found(void **state)
{
	uint64_t offset;
	uint8_t code[8];
	unsigned sites = 0;

	(void)state;
	copy_of_this();
	assert_true(target_symbol(path, "anchor+0x4", &offset));
	OWN_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, code, sizeof(code), (off_t)offset), sizeof(code));
	assert_memory_equal(code, (const void *)(uintptr_t)anchor, sizeof(code));
	assert_false(target_symbol(path, "anch", &offset));
	target_each_usdt(path, "obs_test", "twice", count_site, &sites);
	assert_true(sites == 2);
	assert_true(target_has_usdt(path, "obs_test", "twice"));
	assert_false(target_has_usdt(path, "obs_test", "twic"));
	assert_false(target_has_usdt(path, "obs", "twice"));
}

/* It may be rewritten at any time; what was read before holds. */
static void file_cut_short_while_it_is_read_is_read_on(void **state)
{
	unsigned sites = 0;

	(void)state;
	copy_of_this();
	target_each_usdt(path, "obs_test", "twice", cut_short, &sites);
	assert_int_equal(sites, 2);
	target_each_usdt(path, "obs_test", "twice", count_site, &sites);
	assert_int_equal(sites, 2);
}

static void fifo_is_no_file(void **state)
{
	uint64_t offset;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10); /* nobody ever writes */
	assert_false(target_symbol(path, "anchor", &offset));
	assert_false(target_has_usdt(path, "obs_test", "twice"));
	alarm(0);
}

static void change(off_t at, const void *bytes, size_t size)
{
	OWN_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, size, at), size);
}

static void file_of_another_kind_has_nothing(void **state)
{
	static const uint16_t none = 0;
	static const uint8_t big_endian = ELFDATA2MSB;
	uint64_t offset;

	(void)state;
	copy_of_this();
	change(offsetof(Elf64_Ehdr, e_shnum), &none, sizeof(none)); /* their number is in the first section */
	assert_false(target_symbol(path, "anchor", &offset));
	copy_of_this();
	change(EI_DATA, &big_endian, sizeof(big_endian));
	assert_false(target_has_usdt(path, "obs_test", "twice"));
	assert_int_equal(truncate(path, 63), 0);
	assert_false(target_symbol(path, "anchor", &offset));
}

#if defined(__x86_64__)
static void arguments_are_understood_or_refused(void **state)
{
	static const char *const bad[] = {
	    "4",         "4@",
	    "3@%eax",    "4@%zmm0",
	    "4@%eax,",   "0@$1",
	    "4@-8(%r99", "4@8(%rip)x",
	    "-4@rax",    "-2147483648@%eax",

	    "4@%eax 4@", "1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1 1@$1",
	};
	struct usdt_spec spec;

	(void)state;
	assert_true(usdt_parse("", &spec));
	assert_int_equal(spec.arg_count, 0);
	assert_true(usdt_parse(" -4@%edi 8@-16(%rbp) 1@(%rax)  2@$-7", &spec));
	assert_int_equal(spec.arg_count, 4);
	assert_int_equal(spec.args[0].type, USDT_REG);
	assert_true(spec.args[0].is_signed);
	assert_int_equal(spec.args[0].bitshift, 32);
	assert_int_equal(spec.args[1].type, USDT_REG_DEREF);
	assert_true(spec.args[1].val_off == (uint64_t)-16);
	assert_int_equal(spec.args[1].bitshift, 0);
	assert_int_equal(spec.args[2].type, USDT_REG_DEREF);
	assert_int_equal(spec.args[3].type, USDT_CONST);
	assert_true(spec.args[3].val_off == (uint64_t)-7);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (usdt_parse(bad[i], &spec))
			fail_msg("\"%s\" is understood", bad[i]);
}
#endif

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/file", folder);
	return anchor(1) == 4 ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_there_is_found),
		cmocka_unit_test(file_cut_short_while_it_is_read_is_read_on),
		cmocka_unit_test(fifo_is_no_file),
		cmocka_unit_test(file_of_another_kind_has_nothing),
#if defined(__x86_64__)
		cmocka_unit_test(arguments_are_understood_or_refused),
#endif
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
