/* obspkg: from BPF sources and a definition to a signed bundle. One file a command. */
#ifndef OBS_PACKAGER_PACKAGER_H
#define OBS_PACKAGER_PACKAGER_H

#include "bundles/manifest.h"
#include "keys/object.h"
#include "packager/options.h"

/* Commands, each in the file of its name. They return 0, or -1 with *e set, which main prints. */
extern const struct command command_build, command_inspect, command_keygen, command_sign, command_verify;

/* ---- definition.c: bundle.json, what the author says (obs-manifest(5), section DEFINITION) ---- */

struct texts {
	char **text;
	size_t count;
};

struct definition {
	char *folder; /* as the user gave it */
	char *name, *version, *description, *licence;
	uint64_t serial;
	uint32_t kernel_major, kernel_minor;
	bool needs_btf;
	struct texts config;   /* "CONFIG_X" */
	struct texts sources;  /* "x.bpf.c", below folder; sorted by object name */
	struct texts arches;   /* sorted */
	struct texts includes; /* folders below folder */
};

/* Reads folder/bundle.json. Every key is known, every path stays inside the folder, also over symbolic links.
 * ERR_DEFINITION_SYNTAX, ERR_DEFINITION_VALUE with file and line; ERR_IO. */
MUST_CHECK int definition_read(const char *folder, struct definition **out, struct err *e);
void definition_free(struct definition **definition);

/* "sub/exec.bpf.c" is object "exec". name has room for MANIFEST_IDENT_MAX + 1. False if that is no object name. */
bool definition_object_name(const char *source, char *name);

/* ---- compile.c: clang and llvm-strip ---- */

struct compiler; /* a private temporary folder, gone with it */

/* Finds the tools, and the headers for authors: in OBS_INCLUDE, or else beside the build tree of the running executable, or
 * where it is installed. Until compiler_free, signals that end this process wait: see tools.h. ERR_BUILD_TOOL, ERR_IO. */
MUST_CHECK int compiler_new(const struct definition *definition, struct compiler **out, struct err *e);
void compiler_free(struct compiler **compiler);

/* "14.0.6". */
MUST_CHECK int compiler_version(const struct compiler *compiler, char *dst, size_t size, struct err *e);

/* The stripped object of one source. What clang says goes to standard error as it is; ERR_BUILD_COMPILER if it fails. The
 * bytes depend on the sources, the headers and the compiler alone: not on folder, time, user, locale or environment.
 * The caller frees *out. */
MUST_CHECK int compiler_run(const struct compiler *compiler, const char *source, const char *arch, uint8_t **out,
			    size_t *out_size, struct err *e);

/* ---- locate.c: where something is declared, for messages ---- */

struct place {
	char text[256]; /* "exec.bpf.c:12", or "exec.bpf.c" */
};

/* Looks for `struct <first> {`, then the word `second` behind it; or, if `structure` is false, for the word `first`. Asks
 * the source, then the headers beside it and in the definition's include folders. second may be NULL. Only as good as
 * reading text can be: macros may hide a declaration. */
void locate(const struct definition *definition, const char *source, bool structure, const char *first,
	    const char *second, struct place *out);

/* ---- describe.c, describe_fields.c, describe_params.c: from BTF to the manifest ---- */

struct describing {
	const struct definition *definition;
	const char *source, *object; /* file, object name */
	const struct object *o;
	struct manifest *m; /* its head is there; gets events, outputs, params, enums */
};

/* Adds what one object says. ERR_BUILD_FIELD, ERR_BUILD_OUTPUT, ERR_BUILD_PARAMETER, each with its place. */
MUST_CHECK int describe(struct describing *d, struct err *e);

#endif
