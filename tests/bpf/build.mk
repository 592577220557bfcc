# BPF objects for tests of the loader, also copied into virtual machines.
TEST_BPF := $(patsubst tests/bpf/%.bpf.c,%,$(wildcard tests/bpf/*.bpf.c))
test_bpf_objects := $(patsubst %,$(BUILD)/tests/bpf/%.bpf.o,$(TEST_BPF))
test_bpf_arch := $(if $(filter aarch64,$(shell uname -m)),arm64,x86)

$(BUILD)/tests/bpf/%.bpf.o: tests/bpf/%.bpf.c tests/bpf/hit.h $(wildcard bpf/include/obs/*.h)
	$(call say,BPF,$@)mkdir -p $(@D) && $(CLANG) -target bpf -mcpu=v3 -g -O2 -Wall -Wno-unused-parameter \
		-D__TARGET_ARCH_$(test_bpf_arch) -Ibpf/include -Ibpf/include/obs/compat -c -o $@ $< && $(LLVM_STRIP) -g $@

test-programs: $(test_bpf_objects)
