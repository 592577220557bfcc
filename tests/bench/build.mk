# Programs of `make bench`: tests/bench/<name>.c
BENCH := produce count ring loadall connections
BENCH_PROGRAMS := $(addprefix bench/,$(BENCH))
$(foreach b,$(BENCH),$(eval bench/$(b)_src := tests/bench/$(b).c))
$(foreach b,ring loadall,$(eval bench/$(b)_pkgs := libbpf))

bench-programs: $(addprefix $(BUILD)/,$(BENCH_PROGRAMS)) $(BUILD)/bench/spin.tar $(BUILD)/bench/hooks.tar

$(BUILD)/bench/%.tar: $(BUILD)/bin/obspkg tests/bench/%/bundle.json tests/bench/%/*.bpf.c $(wildcard bpf/include/obs/*.h)
	$(call say,BUNDLE,$@)mkdir -p $(@D) && OBS_INCLUDE=bpf/include $< build tests/bench/$* -o $@
