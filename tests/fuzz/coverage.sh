#!/usr/bin/env bash
# How much of the parsers the fuzz targets reach: a table of lines and branches, for the committed corpus alone and together
# with what earlier runs found. The programs are built with clang's source-based coverage.
#
#	tests/fuzz/coverage.sh PROGRAMS_FOLDER FOUND_FOLDER TARGET:FILE[,FILE...]...
set -euo pipefail

programs=$1 found=$2
shift 2
root=$(cd "$(dirname "$0")" && pwd)

# "lines | branches" in percent, of what one run over these folders reaches in these files.
measure() {
	local target=$1 name=$2 files=$3 work=$programs/$1.work
	shift 3

	mkdir -p "$work"
	if ! LLVM_PROFILE_FILE="$work/$name.profraw" "$programs/$target" -runs=0 "$@" >"$work/$name.log" 2>&1; then
		tail -n 30 "$work/$name.log" >&2
		return 1
	fi
	llvm-profdata merge -o "$work/$name.profdata" "$work/$name.profraw"
	# shellcheck disable=SC2086 # a list of files
	llvm-cov export -summary-only -instr-profile="$work/$name.profdata" "$programs/$target" ${files//,/ } |
		jq -er --arg files "$files" '
			def percent(what): [.[].summary[what]] | 100 * (map(.covered) | add) / (map(.count) | add) | round;
			.data[0].files | if length != ($files | split(",") | length) then error("not all of " + $files) else . end |
			"\(percent("lines")) | \(percent("branches"))"'
}

# "keys/ cms cert, bundles/ files" of a list of files, each of which ends in ".c".
brief() {
	local file folder text=

	for file in ${1//,/ }; do
		if [ "${file%/*}" = "${folder:-}" ]; then
			text+=" "
		else
			folder=${file%/*}
			text+="${text:+, }$folder/ "
		fi
		text+=$(basename "$file" .c)
	done
	printf '%s' "$text"
}

printf '| target | is there for | lines %% | branches %% | with found: lines %% | branches %% |\n| --- | --- | --- | --- | --- | --- |\n'
for entry in "$@"; do
	target=${entry%%:*} files=${entry#*:} seeds=()
	for folder in "$root/corpus/$target" "$programs/$target.seeds"; do
		[ -d "$folder" ] && seeds+=("$folder")
	done
	committed=$(measure "$target" committed "$files" "${seeds[@]}")
	together="- | -"
	if [ -d "$found/$target.work/corpus" ]; then
		together=$(measure "$target" together "$files" "${seeds[@]}" "$found/$target.work/corpus")
	fi
	printf '| %s | %s | %s | %s |\n' "$target" "$(brief "$files")" "$committed" "$together"
done
