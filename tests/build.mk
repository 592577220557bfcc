# Unit tests: tests/unit/<folder>_<module>_test.c, one binary a module; names in UNIT_TESTS.


client_tests := ask events options pretty resume table where
UNIT_TESTS += $(addprefix client_,$(client_tests))
$(foreach t,$(client_tests),$(eval tests/bin/client_$(t)_src := tests/unit/client_$(t)_test.c))
$(foreach t,$(client_tests),$(eval tests/bin/client_$(t)_libs := client ipc base))
$(foreach t,$(client_tests),$(eval tests/bin/client_$(t)_pkgs := jansson cmocka))

UNIT_TESTS += bundles_archive bundles_digest bundles_files bundles_manifest base_arguments base_err base_file base_json base_text
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_src := tests/unit/bundles_$(t)_test.c))
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_libs := bundles base))
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_pkgs := libarchive jansson libcrypto cmocka))
$(foreach t,arguments err file json text,$(eval tests/bin/base_$(t)_src := tests/unit/base_$(t)_test.c))
$(foreach t,arguments err file json text,$(eval tests/bin/base_$(t)_libs := base))
$(foreach t,arguments err file json text,$(eval tests/bin/base_$(t)_pkgs := cmocka))
tests/bin/base_json_pkgs += jansson
tests/bin/bundles_archive_src += tests/reject/archive.c
tests/bin/bundles_manifest_src += tests/reject/manifest.c
tests/bin/base_file_ldflags := -Wl,--wrap=fsync,--wrap=renameat2,--wrap=write

worker_tests := dns filter json loop request ring sample stream table
UNIT_TESTS += $(addprefix worker_,$(worker_tests))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_src := tests/unit/worker_$(t)_test.c))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_libs := worker ipc bundles base))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_pkgs := libbpf jansson cmocka))
tests/bin/worker_stream_ldflags := -Wl,--wrap=filter_matches
tests/bin/worker_filter_ldflags := -Wl,--wrap=dns_parse,--wrap=enum_names_name
tests/bin/worker_loop_ldflags := -Wl,--wrap=clock_gettime,--wrap=kallsyms_read
E2E_TESTS += subscribers types missed leaving resume

E2E_TESTS += sign pkcs11 trust rotation recover clock
keys_tests := cert cms policy gate
UNIT_TESTS += $(addprefix keys_,$(keys_tests))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_src := tests/unit/keys_$(t)_test.c tests/unit/pki.c))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_libs := keys bundles base))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka))
tests/bin/keys_gate_src += tests/unit/gate_fixture.c tests/unit/bpf_source.c

E2E_TESTS += commands install readme demo

UNIT_TESTS += sandbox_roles ipc_msg monitor_state monitor_audit monitor_admit
tests/bin/sandbox_roles_src := tests/unit/sandbox_roles_test.c
tests/bin/sandbox_roles_libs := sandbox base
tests/bin/sandbox_roles_pkgs := libcap libseccomp cmocka
UNIT_TESTS += supervisor_perf
tests/bin/supervisor_perf_src := tests/unit/supervisor_perf_test.c
tests/bin/supervisor_perf_libs := supervisor
tests/bin/supervisor_perf_pkgs := cmocka
tests/bin/ipc_msg_src := tests/unit/ipc_msg_test.c
tests/bin/ipc_msg_libs := ipc base
tests/bin/ipc_msg_pkgs := cmocka
$(foreach t,state audit,$(eval tests/bin/monitor_$(t)_src := tests/unit/monitor_$(t)_test.c tests/unit/folder_fixture.c))
$(foreach t,state audit,$(eval tests/bin/monitor_$(t)_libs := monitor ipc bundles base))
$(foreach t,state audit,$(eval tests/bin/monitor_$(t)_pkgs := libcrypto jansson cmocka))
UNIT_TESTS += monitor_worker
tests/bin/monitor_worker_src := tests/unit/monitor_worker_test.c
tests/bin/monitor_worker_libs := monitor ipc bundles base
tests/bin/monitor_worker_pkgs := libcrypto jansson cmocka
tests/bin/monitor_worker_ldflags := -Wl,--wrap=parent_spawn_worker,--wrap=parent_kill,--wrap=log_line
UNIT_TESTS += monitor_parent
tests/bin/monitor_parent_src := tests/unit/monitor_parent_test.c
tests/bin/monitor_parent_libs := monitor ipc bundles base
tests/bin/monitor_parent_pkgs := libcrypto jansson cmocka
UNIT_TESTS += monitor_control
tests/bin/monitor_control_src := tests/unit/monitor_control_test.c
tests/bin/monitor_control_libs := monitor ipc bundles base
tests/bin/monitor_control_pkgs := libcrypto jansson cmocka
tests/bin/monitor_control_ldflags := -Wl,--wrap=control_answer
UNIT_TESTS += monitor_clock
tests/bin/monitor_clock_src := tests/unit/monitor_clock_test.c tests/unit/folder_fixture.c
tests/bin/monitor_clock_libs := monitor ipc bundles base
tests/bin/monitor_clock_pkgs := libcrypto jansson cmocka
tests/bin/monitor_clock_ldflags := -Wl,--wrap=renameat2,--wrap=clock_gettime
UNIT_TESTS += monitor_revoked
tests/bin/monitor_revoked_src := tests/unit/monitor_revoked_test.c tests/unit/folder_fixture.c
tests/bin/monitor_revoked_libs := monitor bundles base
tests/bin/monitor_revoked_pkgs := libcrypto jansson cmocka
tests/bin/monitor_revoked_ldflags := -Wl,--wrap=renameat2
tests/bin/monitor_state_ldflags := -Wl,--wrap=renameat2
tests/bin/monitor_audit_ldflags := $(foreach f,write fsync renameat renameat2 unlinkat ftruncate openat,-Wl,--wrap=$(f))
tests/bin/monitor_admit_src := tests/unit/monitor_admit_test.c tests/unit/pki.c
tests/bin/monitor_admit_libs := monitor ipc keys bundles base
tests/bin/monitor_admit_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka

