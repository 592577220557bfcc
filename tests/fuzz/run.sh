#!/usr/bin/env bash
# Runs every fuzz target for some seconds from its committed corpus, FUZZ_JOBS at a time (as many as there are processors).
# What is told comes in the order of the targets. A crash is kept and shown.
#
#	tests/fuzz/run.sh PROGRAMS_FOLDER SECONDS TARGET...
set -uo pipefail

programs=$1 seconds=$2
shift 2
root=$(cd "$(dirname "$0")" && pwd)
targets=("$@") pids=()
passed=0 failed=0
hex_bytes=2048 # a longer input is named, not shown

fuzz() {
	local target=$1 work=$programs/$1.work folder
	local args=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -len_control=0
		-artifact_prefix="$work/crash-")
	[ -f "$root/$target.dict" ] && args+=(-dict="$root/$target.dict")
	mkdir -p "$work/corpus"
	args+=("$work/corpus")
	for folder in "$root/corpus/$target" "$programs/$target.seeds"; do
		[ -d "$folder" ] && args+=("$folder")
	done
	exec "$programs/$target" "${args[@]}" >"$work/log" 2>&1
}

show_crash() {
	local log=$1 input size

	tail -n 60 "$log"
	input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
	[ -f "$input" ] || return
	size=$(stat -c %s "$input")
	printf 'the input, %d bytes, is %s\n' "$size" "$input"
	[ "$size" -le "$hex_bytes" ] && od -A x -t x1z -v "$input"
}

report() {
	local target=$1 status=$2 log=$programs/$1.work/log runs cov

	if [ "$status" -eq 0 ]; then
		runs=$(awk '/stat::number_of_executed_units/ {print $2}' "$log")
		cov=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
		printf 'ok %s (%s runs, %s)\n' "$target" "$runs" "$cov"
		passed=$((passed + 1))
	else
		printf 'FAIL %s (status %d): its log:\n' "$target" "$status"
		show_crash "$log"
		failed=$((failed + 1))
	fi
}

trap 'jobs -p | xargs -r kill 2>/dev/null' EXIT
for ((done = 0; done < ${#targets[@]}; done++)); do
	while [ "${#pids[@]}" -lt "${#targets[@]}" ] && [ "${#pids[@]}" -lt $((done + ${FUZZ_JOBS:-$(nproc)})) ]; do
		fuzz "${targets[${#pids[@]}]}" &
		pids+=($!)
	done
	status=0
	wait "${pids[done]}" || status=$?
	report "${targets[done]}" "$status"
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
