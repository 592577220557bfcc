/* Every stable error code, its exit status, and what the reader should do. The one place: exit statuses, JSON and
 * the man pages follow this table. Never renumber or rename a line: scripts depend on both columns.
 *
 * X(identifier, "name", exit status, "what to do")
 */
#define ERR_CODES(X)                                                                                                   \
	/* general */                                                                                                  \
	X(USAGE, "usage", 2, "see --help")                                                                             \
	X(NOMEM, "system.memory", 3, "free memory or raise the limit, then try again")                                 \
	X(IO, "system.io", 3, "check the path, its permissions and the disk, then try again")                          \
	X(INTERNAL, "system.internal", 3, "this is a defect: please report it with the command you ran")               \
	X(LIMIT, "system.limit", 3, "split the input, or stay below the limit named above")                            \
	X(UNSUPPORTED, "system.unsupported", 3, "use a machine that has what is named above")                          \
	/* talking to the daemon */                                                                                    \
	X(DAEMON_ABSENT, "daemon.absent", 4, "start it: systemctl start obsload, or obsload run")                      \
	X(DAEMON_RUNNING, "daemon.running", 4, "one daemon a host: stop the other one first")                          \
	X(DAEMON_DENIED, "daemon.denied", 4, "be root, or a member of the configured group")                           \
	X(DAEMON_PROTOCOL, "daemon.protocol", 4, "use obsload and daemon of the same release")                         \
	X(DAEMON_FAILED, "daemon.failed", 4, "see the daemon's log")                                                   \
	X(REQUEST_INVALID, "request.invalid", 5, "correct the request; obs-events(5) has the format")                  \
	X(REQUEST_TOO_LARGE, "request.too_large", 5, "send a shorter request; obs-events(5) has the limits")           \
	X(REQUEST_TIMEOUT, "request.timeout", 5, "send the whole line right after connecting")                         \
	X(REQUEST_BUSY, "request.busy", 5, "too many subscribers: close one, or raise the limit")                      \
	/* gate 1 and 2: the file and the archive */                                                                   \
	X(ARCHIVE_TOO_LARGE, "archive.too_large", 10, "stay within the limits of obs-bundle(5)")                       \
	X(ARCHIVE_MALFORMED, "archive.malformed", 10, "get the bundle again: it is not what obspkg wrote")             \
	X(ARCHIVE_TRUNCATED, "archive.truncated", 10, "get the bundle again: it ends too early")                       \
	X(ARCHIVE_TRAILING, "archive.trailing", 10, "get the bundle again: bytes follow its end")                      \
	X(ARCHIVE_ENTRY_TYPE, "archive.entry_type", 10, "a bundle holds regular files only: build it with obspkg")     \
	X(ARCHIVE_ENTRY_NAME, "archive.entry_name", 10, "a bundle holds the files of obs-bundle(5) only")              \
	X(ARCHIVE_DUPLICATE, "archive.duplicate", 10, "a bundle holds each file once: build it with obspkg")           \
	X(ARCHIVE_ORDER, "archive.order", 10, "manifest first, then signatures, then objects: build it with obspkg")   \
	X(ARCHIVE_NOT_CANONICAL, "archive.not_canonical", 10, "build it with obspkg: headers differ from the format")  \
	X(ARCHIVE_UNPACKER, "archive.unpacker", 10, "get the bundle again; see the daemon's log if it persists")       \
	/* gate 3: signatures */                                                                                       \
	X(SIGNATURE_MISSING, "signature.missing", 11, "sign it: obspkg sign")                                          \
	X(SIGNATURE_MALFORMED, "signature.malformed", 11, "sign it again: obspkg sign")                                \
	X(SIGNATURE_INVALID, "signature.invalid", 11, "do not use it: it was changed after it was signed")             \
	X(SIGNATURE_UNTRUSTED, "signature.untrusted", 11, "if you trust the signer: obsload trust add CERT")           \
	X(SIGNATURE_ALGORITHM, "signature.algorithm", 11, "sign with RSA-3072 or more, or ECDSA P-256 or P-384")       \
	X(SIGNATURE_NAME, "signature.name", 11, "sign it again: the file's name must be its signer's identity")        \
	X(CERTIFICATE_EXPIRED, "certificate.expired", 11, "have it signed with a valid certificate")                   \
	X(CERTIFICATE_NOT_YET_VALID, "certificate.not_yet_valid", 11, "check this host's clock and the certificate")   \
	X(CERTIFICATE_USAGE, "certificate.usage", 11, "use a certificate for code signing: obspkg keygen")             \
	X(CERTIFICATE_REVOKED, "certificate.revoked", 11, "do not use it: its signer was revoked here")                \
	X(CERTIFICATE_MALFORMED, "certificate.malformed", 11, "give a PEM certificate")                                \
	/* gate 4: manifest and digests */                                                                             \
	X(MANIFEST_MISSING, "manifest.missing", 12, "build it with obspkg")                                            \
	X(MANIFEST_SYNTAX, "manifest.syntax", 12, "build it with obspkg; obs-manifest(5) has the format")              \
	X(MANIFEST_UNKNOWN_KEY, "manifest.unknown_key", 12, "use an obsload that knows this format")                   \
	X(MANIFEST_VALUE, "manifest.value", 12, "build it with obspkg; obs-manifest(5) has the limits")                \
	X(MANIFEST_SCHEMA, "manifest.schema", 12, "use an obsload that knows this schema")                             \
	X(OBJECT_MISSING, "object.missing", 13, "get the bundle again: a listed object is not in it")                  \
	X(OBJECT_UNLISTED, "object.unlisted", 13, "do not use it: it holds an object that nobody signed")              \
	X(OBJECT_DIGEST, "object.digest", 13, "do not use it: an object was changed after it was signed")              \
	X(OBJECT_MALFORMED, "object.malformed", 13, "build it again with obspkg: an object is not a BPF ELF")          \
	X(OBJECT_MISMATCH, "object.mismatch", 13, "do not use it: the object is not what its manifest says")           \
	X(OBJECT_ARCH, "object.arch", 13, "build it for this host's architecture")                                     \
	/* gate 5: policy */                                                                                           \
	X(POLICY_MALFORMED, "policy.malformed", 14, "correct policy.json; obs-policy(5) has the format")               \
	X(POLICY_NAME, "policy.name", 14, "grant the signer this name: obsload trust add --names")                     \
	X(POLICY_THRESHOLD, "policy.threshold", 14, "have it signed by more of the granted signers")                   \
	X(POLICY_REVOKED, "policy.revoked", 14, "do not use it: this bundle was revoked here")                         \
	/* gate 6: serial */                                                                                           \
	X(SERIAL_DOWNGRADE, "serial.downgrade", 15, "install a newer one, or as root with --allow-downgrade")          \
	X(SERIAL_REUSED, "serial.reused", 15, "build it with a higher serial: this one stands for other bytes")        \
	/* gate 7: capabilities */                                                                                     \
	X(CAPABILITY_MISMATCH, "capability.mismatch", 16, "do not use it: it can do more or less than it says")        \
	X(CAPABILITY_REFUSED, "capability.refused", 16, "allow it in policy.json if it is meant to do that")           \
	/* gate 8: this kernel */                                                                                      \
	X(KERNEL_REQUIREMENT, "kernel.requirement", 17, "use a kernel that has what is named above")                   \
	X(KERNEL_VERIFIER, "kernel.verifier", 17, "the kernel's verifier refused it: see the log above")               \
	X(KERNEL_LOAD, "kernel.load", 17, "see the kernel's answer above")                                             \
	X(KERNEL_ATTACH, "kernel.attach", 17, "see the kernel's answer above")                                         \
	X(KERNEL_VIEW, "kernel.view", 17, "do not use it: the kernel sees another program than was signed")            \
	X(KERNEL_NO_BPF, "kernel.no_bpf", 17, "use a host (not a container without BPF) as root")                      \
	X(KERNEL_PIN, "kernel.pin", 17, "check that a bpffs is mounted and writable")                                  \
	/* state on the host */                                                                                        \
	X(STATE_CORRUPT, "state.corrupt", 18, "see obsload(8), section STATE")                                         \
	X(STATE_IO, "state.io", 18, "check space and permissions of the state folder, then try again")                 \
	X(STATE_VERSION, "state.version", 18, "use the obsload that wrote it, or a newer one")                         \
	X(BUNDLE_UNKNOWN, "bundle.unknown", 19, "obsload list shows what is installed")                                \
	X(PARAMETER_UNKNOWN, "parameter.unknown", 20, "obsload params shows what there is")                            \
	X(PARAMETER_VALUE, "parameter.value", 20, "obsload params shows types and ranges")                             \
	X(TRUST_UNKNOWN, "trust.unknown", 21, "obsload trust list shows who is trusted")                               \
	X(TRUST_EXISTS, "trust.exists", 21, "nothing to do, or remove it first")                                       \
	X(AUDIT_BROKEN, "audit.broken", 22, "somebody changed the audit log: keep it and look")                        \
	/* building */                                                                                                 \
	X(DEFINITION_SYNTAX, "definition.syntax", 30, "correct bundle.json at the place named above")                  \
	X(DEFINITION_VALUE, "definition.value", 30, "correct bundle.json at the place named above")                    \
	X(BUILD_COMPILER, "build.compiler", 31, "correct the source at the place the compiler names")                  \
	X(BUILD_TOOL, "build.tool", 31, "install clang and llvm-strip")                                                \
	X(BUILD_KCONFIG, "build.kconfig", 32, "do not use __kconfig: it would be baked in from the build host")        \
	X(BUILD_LICENCE, "build.licence", 32, "add: char LICENSE[] SEC(\"license\") = \"GPL\";")                       \
	X(BUILD_OUTPUT, "build.output", 32, "describe an event for the output: OBS_EVENT in <obs/obs.h>")              \
	X(BUILD_FIELD, "build.field", 32, "use a type or format that obs-bundle(5) lists")                             \
	X(BUILD_PARAMETER, "build.parameter", 32, "give it bounds and help: OBS_PARAM in <obs/obs.h>")                 \
	X(BUILD_PROGRAM, "build.program", 32, "use a section that obs-bundle(5) lists")                                \
	X(KEY_UNREADABLE, "key.unreadable", 33, "check path, passphrase and PKCS#11 URI")                              \
	X(KEY_MISMATCH, "key.mismatch", 33, "give the key that belongs to the certificate")                            \
	X(KEY_EXISTS, "key.exists", 33, "choose another folder: keys are never overwritten")
