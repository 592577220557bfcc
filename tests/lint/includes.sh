#!/usr/bin/env bash
# Who may include whom (docs/design/README.md). Prints each line that breaks the direction.
#
#	tests/lint/includes.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
bad=0

# forbid WHAT REGEX PATH...: no line of the files may match.
forbid() {
	local what=$1 regex=$2 hits
	shift 2
	hits=$(grep -rnE --include='*.[ch]' "$regex" "$@" 2>/dev/null || true)
	if [ -n "$hits" ]; then
		printf '%s:\n%s\n' "$what" "$hits"
		bad=1
	fi
}

# only WHAT REGEX ALLOWED...: lines that match may stand only in the allowed files (extended regex of paths).
only() {
	local what=$1 regex=$2 allowed=$3 hits
	hits=$(grep -rnE --include='*.[ch]' "$regex" bundles keys packager loader | grep -vE "^($allowed):" || true)
	if [ -n "$hits" ]; then
		printf '%s:\n%s\n' "$what" "$hits"
		bad=1
	fi
}

forbid "bundles/ includes only itself" '#include "(keys|packager|loader|bpf|tests)/' bundles
forbid "keys/ includes only bundles/ and itself" '#include "(packager|loader|bpf|tests)/' keys
forbid "packager/ and loader/ never include each other" '#include "(loader|tests)/' packager
forbid "packager/ and loader/ never include each other" '#include "(packager|tests)/' loader
forbid "of bpf/ only the event ABI is shared" '[#]include [<"](obs|bpf/include/obs)/([a-df-z]|e[a-uw-z])' bundles keys packager loader
only "only one file includes OpenSSL's CMS" '#include <openssl/cms.h>' 'keys/cms.c'
only "only one file includes libarchive" '#include <archive' 'bundles/archive.c'
only "JSON that counts is read and written by bundles/base/json.c (the client shows some by itself)" 'json_(load|dump)[a-z_]*\(' \
	'bundles/(base/json|manifest_print)\.c|loader/client/(params|pretty|where)\.c'
only "want of memory is told by text_stream_open, not by open_memstream" 'open_memstream\(' 'none'
only "libbpf stays in keys/ (reading objects), loader/monitor/ and the packager's description" '#include <bpf/' \
	'keys/[a-z_]+\.[ch]|loader/monitor/kernel[a-z_]*\.[ch]|loader/monitor/(params|sample[a-z_]*)\.c|packager/describe[a-z_]*\.[ch]'
only "no library's types in other modules' headers" '#include <(openssl/|jansson|archive|bpf/|seccomp|sys/capability)' \
	'.*\.c|keys/[a-z_]*_impl\.h|packager/[a-z_]*_impl\.h|loader/[a-z]*/[a-z_]*_impl\.h'
exit "$bad"
