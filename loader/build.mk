LIBRARIES += ipc
ipc_src := loader/ipc/msg.c

PROGRAMS += bin/obsload libexec/obsload/monitor libexec/obsload/worker libexec/obsload/unpacker
include loader/client/build.mk loader/supervisor/build.mk loader/monitor/build.mk loader/worker/build.mk loader/unpacker/build.mk
