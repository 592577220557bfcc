#!/usr/bin/env bash
# Runs test programs one after the other and adds up what they report.
#
#	tests/run.sh LOG_FOLDER PROGRAM...
#
# A program is a cmocka binary (run by TEST_WRAPPER, if set) or an end-to-end script. Each gets TEST_TIMEOUT seconds (600);
# its output goes to a log, which is shown when it fails. Skipped checks are listed at the end; with CI=true they are
# failures. The last line is "N passed, N failed, N skipped", counted in checks; a program that reports none, or ends badly
# without saying why, counts as one failure.
set -uo pipefail

logs=$1
shift
mkdir -p "$logs"
passed=0 failed=0 skipped=0
skips=()

for program in "$@"; do
	name=$(basename "$program" .sh)
	log=$logs/$name.log
	start=$SECONDS
	status=0
	case $program in
	*.sh) timeout -k 10 "${TEST_TIMEOUT:-600}" bash "$program" >"$log" 2>&1 </dev/null || status=$? ;;
	*) timeout -k 10 "${TEST_TIMEOUT:-600}" ${TEST_WRAPPER:+"$TEST_WRAPPER"} "$program" >"$log" 2>&1 </dev/null || status=$? ;;
	esac
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
		printf 'FAILED  %-32s %4d ok %3d failed %4d s, status %d; its log:\n' "$name" "$good" "$bad" $((SECONDS - start)) "$status"
		sed 's/^/    /' "$log" | tail -n 200
	else
		printf 'passed  %-32s %4d ok %15d s\n' "$name" "$good" $((SECONDS - start))
	fi
done

for s in "${skips[@]+"${skips[@]}"}"; do
	printf 'SKIPPED %s\n' "$s"
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
