#!/usr/bin/env bash
# A worker that was taken over sends arbitrary bytes, messages and descriptors to the monitor, for fifteen seconds of lives:
# nothing gets loaded or changed, it gets no descriptor that it should not have, and ends only itself.
# shellcheck disable=SC2317,SC2119
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

crash_bundles
other_program worker "$BUILD/tests/bin/evil_worker"
everything() { PYTHONPATH=$E2E_ROOT/tests/e2e/tools python3 -c 'import host, json; print(json.dumps(host.everything(), sort_keys=True))'; }
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*' >/dev/null
check "a bundle installs" load install "$E2E_TMP/1.tar"
before=$(everything)
monitor=$(load status --json | jq .daemon.pid)
open_files() { find "/proc/$monitor/fd" -type l | wc -l; }
descriptors=$(open_files)
memory() { awk '/^VmRSS/ { print $2 }' "/proc/$monitor/status"; }
rss=$(memory)
lives() { load status --json | jq .daemon.worker_restarts; }
many() { [ "$(lives)" -ge 6 ]; }
wait_for 15 many || true
check "it died and was started again ($(lives) times)" test "$(lives)" -ge 3
check_eq "the monitor is the same" "$monitor" "$(load status --json | jq .daemon.pid)"
check_eq "nothing changed on this host" "$before" "$(everything)"
check "the daemon works" load install "$E2E_TMP/2.tar"
check "its descriptors are as many ($descriptors before, $(open_files) after)" \
	test "$(open_files)" -le $((descriptors + 8))
if grep -q libasan "$BUILD/libexec/obsload/monitor"; then
	skip "its memory is as much" "memory is the sanitizer's"
else
	check "its memory is as much ($rss KiB before, $(memory) after)" test "$(memory)" -le $((rss + 16384))
fi
check_eq "it got nothing that it should not have" "" "$(grep -a 'should not have' "$E2E_TMP/daemon.log" || true)"
sent=$(grep -ac 'evil worker: 100 sent' "$E2E_TMP/daemon.log" || true)
check "it was heard (about $((sent * 100)) messages)" test "$sent" -ge 1
check "what makes no sense ended it" grep -aq 'a message that is none' "$E2E_TMP/daemon.log"
daemon_stop
e2e_done
