# Everything but main.c is a library, which tests and fuzz targets link.
LIBRARIES += worker
worker_src := $(addprefix loader/worker/,bundle.c channel.c dns.c enum_names.c filter.c history.c json.c kallsyms.c loop.c lost.c \
	notice.c queue.c request.c ring.c sample.c server.c stats.c stream.c subscriber.c table.c value.c)

libexec/obsload/worker_src := loader/worker/main.c
libexec/obsload/worker_libs := worker sandbox ipc bundles base
libexec/obsload/worker_pkgs := jansson libcap libseccomp
