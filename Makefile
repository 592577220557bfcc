# make                     build/bin/obspkg, build/bin/obsload, build/bundles/*.tar
# make deps                install what building and testing need (Debian, root)
# make check               unit, golden, reject and end-to-end tests; check-vm: other kernels
# make check SAN=address,undefined   the same under sanitizers, in build/san-...
# make demo                the whole path on this machine, leaving it as it was
# make fuzz FUZZ_SECONDS=60 · make bench · make lint · make format
# make install DESTDIR= PREFIX=/usr/local · make uninstall · make clean
#
# Variables: V=1 shows commands, WERROR=1 makes warnings errors, CC, CLANG, LLVM_STRIP, PKG_CONFIG, BUILD.

PREFIX ?= /usr/local
DESTDIR ?=
SAN ?=
V ?=
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
PKG_CONFIG ?= pkg-config
BUILD ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
comma := ,

VERSION := 0.1.0

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' '$(1)' '$(2)';)

PACKAGES := libbpf libelf zlib libcrypto libarchive jansson libcap libseccomp
pkg_cflags := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
pkg_libs = $(shell $(PKG_CONFIG) --libs $(1))

CFLAGS ?= -O2 -g
override CFLAGS += -std=gnu11 -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 \
	-Wno-missing-field-initializers $(if $(WERROR),-Werror) -fPIE -fstack-protector-strong \
	$(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined,-D_FORTIFY_SOURCE=2)
override CPPFLAGS += -D_GNU_SOURCE -DOBS_VERSION='"$(VERSION)"' -I. -Ibpf/include $(pkg_cflags)
override LDFLAGS += -pie -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN))

.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules

# Each folder's build.mk names its sources and programs:
#   <x>_src      sources of static library build/lib/lib<x>.a, with x in LIBRARIES
#   PROGRAMS     paths below build/, each with <path>_src, <path>_libs (in link order) and <path>_pkgs
LIBRARIES :=
PROGRAMS :=
include bundles/build.mk keys/build.mk packager/build.mk loader/build.mk bpf/build.mk tests/build.mk docs/build.mk

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

define library_rule
$(BUILD)/lib/lib$(1).a: $$(call objects,$$($(1)_src))
	$$(call say,AR,$$@)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach l,$(LIBRARIES),$(eval $(call library_rule,$(l))))

define program_rule
$(BUILD)/$(1): $$(call objects,$$($(1)_src)) $$(patsubst %,$(BUILD)/lib/lib%.a,$$($(1)_libs))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $$(CFLAGS) $$(LDFLAGS) $$($(1)_ldflags) -o $$@ $$^ $$(call pkg_libs,$$($(1)_pkgs))
endef
$(foreach p,$(PROGRAMS) $(TEST_PROGRAMS),$(eval $(call program_rule,$(p))))

$(BUILD)/obj/%.o: %.c Makefile
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell [ -d $(BUILD)/obj ] && find $(BUILD)/obj -name '*.d')

.PHONY: all programs bundles clean
all: programs bundles
programs: $(addprefix $(BUILD)/,$(PROGRAMS))

clean:
	$(Q)rm -rf build