include tests/bpf/build.mk
kernel_tests := interfaces kernel load params pins sample upgrade
UNIT_TESTS += $(addprefix monitor_,$(kernel_tests))
$(foreach t,$(kernel_tests),$(eval tests/bin/monitor_$(t)_src := tests/unit/monitor_$(t)_test.c tests/unit/kernel_fixture.c tests/unit/pki.c))
$(foreach t,$(kernel_tests),$(eval tests/bin/monitor_$(t)_libs := kernel supervisor keys bundles base))
$(foreach t,$(kernel_tests),$(eval tests/bin/monitor_$(t)_pkgs := libbpf libelf zlib libcrypto libarchive jansson libcap cmocka))
$(foreach t,$(kernel_tests),$(eval $(BUILD)/tests/bin/monitor_$(t): | $(test_bpf_objects)))
tests/bin/monitor_interfaces_libs := monitor kernel supervisor keys bundles base
tests/bin/monitor_kernel_libs := monitor kernel supervisor sandbox ipc keys bundles base
tests/bin/monitor_kernel_pkgs += libseccomp
tests/bin/monitor_pins_ldflags := -Wl,--wrap=bpf_obj_get
tests/bin/monitor_sample_ldflags := -Wl,--wrap=bpf_map_lookup_batch,--wrap=bpf_map_lookup_and_delete_batch,--wrap=bpf_map_get_next_key
UNIT_TESTS += monitor_target
tests/bin/monitor_target_src := tests/unit/monitor_target_test.c
tests/bin/monitor_target_libs := kernel base
tests/bin/monitor_target_pkgs := libelf zlib cmocka
E2E_TESTS += interfaces lifecycle privileges
# In a network of their own, with names of their own in the kernel: one does not see the other.
E2E_BESIDE += crash_steps faults
E2E_TESTS += crash crash_steps faults host taken_over readers upgrades upgrades_failing upgrades_network
e2e_programs += tests/bin/kill_at tests/bin/faulty_monitor tests/bin/evil_worker
tests/bin/evil_worker_src := tests/e2e/tools/evil_worker.c
tests/bin/evil_worker_libs := ipc base
tests/bin/kill_at_src := tests/e2e/tools/kill_at.c
tests/bin/faulty_monitor_src := $(libexec/obsload/monitor_src) tests/e2e/tools/faulty.c
tests/bin/faulty_monitor_libs := $(libexec/obsload/monitor_libs)
tests/bin/faulty_monitor_pkgs := $(libexec/obsload/monitor_pkgs)
tests/bin/faulty_monitor_ldflags := $(foreach f,malloc calloc realloc reallocarray strdup fopencookie mmap \
	write fsync fchmod ftruncate rename renameat2 mkdir mkdirat unlink unlinkat rmdir memfd_create openat \
	bpf_obj_pin bpf_obj_get bpf_map_update_elem bpf_map_lookup_elem bpf_obj_get_info_by_fd bpf_link_update \
	bpf_link_create bpf_tc_hook_create bpf_tc_attach bpf_tc_detach,-Wl,--wrap=$(f))

E2E_TESTS += build golden
object_tests := keys_object keys_flow keys_code
UNIT_TESTS += $(object_tests)
$(foreach t,$(object_tests),$(eval tests/bin/$(t)_src := tests/unit/$(t)_test.c tests/unit/bpf_source.c))
$(foreach t,$(object_tests),$(eval tests/bin/$(t)_libs := keys bundles base))
$(foreach t,$(object_tests),$(eval tests/bin/$(t)_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka))
tests/bin/keys_code_src += tests/unit/bpf_forge.c

UNIT_TESTS += reject
E2E_TESTS += reject
tests/bin/reject_src := tests/unit/reject_test.c tests/unit/gate_fixture.c tests/unit/bpf_source.c tests/unit/pki.c \
	$(addprefix tests/reject/,archive.c host.c limits.c manifest.c manifests.c objects.c signatures.c)
tests/bin/reject_libs := keys bundles base
tests/bin/reject_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka

UNIT_TESTS += packager_definition packager_describe
tests/bin/packager_definition_src := tests/unit/packager_definition_test.c packager/definition.c
tests/bin/packager_definition_libs := bundles base
tests/bin/packager_definition_pkgs := libarchive jansson libcrypto cmocka
tests/bin/packager_describe_src := tests/unit/packager_describe_test.c tests/unit/bpf_source.c packager/locate.c \
	packager/describe.c packager/describe_fields.c packager/describe_params.c
tests/bin/packager_describe_libs := keys bundles base
tests/bin/packager_describe_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka

E2E_TESTS += network network_ends network_params network_dns network_truth

# With tests/unit/no_memory.c, which fails the n-th of these.
no_memory_ldflags := $(foreach f,malloc calloc realloc reallocarray strdup,-Wl,--wrap=$(f))
no_memory_tests := base_json base_text bundles_manifest keys_gate keys_policy monitor_state worker_request packager_definition
$(foreach t,$(no_memory_tests),$(eval tests/bin/$(t)_src += tests/unit/no_memory.c))
$(foreach t,$(no_memory_tests),$(eval tests/bin/$(t)_ldflags += $(no_memory_ldflags)))
include tests/fuzz/build.mk
include tests/bench/build.mk
