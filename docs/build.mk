# make install and make uninstall: everything that is put in place is a word "source=destination below PREFIX" here, so that
# uninstall takes away exactly what install put there.

INSTALL_FILES = \
	$(foreach p,$(PROGRAMS),$(BUILD)/$(p)=$(p)) \
	$(foreach b,$(STOCK_BUNDLES),$(BUILD)/bundles/$(b).tar=share/obs/bundles/$(b).tar) \
	$(foreach b,$(STOCK_BUNDLES),$(foreach f,$(wildcard $(addprefix bpf/$(b)/,*.json *.c *.h)), \
		$(f)=share/obs/definitions/$(b)/$(notdir $(f)))) \
	$(foreach f,$(wildcard bpf/include/obs/*.h),$(f)=include/obs/$(notdir $(f))) \
	bpf/include/obs/compat/asm/errno.h=include/obs/compat/asm/errno.h \
	$(foreach f,$(wildcard docs/man/*.[1-8]),$(f)=share/man/man$(subst .,,$(suffix $(f)))/$(notdir $(f))) \
	$(foreach c,obspkg obsload,loader/dist/completions/$(c)=share/bash-completion/completions/$(c)) \
	loader/dist/obsload.service=lib/systemd/system/obsload.service \
	loader/dist/obsload.sysusers=lib/sysusers.d/obsload.conf \
	loader/dist/obsload.tmpfiles=lib/tmpfiles.d/obsload.conf

# Folders that are this project's alone, innermost first.
INSTALL_FOLDERS = libexec/obsload include/obs/compat/asm include/obs/compat include/obs $(foreach b,$(STOCK_BUNDLES),share/obs/definitions/$(b)) \
	share/obs/definitions share/obs/bundles share/obs

installed_source = $(word 1,$(subst =, ,$(1)))
installed_as = $(DESTDIR)$(PREFIX)/$(word 2,$(subst =, ,$(1)))
installed_mode = $(if $(filter bin/% libexec/%,$(word 2,$(subst =, ,$(1)))),0755,0644)

.PHONY: install uninstall
install: all
	$(Q)set -e; $(foreach f,$(INSTALL_FILES), \
		install -D -m $(call installed_mode,$(f)) '$(call installed_source,$(f))' '$(call installed_as,$(f))';)
	$(Q)sed -i 's|@BINDIR@|$(PREFIX)/bin|' '$(DESTDIR)$(PREFIX)/lib/systemd/system/obsload.service'

uninstall:
	$(Q)rm -f $(foreach f,$(INSTALL_FILES),'$(call installed_as,$(f))')
	$(Q)cd / && for folder in $(foreach d,$(INSTALL_FOLDERS),'$(DESTDIR)$(PREFIX)/$(d)'); do \
		[ ! -d "$$folder" ] || rmdir --ignore-fail-on-non-empty "$$folder"; done
