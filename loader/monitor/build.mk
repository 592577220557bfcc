include loader/monitor/kernel.mk

# Everything but main, so that tests link it.
LIBRARIES += monitor
monitor_src := $(addprefix loader/monitor/,admit.c audit.c bundle.c bundles.c control.c follow.c install.c interfaces.c loop.c parent.c \
	requests.c show.c state.c state_json.c store.c trust.c worker.c)
monitor_src += $(addprefix loader/monitor/,audit_mark.c audit_open.c audit_read.c clock.c recover.c revoke.c revoked.c)

libexec/obsload/monitor_src := loader/monitor/main.c
libexec/obsload/monitor_libs := monitor kernel sandbox ipc keys bundles base
libexec/obsload/monitor_pkgs := libbpf libelf zlib libcrypto jansson libcap libseccomp
