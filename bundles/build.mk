LIBRARIES += base bundles
base_src := bundles/base/err.c bundles/base/file.c bundles/base/text.c
bundles_src := bundles/archive.c bundles/digest.c bundles/files.c bundles/manifest.c
