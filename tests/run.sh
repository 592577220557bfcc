#!/usr/bin/env bash
# Runs test programs and adds up what they report.
#
#	tests/run.sh LOG_FOLDER PROGRAM...
#
# A program is a cmocka binary (run by TEST_WRAPPER, if set) or an end-to-end script. Binaries, and the scripts that TEST_BESIDE
# names, run TEST_JOBS at a time (as many as there are processors); each other script has the host for itself. What is told
# comes in the order of the programs. Each gets TEST_TIMEOUT seconds (600); its output goes to a log, which is shown when it
# fails. Skipped checks are listed at the end; with CI=true they are failures. The last line is
# "N passed, N failed, N skipped", counted in checks; a program that reports none, or ends badly without saying why, counts as
# one failure.
set -uo pipefail

logs=$1
shift
mkdir -p "$logs"
programs=("$@")
jobs=${TEST_JOBS:-$(nproc)}
passed=0 failed=0 skipped=0
skips=()

alone() {
	case $1 in
	*.sh) [[ " ${TEST_BESIDE:-} " != *" $(basename "$1" .sh) "* ]] ;;
	*) false ;;
	esac
}

# Its last act is to tell status and seconds.
run() {
	local program=$1 log=$2 start=$SECONDS status=0 command=(bash)

	case $program in
	*.sh) ;;
	*) command=(${TEST_WRAPPER:+"$TEST_WRAPPER"}) ;;
	esac
	timeout -k 10 "${TEST_TIMEOUT:-600}" "${command[@]}" "$program" >"$log" 2>&1 </dev/null || status=$?
	echo "$status $((SECONDS - start))" >"$log.part"
	mv "$log.part" "$log.ended"
}

report() {
	local name=$1 log=$2 status seconds good bad skip

	read -r status seconds <"$log.ended"
	rm "$log.ended"
	good=$(grep -caE '^(\[       OK \]|ok )' "$log")
	# cmocka names these once more at its end.
	bad=$(grep -aE '^(\[  FAILED  \] [a-z0-9_]+$|FAIL )' "$log" | sort -u | wc -l)
	mapfile -t skip < <(grep -aE '^(\[  SKIPPED \] [a-z0-9_]+$|SKIP )' "$log" | sort -u)
	if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		bad=1
	elif [ "$status" -eq 0 ] && [ $((good + bad + ${#skip[@]})) -eq 0 ]; then
		echo "FAIL $name: reported no check at all" >>"$log"
		bad=1
	fi
	if [ "${#skip[@]}" -gt 0 ]; then
		skips+=("${skip[@]/#/$name: }")
		[ "${CI:-}" = true ] && bad=$((bad + ${#skip[@]}))
	fi
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + ${#skip[@]}))
	if [ "$bad" -gt 0 ]; then
		printf 'FAILED  %-32s %4d ok %3d failed %4d s, status %d; its log:\n' "$name" "$good" "$bad" "$seconds" "$status"
		sed 's/^/    /' "$log" | tail -n 200
	else
		printf 'passed  %-32s %4d ok %15d s\n' "$name" "$good" "$seconds"
	fi
}

trap 'jobs -p | xargs -r kill 2>/dev/null' EXIT
# Two programs of one name (a binary, a script) have a log each.
log_of() { printf '%s/%s.log\n' "$logs" "$(basename "$1")"; }

started=0 reported=0
while [ "$reported" -lt "${#programs[@]}" ]; do
	while [ "$started" -lt "${#programs[@]}" ]; do
		next=${programs[started]}
		running=$(jobs -rp | wc -l)
		[ "$running" -lt "$jobs" ] || break
		[ "$running" -eq 0 ] || ! { alone "$next" || alone "${programs[started - 1]}"; } || break
		rm -f "$(log_of "$next").ended"
		run "$next" "$(log_of "$next")" &
		started=$((started + 1))
	done
	wait -n
	while [ "$reported" -lt "$started" ] && [ -f "$(log_of "${programs[reported]}").ended" ]; do
		report "$(basename "${programs[reported]}" .sh)" "$(log_of "${programs[reported]}")"
		reported=$((reported + 1))
	done
done

for s in "${skips[@]+"${skips[@]}"}"; do
	printf 'SKIPPED %s\n' "$s"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
