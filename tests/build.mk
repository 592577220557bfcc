# Unit tests: tests/unit/<folder>_<module>_test.c, one binary a module; names in UNIT_TESTS.


UNIT_TESTS += client_ask client_options client_pretty client_table client_where
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_src := tests/unit/client_$(t)_test.c))
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_libs := client ipc base))
$(foreach t,ask options pretty table where,$(eval tests/bin/client_$(t)_pkgs := jansson cmocka))

UNIT_TESTS += bundles_archive bundles_digest bundles_files bundles_manifest base_err base_file base_text
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_src := tests/unit/bundles_$(t)_test.c))
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_libs := bundles base))
$(foreach t,archive digest files manifest,$(eval tests/bin/bundles_$(t)_pkgs := libarchive jansson libcrypto cmocka))
$(foreach t,err file text,$(eval tests/bin/base_$(t)_src := tests/unit/base_$(t)_test.c))
$(foreach t,err file text,$(eval tests/bin/base_$(t)_libs := base))
$(foreach t,err file text,$(eval tests/bin/base_$(t)_pkgs := cmocka))
tests/bin/bundles_manifest_ldflags := $(foreach f,calloc strdup reallocarray,-Wl,--wrap=$(f))
tests/bin/base_file_ldflags := -Wl,--wrap=fsync,--wrap=renameat,--wrap=write
FUZZ_TARGETS += archive manifest
$(foreach t,archive manifest,$(eval fuzz/$(t)_libs := bundles base))
$(foreach t,archive manifest,$(eval fuzz/$(t)_pkgs := libarchive jansson libcrypto))

worker_tests := dns json loop request ring stream
UNIT_TESTS += $(addprefix worker_,$(worker_tests))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_src := tests/unit/worker_$(t)_test.c))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_libs := worker ipc bundles base))
$(foreach t,$(worker_tests),$(eval tests/bin/worker_$(t)_pkgs := libbpf libcrypto jansson cmocka))

E2E_TESTS += sign pkcs11
keys_tests := cert cms policy gate
UNIT_TESTS += $(addprefix keys_,$(keys_tests))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_src := tests/unit/keys_$(t)_test.c tests/unit/pki.c))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_libs := keys bundles base))
$(foreach t,$(keys_tests),$(eval tests/bin/keys_$(t)_pkgs := libbpf libelf zlib libcrypto libarchive jansson cmocka))

E2E_TESTS += commands install
