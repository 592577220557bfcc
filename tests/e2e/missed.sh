#!/usr/bin/env bash
# Runs that the kernel skips are losses: the stream, status and the kernel's own counter tell the same number, over a restart
# of the worker too.
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
mkdir "$E2E_TMP/bin"
cp /bin/true "$E2E_TMP/bin/t.m"
"$OBSPKG" build "$E2E_ROOT/tests/e2e/bundles/missed" -o "$E2E_TMP/missed.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*' >/dev/null
load install "$E2E_TMP/missed.tar" >"$E2E_TMP/install" 2>&1 || {
	fail "the bundle installs" "$(<"$E2E_TMP/install")"
	e2e_done
}
events_start "$E2E_TMP/events"
served() { [ "$(load status --json | jq .daemon.subscribers)" = 1 ]; }
wait_for 20 served || fail "the reader is served" "$(load status --json)"

status() { load status test/missed --json | jq -c ".bundles[0]$1"; }
# told: what the stream told. made: what the programs made the kernel skip, as they say. counted: what the kernel counts.
told() { jq -s 'map(select(.event == "obs.lost" and .source == "missed" and .bundle == "test/missed") | .count) | add // 0' "$E2E_TMP/events"; }
made() { jq -s 'map(select(.event == "missed.run") | .faults) | add // 0' "$E2E_TMP/events"; }
id=$(status '.programs[0].id')
counted() { bpftool prog show id "$id" --json | jq '.recursion_misses // 0'; }
all_told() { [ "$(told)" -ge "$(counted)" ] && [ "$(made)" -gt 0 ]; }

check_eq "nothing was skipped so far" "0 0" "$(counted) $(status .lost.missed)"
"$E2E_TMP/bin/t.m"
wait_for 10 all_told || true
check "the kernel skips runs" test "$(counted)" -gt 0
check_eq "the kernel counts what the program made it skip" "$(made)" "$(counted)"
check_eq "the stream tells as many" "$(counted)" "$(told)"
check_eq "status tells as many" "$(counted)" "$(status .lost.missed)"
check_eq "and of the program" "$(counted)" "$(status '.programs[0].missed')"
check "status shows it to people" grep -q "lost missed $(counted)" <(load status test/missed)

# ---- over a restart of the worker: told once ----
worker() { load status --json | jq .daemon.worker_pid; }
before=$(worker)
kill -9 "$before"
another() { [ "$(worker)" != "$before" ] && [ "$(worker)" != 0 ]; }
wait_for 10 another || fail "the worker starts again" "$(<"$E2E_TMP/daemon.log")"
wait_for 20 served || fail "the reader is served again" "$(load status --json)"
runs=$(made)
"$E2E_TMP/bin/t.m"
more() { [ "$(made)" -gt "$runs" ] && all_told; }
check "more was skipped" wait_for 10 more
check_eq "the stream tells each run once" "$(counted)" "$(told)"
check_eq "status tells all" "$(counted)" "$(status .lost.missed)"
events_stop

# ---- the next daemon starts counting where the programs are, and says all of it again ----
daemon_stop
daemon_start
check_eq "the next daemon's status tells all" "$(counted)" "$(status .lost.missed)"
events_start "$E2E_TMP/next" --last 1000
next_told() { [ "$(jq -s 'map(select(.event == "obs.lost" and .source == "missed") | .count) | add // 0' "$E2E_TMP/next")" = "$(counted)" ]; }
check "and so does its stream" wait_for 10 next_told
events_stop

# ---- an upgrade has programs of its own, which start at none ----
cp -r "$E2E_ROOT/tests/e2e/bundles/missed" "$E2E_TMP/second"
sed -i 's/"serial": 1/"serial": 2/' "$E2E_TMP/second/bundle.json"
"$OBSPKG" build "$E2E_TMP/second" -o "$E2E_TMP/second.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
check "upgrade" load install "$E2E_TMP/second.tar"
check_eq "none of its runs was skipped" 0 "$(status .lost.missed)"
id=$(status '.programs[0].id')
"$E2E_TMP/bin/t.m"
check "its skipped runs are counted" test "$(counted)" -gt 0
check_eq "status tells them" "$(counted)" "$(status .lost.missed)"
daemon_stop
check_eq "the log tells no crash" "" "$(grep -E 'Sanitizer|runtime error' "$E2E_TMP/daemon.log" || true)"
e2e_done
