# Fuzz targets: tests/fuzz/<name>_fuzz.c, with fuzz/<name>_libs, _pkgs. Each starts from tests/fuzz/corpus/<name>/ and what
# the build makes in fuzz/<name>.seeds/, with the dictionary tests/fuzz/<name>.dict.
#   fuzz/<name>_src     further sources
#   fuzz/<name>_reach   the files that the target is there for: what `make fuzz-coverage` counts
#   FUZZ_NO_DICT        those without a dictionary, whose input is numbers of fixed structs: no word of a dictionary
#                       would be looked for in them

FUZZ_TARGETS := archive manifest cms policy object control worker_msg request decode dns pretty
FUZZ_NO_DICT := decode worker_msg

fuzz/archive_libs := bundles base
fuzz/archive_pkgs := libarchive jansson libcrypto
fuzz/archive_reach := bundles/archive.c bundles/files.c

fuzz/manifest_libs := bundles base
fuzz/manifest_pkgs := jansson libcrypto
fuzz/manifest_reach := bundles/base/json.c $(filter bundles/manifest%,$(bundles_src))

keys_fuzz_pkgs := libbpf libelf zlib libcrypto libarchive jansson
fuzz/cms_libs := keys bundles base
fuzz/cms_pkgs := $(keys_fuzz_pkgs)
fuzz/cms_reach := keys/cms.c keys/cert.c keys/trust.c

fuzz/policy_libs := keys bundles base
fuzz/policy_pkgs := $(keys_fuzz_pkgs)
fuzz/policy_reach := keys/policy.c

fuzz_describe := packager/describe.c packager/describe_fields.c packager/describe_params.c
fuzz/object_src := $(fuzz_describe) packager/locate.c
fuzz/object_libs := keys bundles base
fuzz/object_pkgs := $(keys_fuzz_pkgs)
fuzz/object_reach := $(addprefix keys/,attach.c btf_check.c capabilities.c code.c flow.c flow_value.c object.c) $(fuzz_describe)

monitor_fuzz_libs := monitor kernel ipc keys bundles base
monitor_fuzz_pkgs := libbpf libelf zlib libcrypto jansson libcap
fuzz/control_libs := $(monitor_fuzz_libs)
fuzz/control_pkgs := $(monitor_fuzz_pkgs)
quiet := -Wl,--wrap=log_line,--wrap=log_err
fuzz/control_reach := $(addprefix loader/monitor/,control.c requests.c revoke.c revoked.c trust.c)

worker_fuzz := decode dns request worker_msg
$(foreach t,$(worker_fuzz),$(eval fuzz/$(t)_libs := worker ipc bundles base))
$(foreach t,$(worker_fuzz),$(eval fuzz/$(t)_pkgs := jansson))
fuzz/worker_msg_ldflags := $(quiet) -Wl,--wrap=epoll_ctl,--wrap=history_new
fuzz/worker_msg_reach := $(addprefix loader/worker/,bundle.c channel.c kallsyms.c lost.c notice.c ring.c sample.c stats.c)
fuzz/request_reach := loader/worker/request.c loader/worker/filter.c
fuzz/decode_reach := loader/worker/table.c loader/worker/value.c loader/worker/json.c
fuzz/dns_reach := loader/worker/dns.c

fuzz/pretty_libs := client ipc base
fuzz/pretty_pkgs := jansson
fuzz/pretty_reach := loader/client/pretty.c
