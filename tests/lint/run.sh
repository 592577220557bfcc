#!/usr/bin/env bash
# Every static check; all run, and the status tells whether all were clean.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
failed=0 passed=0

run() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		printf 'passed  %s\n' "$name"
		passed=$((passed + 1))
	else
		printf 'FAILED  %s\n%s\n' "$name" "$out"
		failed=$((failed + 1))
	fi
}

list() { git ls-files -co --exclude-standard "$@"; }

mapfile -t c_files < <(list '*.c' | grep -v '\.bpf\.c$')
# Declaration tags and sections before a function are more than clang-format 14 understands: BPF sources are left out.
mapfile -t formatted < <(list '*.c' '*.h' | grep -vE '^(tests/)?bpf/')
mapfile -t own_c < <(printf '%s\n' "${c_files[@]}" | grep -E '^(bundles|keys|packager|loader)/')
mapfile -t shell < <(
	list '*.sh' .ci/run
	list | while read -r f; do [ "${f##*.}" != sh ] && [ -f "$f" ] && head -c 20 "$f" | grep -qa '^#!.*\(ba\)\?sh' && echo "$f"; done
)
mapfile -t man < <(list 'docs/man/*.[1-8]')
flags=()
eval "flags=($(make -s print-cppflags))"

tidy() {
	printf '%s\0' "${own_c[@]}" | xargs -0 -P "$(nproc)" -n 8 tests/lint/tidy.sh "${#flags[@]}" "${flags[@]}"
}

private_keys() { ! git grep -lE 'BEGIN ([A-Z]+ )?PRIVATE KEY-----$' -- ':!*.md'; }

run "include direction" tests/lint/includes.sh
run "error codes in the manuals" tests/lint/codes.sh
run "no private keys" private_keys
run "clang-format" clang-format --dry-run -Werror "${formatted[@]}"
run "shellcheck" shellcheck -S style -x -P SCRIPTDIR "${shell[@]}"
run "codespell" codespell --quiet-level=2 --ignore-words=tests/lint/words "${c_files[@]}" "${shell[@]}" "${man[@]}" README.md docs/design
[ "${#man[@]}" -gt 0 ] && run "mandoc" mandoc -Tlint -W warning "${man[@]}"
# memleak: cppcheck does not know cleanup attributes, so that every owner looks leaked; LeakSanitizer and valgrind do.
run "cppcheck" cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck \
	--suppress=memleak '-DLIBBPF_OPTS(t,n,...)=struct t n' -j "$(nproc)" -D__x86_64__ -I. "${own_c[@]}"
run "clang-tidy" tidy
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
