LIBRARIES += sandbox
sandbox_src := loader/sandbox/capabilities.c loader/sandbox/enter.c loader/sandbox/landlock.c loader/sandbox/seccomp.c
