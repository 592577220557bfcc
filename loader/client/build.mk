LIBRARIES += client
client_src := loader/client/accept.c loader/client/ask.c loader/client/audit.c loader/client/events.c loader/client/install.c \
	loader/client/list.c loader/client/options.c loader/client/params.c loader/client/pretty.c loader/client/remove.c \
	loader/client/resume.c loader/client/revoke.c loader/client/set.c loader/client/status.c loader/client/table.c loader/client/term.c \
	loader/client/trust.c loader/client/view.c loader/client/where.c

bin/obsload_src := loader/client/main.c
bin/obsload_libs := client supervisor sandbox ipc base
bin/obsload_pkgs := jansson libcap libseccomp
