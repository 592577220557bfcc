#include "tests/unit/kernel_fixture.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <cmocka.h>

#include "bundles/base/file.h"
#include "keys/object.h"
#include "loader/supervisor/perf.h"
#include "tests/unit/pki.h"

static char scratch[64], pin_root[96];

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void die_of(const struct err *e)
{
	err_print(stderr, "kernel fixture", e, false);
	exit(2);
}

/* ---- bundles ---- */

/* Of this program. Below chroot() the kernel tells it wrongly once the mount namespace is another: so it is asked before. */
static const char *own_folder(void)
{
	static char exe[PATH_MAX - 256];

	if (exe[0])
		return exe;
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len <= 0)
		die("/proc/self/exe");
	exe[len] = '\0';
	*strrchr(exe, '/') = '\0';
	return exe;
}

/* <build>/tests/bin/x finds <build>/tests/bpf, and /obs/tests/x in a virtual machine /obs/tests/bpf; OBS_TEST_BPF says
 * otherwise. */
void fixture_object_path(const char *name, char path[static PATH_MAX])
{
	const char *given = getenv("OBS_TEST_BPF");

	if (given)
		snprintf(path, PATH_MAX, "%s/%s.bpf.o", given, name);
	else
		snprintf(path, PATH_MAX, "%s/bpf/%s.bpf.o", own_folder(), name);
	if (!given && access(path, F_OK))
		snprintf(path, PATH_MAX, "%s/../bpf/%s.bpf.o", own_folder(), name);
}

struct loaded {
	uint8_t *bytes;
	size_t size;
	struct object *object;
};

static void load(const char *name, const char *arch, struct loaded *l, struct manifest_object *stated)
{
	char path[PATH_MAX];
	struct err e = ERR_INIT;

	fixture_object_path(name, path);
	if (file_read(path, BUNDLE_OBJECT_MAX_BYTES, ERR_LIMIT, &l->bytes, &l->size, &e) ||
	    object_read(name, l->bytes, l->size, &l->object, &e))
		die_of(&e);
	*stated = (struct manifest_object){
	    .name = (char *)name,
	    .arch = (char *)arch,
	    .size = l->size,
	    .capabilities = l->object->capabilities,
	    .programs = l->object->programs,
	    .program_count = l->object->program_count,
	    .maps = calloc(l->object->map_count + 1, sizeof(struct manifest_map)),
	    .map_count = l->object->map_count,
	};
	for (size_t i = 0; i < stated->map_count; i++)
		stated->maps[i] = l->object->maps[i].map;
	if (digest_of(l->bytes, l->size, &stated->digest, &e))
		die_of(&e);
}

static struct verified_bundle *pass_gate(const char *json, size_t json_size, const struct manifest *m,
					 const struct loaded *loaded)
{
	OWN_PKI struct pki *signer = pki_make((struct pki_spec){0});
	OWN(trust) struct trust *trust = pki_trust(signer, NULL);
	OWN(bundle_files) struct bundle_files *files = NULL;
	OWN_FREE uint8_t *signature = NULL;
	struct verified_bundle *bundle = NULL;
	struct gate gate = {.trust = trust, .now = PKI_NOW};
	struct cert_info info;
	char hex[DIGEST_HEX_BYTES], path[2 * PATH_MAX];
	size_t signature_size;
	struct err e = ERR_INIT;

	pki_sign(signer, json, json_size, &signature, &signature_size);
	cert_info(signer->cert, &info);
	digest_hex(&info.signer, hex);
	snprintf(path, sizeof(path), "sig/%s.p7s", hex);
	if (bundle_files_new(&files, &e) ||
	    bundle_files_add(files, "manifest.json", (const uint8_t *)json, json_size, &e) ||
	    bundle_files_add(files, path, signature, signature_size, &e))
		die_of(&e);
	for (size_t i = 0; i < m->object_count; i++) {
		snprintf(path, sizeof(path), "obj/%s/%s.bpf.o", m->objects[i].arch, m->objects[i].name);
		if (bundle_files_add(files, path, loaded[i].bytes, loaded[i].size, &e))
			die_of(&e);
	}
	if (gate_verify(&gate, &files, &bundle, NULL, &e))
		die_of(&e);
	return bundle;
}

struct verified_bundle *fixture_bundle(const struct fixture_spec *spec)
{
	struct loaded loaded[8] = {0};
	struct manifest_object objects[8] = {0};
	struct manifest_tool clang = {.name = (char *)"clang", .version = (char *)"14"};
	struct utsname host;
	struct err e = ERR_INIT;
	OWN_FREE char *json = NULL;
	size_t json_size, count = 0;

	if (uname(&host))
		die("uname");
	for (; spec->objects[count]; count++)
		load(spec->objects[count], host.machine, &loaded[count], &objects[count]);
	struct manifest m = {
	    .name = (char *)spec->name,
	    .version = (char *)"1",
	    .description = (char *)"for tests",
	    .licence = (char *)"GPL",
	    .serial = spec->serial,
	    .created = (char *)"2026-01-01T00:00:00Z",
	    .toolchain = &clang,
	    .toolchain_count = 1,
	    .objects = objects,
	    .object_count = count,
	};
	if (spec->change)
		spec->change(&m);
	if (manifest_format(&m, &json, &json_size, &e))
		die_of(&e);
	struct verified_bundle *bundle = pass_gate(json, json_size, &m, loaded);
	for (size_t i = 0; i < count; i++) {
		free(objects[i].maps);
		object_free(&loaded[i].object);
		free(loaded[i].bytes);
	}
	return bundle;
}

