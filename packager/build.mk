PROGRAMS += bin/obspkg
bin/obspkg_src := packager/main.c packager/build.c packager/definition.c packager/compile.c packager/locate.c \
	packager/assemble.c packager/describe.c packager/describe_fields.c packager/describe_params.c packager/inspect.c \
	packager/keygen.c packager/options.c packager/sign.c packager/signing.c packager/tools.c packager/verify.c
bin/obspkg_libs := keys bundles base
bin/obspkg_pkgs := libbpf libelf zlib libcrypto libarchive jansson
