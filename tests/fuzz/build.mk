# Fuzz targets: tests/fuzz/<name>_fuzz.c, with fuzz/<name>_libs, _pkgs. Each starts from tests/fuzz/corpus/<name>/ and what
# the build makes in fuzz/<name>.seeds/, with the dictionary tests/fuzz/<name>.dict.
#   fuzz/<name>_src     further sources
#   fuzz/<name>_reach   the files that the target is there for: what `make fuzz-coverage` counts
#   FUZZ_OUTSIDE        those whose input comes from whom nobody trusts: a bundle's maker, a worker taken over, subscribers, the
#                       network; the others read what a signature, the daemon or the author stands for
#   FUZZ_NO_DICT        those without a dictionary, whose input is numbers of fixed structs: no word of a dictionary
#                       would be looked for in them

FUZZ_OUTSIDE := archive manifest cms policy control monitor_msg worker_msg subscriber request decode dns
FUZZ_INSIDE := object param state unpacked supervisor elf pretty answer definition inspect
FUZZ_TARGETS := $(FUZZ_OUTSIDE) $(FUZZ_INSIDE)
FUZZ_NO_DICT := decode monitor_msg supervisor worker_msg

fuzz/archive_libs := bundles base
fuzz/archive_pkgs := libarchive jansson libcrypto
fuzz/archive_reach := bundles/archive.c bundles/files.c

fuzz/manifest_libs := bundles base
fuzz/manifest_pkgs := jansson libcrypto
fuzz/manifest_reach := bundles/base/json.c bundles/fields.c $(filter bundles/manifest%,$(bundles_src))

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
fuzz/object_reach := $(addprefix keys/,attach.c btf_check.c capabilities.c code.c flow.c flow_insn.c flow_value.c object.c) $(fuzz_describe)

monitor_fuzz_libs := monitor kernel ipc keys bundles base
monitor_fuzz_pkgs := libbpf libelf zlib libcrypto jansson libcap
monitor_fuzz := control elf monitor_msg param state unpacked
$(foreach t,$(monitor_fuzz),$(eval fuzz/$(t)_libs := $(monitor_fuzz_libs)))
$(foreach t,$(monitor_fuzz),$(eval fuzz/$(t)_pkgs := $(monitor_fuzz_pkgs)))
quiet := -Wl,--wrap=log_line,--wrap=log_err
fuzz/control_reach := $(addprefix loader/monitor/,control.c requests.c revoke.c revoked.c trust.c)
fuzz/elf_reach := loader/monitor/kernel_target.c loader/monitor/kernel_usdt_args.c
fuzz/param_reach := loader/monitor/params.c
fuzz/state_ldflags := $(quiet)
fuzz/state_reach := $(addprefix loader/monitor/,audit.c audit_mark.c audit_open.c audit_read.c clock.c revoked.c state_json.c)
fuzz/monitor_msg_ldflags := -Wl,--wrap=parent_spawn_worker,--wrap=parent_kill,--wrap=log_line
fuzz/monitor_msg_reach := loader/monitor/worker.c loader/ipc/msg.c
fuzz/unpacked_pkgs += libarchive
fuzz/unpacked_reach := loader/monitor/admit.c bundles/files.c

fuzz/supervisor_libs := supervisor sandbox ipc base
fuzz/supervisor_pkgs := libcap libseccomp
fuzz/supervisor_ldflags := $(quiet) $(foreach f,children_spawn kill open socket syscall,-Wl,--wrap=$(f))
fuzz/supervisor_reach := loader/supervisor/serve.c loader/supervisor/perf.c

worker_fuzz := decode dns request subscriber worker_msg
$(foreach t,$(worker_fuzz),$(eval fuzz/$(t)_libs := worker ipc bundles base))
$(foreach t,$(worker_fuzz),$(eval fuzz/$(t)_pkgs := jansson))
fuzz/worker_msg_ldflags := $(quiet) -Wl,--wrap=epoll_ctl,--wrap=history_new
fuzz/worker_msg_reach := $(addprefix loader/worker/,bundle.c channel.c kallsyms.c lost.c notice.c ring.c sample.c stats.c)
fuzz/subscriber_ldflags := -Wl,--wrap=history_new,--wrap=queue_init
fuzz/subscriber_reach := $(addprefix loader/worker/,history.c queue.c server.c stream.c subscriber.c)
fuzz/request_reach := loader/worker/request.c loader/worker/filter.c
fuzz/decode_reach := loader/worker/table.c loader/worker/value.c loader/worker/json.c
fuzz/dns_reach := loader/worker/dns.c

# What reaches a terminal.
fuzz/pretty_src := tests/fuzz/terminal.c
fuzz/pretty_libs := client ipc base
fuzz/pretty_pkgs := jansson
fuzz/pretty_reach := loader/client/pretty.c
fuzz/answer_src := tests/fuzz/terminal.c
fuzz/answer_libs := client ipc base
fuzz/answer_pkgs := jansson
fuzz/answer_ldflags := -Wl,--wrap=ask,--wrap=term_of
fuzz/answer_reach := $(addprefix loader/client/,audit.c list.c params.c revoke.c status.c table.c trust.c view.c)

fuzz/definition_src := packager/definition.c
fuzz/definition_libs := bundles base
fuzz/definition_pkgs := jansson libcrypto
fuzz/definition_reach := packager/definition.c
fuzz/inspect_src := tests/fuzz/terminal.c packager/inspect.c
fuzz/inspect_libs := keys bundles base
fuzz/inspect_pkgs := $(keys_fuzz_pkgs)
fuzz/inspect_reach := packager/inspect.c
