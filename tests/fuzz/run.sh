#!/usr/bin/env bash
# Runs every fuzz target for some seconds from its committed corpus; a crash is kept and shown.
#
#	tests/fuzz/run.sh PROGRAMS_FOLDER SECONDS TARGET...
set -uo pipefail

programs=$1 seconds=$2
shift 2
root=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0

for target in "$@"; do
	work=$programs/$target.work
	mkdir -p "$work"
	args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -len_control=0 -artifact_prefix="$work/crash-")
	[ -f "$root/$target.dict" ] && args+=(-dict="$root/$target.dict")
	mkdir -p "$work/corpus"
	seeds=()
	for folder in "$root/corpus/$target" "$programs/$target.seeds"; do
		[ -d "$folder" ] && seeds+=("$folder")
	done
	if "$programs/$target" "${args[@]}" "$work/corpus" "${seeds[@]}" >"$work/log" 2>&1; then
		runs=$(awk '/stat::number_of_executed_units/ {print $2}' "$work/log")
		cov=$(grep -oE 'cov: [0-9]+' "$work/log" | tail -n 1)
		printf 'ok %s (%s runs, %s)\n' "$target" "$runs" "$cov"
		passed=$((passed + 1))
	else
		printf 'FAIL %s: its log:\n' "$target"
		tail -n 60 "$work/log"
		failed=$((failed + 1))
	fi
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
