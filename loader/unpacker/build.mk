libexec/obsload/unpacker_src := loader/unpacker/main.c
libexec/obsload/unpacker_libs := sandbox ipc bundles base
libexec/obsload/unpacker_pkgs := libarchive libcrypto jansson libcap libseccomp
