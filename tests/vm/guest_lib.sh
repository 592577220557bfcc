# shellcheck shell=sh
# What the scripts inside a virtual machine share: checks, the daemon's events. Functions are called by check and wait_for,
# and the scripts end with $failed:
# shellcheck disable=SC2317,SC2034

failed=0
release=$(uname -r)
ok() { echo "ok $release $1"; }
fail() {
	echo "FAIL $release $1: $2"
	failed=1
}
# check NAME COMMAND...
check() {
	name=$1
	shift
	if out=$("$@" 2>&1); then ok "$name"; else fail "$name" "'$*' ended with $?: $out"; fi
}
# refused NAME CODE COMMAND...: must fail and name the code.
refused() {
	name=$1 code=$2
	shift 2
	if out=$("$@" 2>&1); then
		fail "$name" "was accepted: $out"
	elif echo "$out" | grep -qF "[$code]"; then
		ok "$name"
	else
		fail "$name" "expected [$code]: $out"
	fi
}
# wait_for SECONDS COMMAND...
wait_for() {
	left=$(($1 * 5))
	shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 0.2
	done
}
# seen NAME EVENT [JQ CONDITION]: the event was delivered.
seen() {
	if wait_for 20 sh -c "jq -e 'select(.event == \"$2\" and (${3:-true}))' /tmp/events | grep -q ."; then
		ok "$1"
	else
		fail "$1" "no $2 with ${3:-anything} among: $(jq -r .event /tmp/events | sort | uniq -c | tr '\n' ' ')"
	fi
}
newer_than() { [ "$(printf '%s\n%s\n' "$1" "${release%%-*}" | sort -V | head -n 1)" = "$1" ]; }

subscribed() { obsload status --json | jq '.daemon.subscribers_total // 0'; }
another_subscribed() { [ "$(subscribed)" -gt "$1" ]; }
# Collects events from now on, in /tmp/events.
events_start() {
	[ -z "${reader:-}" ] || kill "$reader"
	before_reader=$(subscribed)
	obsload events --json >/tmp/events 2>/tmp/events.err &
	reader=$!
	wait_for 30 another_subscribed "$before_reader" || fail "subscribes" "$(cat /tmp/events.err)"
}
programs() { bpftool prog list 2>/dev/null | grep -cE '^[0-9]+:'; }
