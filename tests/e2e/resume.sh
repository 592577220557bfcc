#!/usr/bin/env bash
# `obsload events` goes on when the worker or the monitor dies, and ends when the daemon does.
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
mkdir "$E2E_TMP/bin"
for name in r.a r.b r.c r.d r.e r.f r.g x.other; do
	cp /bin/true "$E2E_TMP/bin/$name"
done
"$OBSPKG" build "$E2E_ROOT/docs/examples/hello" -o "$E2E_TMP/hello.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'demo/*' >/dev/null
load install "$E2E_TMP/hello.tar" >"$E2E_TMP/install" 2>&1 || {
	fail "the bundle installs" "$(<"$E2E_TMP/install")"
	e2e_done
}

act() { for _ in $(seq "$2"); do "$E2E_TMP/bin/$1"; done; }
# seen COUNT NAME: so many events of a program have come; times NAME: how many.
times() { grep -cF "\"name\":\"$1\"" "$E2E_TMP/events" || true; }
seen() { [ "$(times "$2")" -ge "$1" ]; }
worker() { load status --json | jq .daemon.worker_pid; }
served() { [ "$(load status --json | jq .daemon.subscribers)" -ge "$1" ]; }
# noted COUNT TEXT: the reader said so on standard error.
noted() { [ "$(grep -cF "$2" "$E2E_TMP/events.err")" -ge "$1" ]; }

act r.a 5
heard() { timeout 2 "$OBSLOAD" events --run-dir "$E2E_TMP/run" --json --last 9 --count 5 --where 'process.executable.name = r.a'; }
check "what was before is remembered" wait_for 10 heard
events_start "$E2E_TMP/events" hello.exec --last 2 --where 'process.executable.name ~ r.*'
wait_for 5 seen 2 r.a || true
check_eq "--last brings what it asks for" 2 "$(times r.a)"

# ---- the worker dies ----
act r.b 5
wait_for 10 seen 5 r.b || true
before=$(worker)
kill -9 "$before"
act x.other 2
act r.c 5
check "it says that the stream was interrupted" wait_for 10 noted 1 "the stream was interrupted"
check "and that it goes on" wait_for 30 noted 1 "the stream goes on"
act r.d 5
wait_for 10 seen 5 r.d || true
check_eq "each event once: --last is not repeated, and what came meanwhile comes" "2 5 5 5" \
	"$(times r.a) $(times r.b) $(times r.c) $(times r.d)"
check "another worker serves" test "$(worker)" != "$before"
check "numbers only grow" jq -es 'map(.seq // empty) | . == (unique | sort)' "$E2E_TMP/events"
check "the gap of the numbers is told" noted 1 "were lost or not asked for"
check "standard error is JSON too" jq -es 'length >= 3 and all(.[]; .warning | length > 0)' "$E2E_TMP/events.err"

# ---- --count counts over an interruption ----
"$OBSLOAD" events --run-dir "$E2E_TMP/run" --count 4 --where 'process.executable.name = r.e' >"$E2E_TMP/count" 2>"$E2E_TMP/count.err" &
counting=$!
wait_for 5 served 2 || fail "two readers" "$(load status --json)"
act r.e 2
two() { [ "$(wc -l <"$E2E_TMP/count")" -ge 2 ]; }
wait_for 10 two || true
kill -9 "$(worker)"
act r.e 3
status=0
wait "$counting" || status=$?
check_eq "--count goes on counting" "0 4" "$status $(wc -l <"$E2E_TMP/count")"
check "to people it is text" grep -q '^obsload: the stream was interrupted' "$E2E_TMP/count.err"

# ---- the monitor dies ----
wait_for 30 noted 2 "the stream goes on" || true
kill -9 "$(load status --json | jq .daemon.pid)"
check "a stream goes on over the monitor's death" wait_for 60 noted 3 "the stream goes on"
wait_for 20 load list || true
act r.f 5
wait_for 10 seen 5 r.f || true
check_eq "with all events" 5 "$(times r.f)"

# ---- leaving while nobody serves ----
monitor=$(load status --json | jq .daemon.pid)
last=$(worker)
kill -STOP "$monitor"
kill -9 "$last"
wait_for 10 noted 4 "the stream was interrupted" || true
kill -INT "$E2E_EVENTS"
status=0
wait "$E2E_EVENTS" || status=$?
check_eq "a signal ends it while it waits" 0 "$status"
kill -CONT "$monitor"
another() { [ "$(worker)" != "$last" ] && [ "$(worker)" != 0 ]; }
wait_for 20 another || true

# ---- the daemon is killed ----
"$OBSLOAD" events --run-dir "$E2E_TMP/run" --json >"$E2E_TMP/last" 2>"$E2E_TMP/last.err" &
reader=$!
wait_for 10 served 1 || true
kill -9 "$E2E_DAEMON"
wait "$E2E_DAEMON" 2>/dev/null || true
E2E_DAEMON=
status=0
wait "$reader" || status=$?
check_eq "without a daemon it ends" "4 daemon.failed" "$status $(tail -n 1 "$E2E_TMP/last.err" | jq -r .error.code)"
e2e_done