/* ---- host ---- */

static int packet_socket(void *ctx, int *out_fd, struct err *e)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	(void)ctx;
	if (fd < 0)
		return err_errno(e, ERR_IO, "AF_PACKET");
	*out_fd = fd;
	return 0;
}

static int perf_event(void *ctx, const struct supervisor_perf *perf, int file_fd, int *out_fd, struct err *e)
{
	int fd = perf_open(perf, file_fd);

	(void)ctx;
	if (fd < 0)
		return err_errno(e, ERR_IO, "perf event");
	*out_fd = fd;
	return 0;
}

static void loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	OWN_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		die("loopback");
}

void fixture_host(struct kernel_host *out)
{
	static const char *const cgroups[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};

	if (geteuid() != 0) {
		fprintf(stderr, "this test needs root\n");
		exit(2);
	}
	own_folder();
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("namespaces");
	loopback_up();
	snprintf(scratch, sizeof(scratch), "/tmp/obs-kernel-XXXXXX");
	if (!mkdtemp(scratch) || mount("bpf", scratch, "bpf", 0, "mode=0700"))
		die("bpffs");
	if (access("/sys/kernel/tracing/events", F_OK) && mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL))
		die("tracefs");
	snprintf(pin_root, sizeof(pin_root), "%s/obsload", scratch);
	const char *cgroup = access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) ? cgroups[1] : cgroups[0];
	*out = (struct kernel_host){
	    .pin_root = pin_root,
	    .cgroup_root = cgroup,
	    .packet_socket = packet_socket,
	    .perf_event = perf_event,
	};
}

void fixture_host_undo(void)
{
	umount2(scratch, MNT_DETACH);
	rmdir(scratch);
}

/* ---- looking ---- */

uint64_t fixture_hits(const struct kernel_bundle *kb, const char *object, uint32_t slot)
{
	uint64_t value = 0;

	if (bpf_map_lookup_elem(kernel_map_fd(kb, object, "hits"), &slot, &value))
		die("map hits");
	return value;
}

static unsigned count_programs(const char *name)
{
	unsigned count = 0;

	for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
		struct bpf_prog_info info = {0};
		uint32_t size = sizeof(info);
		OWN_FD int fd = bpf_prog_get_fd_by_id(id);
		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 &&
		    strncmp(info.name, name, BPF_OBJ_NAME_LEN - 1) == 0)
			count++;
	}
	return count;
}

unsigned fixture_programs(const char *name, unsigned most)
{
	unsigned count = count_programs(name);

	for (int tries = 0; count > most && tries < 100; tries++) {
		usleep(20000);
		count = count_programs(name);
	}
	return count;
}

bool fixture_pins_left(void)
{
	DIR *dir = opendir(pin_root);
	bool any = false;

	for (struct dirent *at; dir && (at = readdir(dir));)
		any |= at->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return any;
}

/* ---- steps of a test ---- */

void fixture_must(int result, const struct err *e)
{
	char text[2048];

	if (result) {
		print_error("%s: %s\n%s\n", err_name(e->code), err_text(e, text, sizeof(text)), e->log);
		fail();
	}
}

const struct kernel_program *fixture_program(const struct kernel_bundle *kb, const char *name)
{
	const struct kernel_program *all;
	size_t count = kernel_programs(kb, &all);

	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i].program->name, name) == 0)
			return &all[i];
	fail_msg("no program %s", name);
	return NULL;
}

void fixture_connect(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	OWN_FD int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	OWN_FD int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, size), 0);
	assert_int_equal(send(client, "x", 1, 0), 1);
}

bool fixture_no_tc(void)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex("lo"), .attach_point = BPF_TC_INGRESS);
	int error = bpf_tc_hook_create(&hook);

	if (error == 0) {
		hook.attach_point = (enum bpf_tc_attach_point)(BPF_TC_INGRESS | BPF_TC_EGRESS);
		assert_int_equal(bpf_tc_hook_destroy(&hook), 0);
	}
	if (error == 0 || error == -EEXIST)
		return false;
	print_message("SKIP: this kernel has no clsact qdisc\n");
	assert_null(getenv("OBS_TEST_ALL_KINDS"));
	return true;
}

struct verified_bundle *fixture_bundle_of(const char *object)
{
	const char *const objects[] = {object, NULL};

	return fixture_bundle(&(struct fixture_spec){.name = "test/kernel", .serial = 7, .objects = objects});
}

struct kernel_bundle *fixture_started(const struct kernel_host *host, const struct verified_bundle *bundle)
{
	struct kernel_bundle *kb = NULL;
	struct err e = ERR_INIT;

	fixture_must(kernel_load(host, bundle, &kb, &e), &e);
	fixture_must(kernel_attach(kb, &e), &e);
	fixture_must(kernel_pin(kb, &e), &e);
	return kb;
}

/* ---- interfaces ---- */

int fixture_interface_down(const char *name, int index)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFINDEX, &index), 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &request), 0);
	return fd;
}

void fixture_set_up(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_UP};
	OWN_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
}

int fixture_interface(const char *name, int index)
{
	int fd = fixture_interface_down(name, index);

	fixture_set_up(name);
	return fd;
}

int fixture_other_xdp(int index)
{
	struct bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 2}, {.code = BPF_JMP | BPF_EXIT}};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_XDP);
	OWN_FD int prog = bpf_prog_load(BPF_PROG_TYPE_XDP, "other", "GPL", insns, 2, &opts);
	int link = bpf_link_create(prog, index, BPF_XDP, NULL);

	assert_true(link >= 0);
	return link;
}
