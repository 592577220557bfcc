LIBRARIES += ipc
ipc_src := loader/ipc/log.c loader/ipc/msg.c
