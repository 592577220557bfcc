LIBRARIES += supervisor
supervisor_src := loader/supervisor/children.c loader/supervisor/host.c loader/supervisor/notify.c \
	loader/supervisor/options.c loader/supervisor/perf.c loader/supervisor/run.c loader/supervisor/serve.c
