/* Builds that a tool watches while they run, for tests only. Their runtimes do what the sandbox is there to refuse: they
 * reserve terabytes, open /proc, map memory that is executable, start and trace threads, and write reports where the log
 * is. Such a build keeps identity, capabilities, Landlock, and death for what only an attacker calls. It gives up the
 * list of allowed calls and the limits on address space, files and CPU time; under valgrind, which knows neither seccomp
 * nor Landlock, the whole filter, and Landlock. Its tests of the sandbox prove less, so the others must run too.
 *
 *   make SAN=address,...   AddressSanitizer (gcc and clang say so in different ways)
 *   make VALGRIND=1        for valgrind, which decides about system calls before the kernel does
 *
 * Leaks: LeakSanitizer reports at the end of each process but the worker and the unpacker. It would have to trace them,
 * which nobody may: they are not dumpable, and start no thread. Valgrind looks for their leaks from within
 * (tests/e2e/valgrind.sh), and so do the unit tests that run the worker's loop and the archive reader. */
#ifndef OBS_SANDBOX_INSTRUMENTED_H
#define OBS_SANDBOX_INSTRUMENTED_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANDBOX_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(SANDBOX_ASAN)
#define SANDBOX_ASAN 1
#endif

#if defined(SANDBOX_ASAN) || defined(OBS_VALGRIND)
#define SANDBOX_INSTRUMENTED 1
#else
#define SANDBOX_INSTRUMENTED 0
#endif

#ifdef OBS_VALGRIND
#define SANDBOX_FILTER 0
#else
#define SANDBOX_FILTER 1
#endif

#endif
