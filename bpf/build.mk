# Stock bundles: bpf/<name>/ with its bundle.json becomes build/bundles/<name>.tar.
STOCK_BUNDLES := network
bpf_headers := $(wildcard bpf/include/obs/*.h)

define bundle_rule
bundles: $(BUILD)/bundles/$(1).tar
$(BUILD)/bundles/$(1).tar: $(BUILD)/bin/obspkg $$(wildcard bpf/$(1)/*) $$(bpf_headers)
	$$(call say,BUNDLE,$$@)mkdir -p $$(@D) && OBS_INCLUDE=bpf/include $$< build bpf/$(1) -o $$@
endef
$(foreach b,$(STOCK_BUNDLES),$(eval $(call bundle_rule,$(b))))
