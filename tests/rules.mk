# How tests run. What there is to run is in tests/build.mk:
#   UNIT_TESTS    tests/unit/<name>_test.c, with tests/bin/<name>_src, _libs, _pkgs
#   E2E_TESTS     tests/e2e/<name>.sh; e2e_programs: what they run beside what is installed
#   E2E_BESIDE    those of them that need not have the host for themselves
# and in tests/fuzz/build.mk: FUZZ_TARGETS

FUZZ_SECONDS ?= 60
TESTS ?=

TEST_PROGRAMS += $(addprefix tests/bin/,$(UNIT_TESTS)) $(e2e_programs)
ifdef FUZZ
PROGRAMS :=
TEST_PROGRAMS := $(addprefix fuzz/,$(FUZZ_TARGETS))
$(foreach t,$(FUZZ_TARGETS),$(eval fuzz/$(t)_src += tests/fuzz/$(t)_fuzz.c)$(eval fuzz/$(t)_ldflags += -fsanitize=fuzzer))
$(foreach t,$(filter-out $(FUZZ_NO_DICT),$(FUZZ_TARGETS)),$(if $(wildcard tests/fuzz/$(t).dict),,$(error tests/fuzz/$(t).dict is missing)))
override CFLAGS += -fsanitize=fuzzer-no-link $(if $(COVERAGE),-fprofile-instr-generate -fcoverage-mapping)
endif

# Watched by valgrind, which runs everything ten to fifty times slower and does not know every system call of a sandbox:
# see loader/sandbox/instrumented.h. Not those that end a child of theirs in the middle of its work (sandbox_roles and
# VALGRIND_CRASH), make many keys (keys_cms), or measure time (worker_loop, worker_stream); sanitizers watch these.
VALGRIND_CRASH := $(addprefix monitor_,interfaces kernel load pins upgrade)
VALGRIND_TESTS := $(filter-out $(VALGRIND_CRASH) keys_cms worker_loop worker_stream, \
	$(filter bundles_% base_% keys_% worker_% ipc_% monitor_%,$(UNIT_TESTS)))
ifdef VALGRIND
override CPPFLAGS += -DOBS_VALGRIND
$(foreach p,$(PROGRAMS) $(TEST_PROGRAMS),$(eval $(p)_src += tests/valgrind_syscall.c))
endif

.PHONY: check-valgrind check-valgrind-run
check-valgrind:
	$(Q)$(MAKE) --no-print-directory BUILD=$(BUILD)/valgrind VALGRIND=1 check-valgrind-run

check-valgrind-run: all test-programs
	$(Q)BUILD=$(BUILD) TEST_WRAPPER=tests/valgrind.sh TEST_TIMEOUT=1200 tests/run.sh $(BUILD)/tests/logs \
		$(if $(TESTS),$(TESTS),$(addprefix $(BUILD)/tests/bin/,$(VALGRIND_TESTS)) tests/e2e/valgrind.sh)

run_tests = BUILD=$(BUILD) TEST_BESIDE="$(E2E_BESIDE)" tests/run.sh $(BUILD)/tests/logs

.PHONY: check check-run check-unit check-e2e check-vm fuzz fuzz-coverage fuzz-programs bench bench-programs demo lint format test-programs

# Installs first, then looks for the libraries: hence a make of its own.
check: deps
	$(Q)$(MAKE) --no-print-directory check-run

test-programs: $(addprefix $(BUILD)/,$(TEST_PROGRAMS))

check-run: all test-programs
	$(Q)$(run_tests) \
		$(if $(TESTS),$(TESTS),$(addprefix $(BUILD)/tests/bin/,$(UNIT_TESTS)) $(patsubst %,tests/e2e/%.sh,$(E2E_TESTS)))

check-unit: all test-programs
	$(Q)$(run_tests) $(addprefix $(BUILD)/tests/bin/,$(UNIT_TESTS))

check-e2e: all $(BUILD)/tests/bin/reject $(addprefix $(BUILD)/,$(e2e_programs))
	$(Q)$(run_tests) $(patsubst %,tests/e2e/%.sh,$(E2E_TESTS))

check-vm: all test-programs
	$(Q)BUILD=$(BUILD) tests/vm/run.sh

fuzz:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/fuzz SAN=address,undefined FUZZ=1 fuzz-programs
	$(Q)tests/fuzz/run.sh $(BUILD)/fuzz/fuzz $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Over the committed corpora, and over these with what `make fuzz` found since the last `make clean`.
fuzz-coverage:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(BUILD)/fuzz-coverage FUZZ=1 COVERAGE=1 fuzz-programs
	$(Q)tests/fuzz/coverage.sh $(BUILD)/fuzz-coverage/fuzz $(BUILD)/fuzz/fuzz \
		$(foreach t,$(FUZZ_TARGETS),$(t):$(subst $(space),$(comma),$(strip $(fuzz/$(t)_reach))))

fuzz-programs: $(addprefix $(BUILD)/,$(TEST_PROGRAMS)) $(BUILD)/fuzz/object.seeds

$(BUILD)/fuzz/object.seeds: $(test_bpf_objects)
	$(Q)mkdir -p $@ && cp $^ $@ && touch $@

demo: deps-demo
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) tests/demo.sh

bench: deps-bench
	$(Q)$(MAKE) --no-print-directory all bench-programs
	$(Q)BUILD=$(BUILD) tests/bench/run.py $(BENCH_SECTIONS)

lint:
	$(Q)tests/lint/run.sh

# BPF sources are left out, as in tests/lint/run.sh.
C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h' | grep -vE '^(tests/)?bpf/')
format:
	$(Q)clang-format -i $(C_FILES)

.PHONY: print-cppflags
print-cppflags:
	$(info $(CPPFLAGS))@:
