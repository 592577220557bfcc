PROGRAMS += bin/obspkg
bin/obspkg_src := packager/main.c
bin/obspkg_libs := keys bundles base
bin/obspkg_pkgs := libbpf libelf zlib libcrypto libarchive jansson
