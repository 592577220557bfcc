LIBRARIES += base bundles
base_src := bundles/base/arguments.c bundles/base/err.c bundles/base/file.c bundles/base/json.c bundles/base/text.c
bundles_src := bundles/archive.c bundles/digest.c bundles/digest_text.c bundles/fields.c bundles/files.c bundles/manifest.c \
	bundles/manifest_check.c bundles/manifest_keys.c bundles/manifest_param.c bundles/manifest_print.c \
	bundles/manifest_shape.c bundles/manifest_value.c
