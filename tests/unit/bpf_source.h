/* Real BPF objects for tests: compiles a text with clang, as obspkg does. */
#ifndef OBS_TESTS_BPF_SOURCE_H
#define OBS_TESTS_BPF_SOURCE_H

#include <stddef.h>
#include <stdint.h>

/* The object of a source text; fails the test if it does not compile. The caller frees it. Runs in the tree's root. */
uint8_t *bpf_compile(const char *text, size_t *size);

#endif
