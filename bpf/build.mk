# Stock bundles: bpf/<name>/ with its bundle.json becomes build/bundles/<name>.tar.
STOCK_BUNDLES := network
bundles: $(patsubst %,$(BUILD)/bundles/%.tar,$(STOCK_BUNDLES))
$(BUILD)/bundles/%.tar: $(BUILD)/bin/obspkg bpf/%/bundle.json $$(wildcard bpf/%/*) $(wildcard bpf/include/obs/*.h)
	$(call say,BUNDLE,$@)mkdir -p $(@D) && $< build bpf/$* -o $@
