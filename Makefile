# make                     build/bin/obspkg, build/bin/obsload, build/bundles/*.tar
# make deps                install what building and testing need (Debian, root)
# make check               unit, golden, reject and end-to-end tests; check-vm: other kernels
# make check SAN=address,undefined   the same under sanitizers, in build/san-...; check-valgrind: under valgrind
# make demo                the whole path on this machine, leaving it as it was
# make fuzz FUZZ_SECONDS=60 · make fuzz-coverage · make bench · make lint · make format
# make install DESTDIR= PREFIX=/usr/local · make uninstall · make clean
#
# Variables: V=1 shows commands, WERROR=1 makes warnings errors, CC, CLANG, LLVM_STRIP, PKG_CONFIG, BUILD.
# ARCHIVE=shared links libarchive.so, and with it what that needs, instead of libarchive.a (docs/design/packaging.md).

PREFIX ?= /usr/local
DESTDIR ?=
SAN ?=
V ?=
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
PKG_CONFIG ?= pkg-config
ARCHIVE ?= static
BUILD ?= build$(if $(SAN),/san-$(subst $(comma),-,$(SAN)))
comma := ,
space := $(subst ,, )

VERSION := 0.1.0

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' '$(1)' '$(2)';)

# What a Debian 12 host needs (make deps). DEPS_BUILD builds and installs, DEPS_DEMO runs `make demo`, DEPS_BENCH runs
# `make bench`, the rest is for tests and lint.
DEPS_BUILD := gcc clang llvm pkg-config libbpf-dev libelf-dev zlib1g-dev libssl-dev libarchive-dev libjansson-dev \
	libcap-dev libseccomp-dev linux-libc-dev
DEPS_DEMO := busybox-static curl dnsmasq-base bind9-dnsutils iproute2 procps util-linux
DEPS_TEST := libcmocka-dev nginx-light bpftool openssl jq socat wrk python3 softhsm2 opensc libengine-pkcs11-openssl strace valgrind \
	libclang-rt-14-dev libcap2-bin binutils \
	qemu-system-x86 cpio xz-utils zstd systemd
DEPS_BENCH := bpftrace linux-perf nginx-light wrk bpftool openssl python3 util-linux iproute2
DEPS_LINT := clang-format clang-tidy cppcheck shellcheck codespell mandoc git

PACKAGES := libbpf libelf zlib libcrypto libarchive jansson libcap libseccomp
pkg_cflags := $(shell $(PKG_CONFIG) --cflags $(PACKAGES) 2>/dev/null)
pkg_libs = $(if $(filter $(static),$(1)),$(archive_libs)) $(call shared_libs,$(filter-out $(static),$(1)))
shared_libs = $(if $(1),$(shell $(PKG_CONFIG) --libs $(1)))

# Only the tar reader and writer stay of it: without --gc-sections, its other formats ask for the libraries that they need.
static := $(if $(filter static,$(ARCHIVE)),libarchive,$(if $(filter shared,$(ARCHIVE)),,$(error ARCHIVE is static or shared)))
archive_libs = -Wl,--gc-sections $(shell $(PKG_CONFIG) --variable=libdir libarchive)/libarchive.a

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
TEST_PROGRAMS :=
BENCH_PROGRAMS :=
UNIT_TESTS :=
E2E_TESTS :=
FUZZ_TARGETS :=
include bundles/build.mk keys/build.mk packager/build.mk loader/build.mk bpf/build.mk tests/build.mk docs/build.mk

include tests/rules.mk

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

define library_rule
$(BUILD)/lib/lib$(1).a: $$(call objects,$$($(1)_src))
	$$(call say,AR,$$@)mkdir -p $$(@D) && rm -f $$@ && $$(AR) rcs $$@ $$^
endef
$(foreach l,$(LIBRARIES),$(eval $(call library_rule,$(l))))

define program_rule
$(BUILD)/$(1): $$(call objects,$$($(1)_src)) $$(patsubst %,$(BUILD)/lib/lib%.a,$$($(1)_libs))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $$(CFLAGS) $$(LDFLAGS) $$($(1)_ldflags) -o $$@ -Wl,--start-group $$^ -Wl,--end-group $$(call pkg_libs,$$($(1)_pkgs))
endef
$(foreach p,$(PROGRAMS) $(TEST_PROGRAMS) $(BENCH_PROGRAMS),$(eval $(call program_rule,$(p))))

$(BUILD)/obj/%.o: %.c Makefile
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell [ -d $(BUILD)/obj ] && find $(BUILD)/obj -name '*.d')

.PHONY: all programs bundles clean deps deps-build deps-demo deps-bench
all: programs bundles
programs: $(addprefix $(BUILD)/,$(PROGRAMS))

# Asks apt only for what is missing, so that it costs nothing the second time and works without a network then.
define install_packages
$(Q)set -e; missing=; have=" $$(dpkg-query -W -f='$${db:Status-Status}:$${Package} ' $(1) 2>/dev/null || true)"; \
	for p in $(1); do case "$$have" in *" installed:$$p "*) ;; *) missing="$$missing $$p" ;; esac; done; \
	if [ -n "$$missing" ]; then echo "  APT     $$missing"; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi
endef
deps:
	$(call install_packages,$(DEPS_BUILD) $(DEPS_DEMO) $(DEPS_TEST) $(DEPS_LINT))
deps-build:
	$(call install_packages,$(DEPS_BUILD))
deps-demo:
	$(call install_packages,$(DEPS_BUILD) $(DEPS_DEMO))
deps-bench:
	$(call install_packages,$(DEPS_BUILD) $(DEPS_BENCH))

clean:
	$(Q)rm -rf build
