PROGRAMS += bin/obsload libexec/obsload/monitor libexec/obsload/worker libexec/obsload/unpacker
include loader/ipc/build.mk loader/sandbox/build.mk loader/client/build.mk loader/supervisor/build.mk \
	loader/monitor/build.mk loader/worker/build.mk loader/unpacker/build.mk
