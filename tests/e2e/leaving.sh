#!/usr/bin/env bash
# What a bundle counted and sent before it goes arrives: at an upgrade and at a remove, exactly, and before the notice of it.
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
mkdir "$E2E_TMP/bin"
for letter in k f; do
	cp /bin/true "$E2E_TMP/bin/t.$letter"
done
for serial in 1 2; do
	cp -r "$E2E_ROOT/tests/e2e/bundles/types" "$E2E_TMP/$serial"
	sed -i "s/\"serial\": 1/\"serial\": $serial/" "$E2E_TMP/$serial/bundle.json"
	"$OBSPKG" build "$E2E_TMP/$serial" -o "$E2E_TMP/$serial.tar" \
		--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
done
daemon_start
load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*' >/dev/null
load install "$E2E_TMP/1.tar" >"$E2E_TMP/install" 2>&1 || {
	fail "the bundle installs" "$(<"$E2E_TMP/install")"
	e2e_done
}
events_start "$E2E_TMP/events" types.kept flood.record obs.bundle
served() { [ "$(load status --json | jq .daemon.subscribers)" = 1 ]; }
wait_for 20 served || fail "the reader is served" "$(load status --json)"

ask() { "$E2E_TMP/bin/t.$1"; }
sum() { jq -s "map(select($1) | ${2:-1}) | add // 0" "$E2E_TMP/events"; }
kept() { sum '.event == "types.kept"' .count; }
noticed() { [ "$(sum ".event == \"obs.bundle\" and .action == \"$1\"")" -ge 1 ]; }
# Whatever is told of the bundle after the notice.
after() { jq -s "(map(select(.action == \"$1\")) | last.seq) as \$at | map(select(.event == \"types.kept\" and .seq > \$at)) | length" "$E2E_TMP/events"; }
# Of this test's daemon: others may run beside it.
maps() { bpftool map show --json 2>/dev/null | jq --arg ids "$IDS" '[.[] | select(.id | IN($ids | split(" ") | map(tonumber) | .[]))] | length'; }
no_maps() { [ "$(maps)" = 0 ]; }

# ---- an upgrade ----
for _ in 1 2 3; do ask k; done
sleep 0.3
check_eq "an interval of an hour tells nothing meanwhile" 0 "$(kept)"
check "upgrade" load install "$E2E_TMP/2.tar"
check "the upgrade is told" wait_for 10 noticed upgraded
check_eq "what the old one counted is told" 3000 "$(kept)"
check_eq "before the notice" 0 "$(after upgraded)"

# ---- a remove ----
ask k
ask k
IDS=$(for id in $(load status test/types --json | jq '.bundles[0].programs[].id'); do
	bpftool prog show id "$id" --json | jq -r '.map_ids[]'
done | sort -u | xargs)
check "the kernel has its maps" test "$(maps)" -gt 5
ask f
check "remove" load remove test/types
check "the remove is told" wait_for 10 noticed removed
check_eq "all that was counted is told" 5000 "$(kept)"
lost=$(sum '.event == "obs.lost"' .count)
check_eq "all that was sent is told, or told as lost ($lost)" 600 "$(($(sum '.event == "flood.record"') + lost))"
check_eq "nothing comes after the notice" 0 "$(after removed)"
check "the kernel has none of its maps" wait_for 10 no_maps

# ---- a remove while the worker starts again ----
check "install again" load install --allow-downgrade "$E2E_TMP/1.tar"
ask k
kill -9 "$(load status --json | jq .daemon.worker_pid)"
check "remove without a worker" load remove test/types
check_eq "the next worker took in what there was" "" "$(grep -aE 'no worker runs|still reads' "$E2E_TMP/daemon.log" || true)"
wait_for 20 test 0 -ne "$(load status --json | jq .daemon.worker_pid)" || true
check_eq "which runs on" 1 "$(load status --json | jq .daemon.worker_restarts)"
events_stop
daemon_stop
check_eq "the log tells no crash" "" "$(grep -E 'Sanitizer|runtime error' "$E2E_TMP/daemon.log" || true)"
e2e_done
