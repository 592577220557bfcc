#!/usr/bin/env bash
# A bundle's life on a host: installed, kept over a stop, a kill and a crash of each process, upgraded, removed; and what
# is refused on the way, which changes nothing.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/trust_lib.sh
. "$(dirname "$0")/trust_lib.sh"
e2e_init "$@"
trust_init

# life SERIAL FILE: test/life.
life() { bundle test/life "$1" "$2" signer; }
# The ids of this test's programs in the kernel: those that the daemon reports, if they are still there.
ids() { id_of test/life; }
in_kernel() { bpftool prog show id "$1" >/dev/null 2>&1; }
runs() { [ "$(state_of test/life)" = running ]; }
pid_of() { load status --json | jq -r ".daemon.$1"; }
other_pid() { local now; now=$(pid_of "$1") && [ "$now" -gt 0 ] && [ "$now" != "$2" ]; }
# Everything that an install could leave, in one text.
footprint() {
	find "$E2E_TMP/bpf" "$E2E_TMP/state" "$E2E_TMP/etc" -type f ! -name 'audit.*' -exec sha256sum {} + 2>/dev/null | sort
	find "$E2E_TMP/bpf" ! -type f | sort
	load list --json
}
gets_events() {
	timeout 10 "$OBSLOAD" events --run-dir "$E2E_TMP/run" --json --count 1 trust.exec >"$E2E_TMP/event" 2>&1 &
	local reader=$!
	while kill -0 "$reader" 2>/dev/null; do
		/bin/true
		sleep 0.1
	done
	wait "$reader"
}

make_signer signer
make_signer stranger
life 2 life2.tar
life 3 life3.tar
DESCRIPTION="Another content." life 3 other3.tar
life 4 life4.tar

# ---- before anybody is trusted ----
daemon_start
before=$(footprint)
check_refused untrusted_signer_refused signature.untrusted 11 load install "$E2E_TMP/life2.tar"
check_eq refusal_changes_nothing "$before" "$(footprint)"
check_eq refusal_names_signer signature.untrusted "$(load audit --json | jq -r '.entries[-1].aside[].code')"
head -c 3000 "$E2E_TMP/life2.tar" >"$E2E_TMP/cut.tar"
check_refused truncated_file_refused archive.truncated 10 load install "$E2E_TMP/cut.tar"
: >"$E2E_TMP/empty.tar"
check_refused empty_file_refused archive.truncated 10 load install "$E2E_TMP/empty.tar"
check trust_add load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*'
check_refused second_daemon_refused daemon.running 4 timeout 20 "$OBSLOAD" run --config-dir "$E2E_TMP/etc" \
	--state-dir "$E2E_TMP/state" --run-dir "$E2E_TMP/run" --bpffs "$E2E_TMP/bpf"

# ---- a signature that does not count beside one that does ----
sign life2.tar stranger

# ---- install ----
check verify_attaches_nothing load verify "$E2E_TMP/life2.tar"
check_eq verify_installs_nothing '[]' "$(load list --json | jq -c .bundles)"
check install load install "$E2E_TMP/life2.tar"
check_eq signature_aside_audited "[\"install\",\"done\",1,[{\"signer\":\"$(signer_of stranger)\",\"code\":\"signature.untrusted\"}]]" \
	"$(last_audit '[.action, .verdict, (.signers | length), .aside]')"
check install_runs runs
id=$(ids)
check install_program_in_kernel in_kernel "$id"
check_eq install_again_says_so "already installed" "$(load install --json "$E2E_TMP/life2.tar" | jq -r .action)"
check_eq install_again_keeps_program "$id" "$(ids)"
check events_flow gets_events
check set_parameter load set test/life every=7

# ---- stop and start ----
daemon_stop
check stop_keeps_program_attached in_kernel "$id"
daemon_start
check_eq start_adopts_program "$id" "$(ids)"
check_eq start_audited adopt "$(load audit --json | jq -r '.entries[-1].action')"
check_eq start_keeps_parameter 7 "$(load params test/life --json | jq -r '.bundles[0].parameters[0].value')"
check set_parameter_back load set test/life every=1
check start_reads_on gets_events

# ---- deaths ----
worker=$(pid_of worker_pid)
kill -9 "$worker"
check worker_restarted wait_for 5 other_pid worker_pid "$worker"
check worker_restart_keeps_events gets_events
check_eq worker_restart_counted 1 "$(pid_of worker_restarts)"
monitor=$(pid_of pid)
kill -9 "$monitor"
check monitor_killed_program_stays in_kernel "$id"
check monitor_restarted wait_for 10 other_pid pid "$monitor"
check_eq monitor_restart_adopts "$id" "$(ids)"
check monitor_restart_keeps_events gets_events
kill -9 "$E2E_DAEMON"
wait "$E2E_DAEMON" 2>/dev/null || true
E2E_DAEMON=
check supervisor_killed_program_stays in_kernel "$id"
daemon_start
check_eq supervisor_restart_adopts "$id" "$(ids)"

# ---- upgrade ----
check upgrade load install "$E2E_TMP/life3.tar"
new=$(ids)
check upgrade_new_program_runs in_kernel "$new"
check upgrade_old_program_gone wait_for 5 gone "$id"
check_eq upgrade_one_stored_file 3.tar "$(ls "$E2E_TMP/state/bundles/test/life")"
check_eq upgrade_one_pin_folder 3 "$(ls "$E2E_TMP/bpf/obsload/test/life")"
check_eq upgrade_keeps_parameter 1 "$(load params test/life --json | jq -r '.bundles[0].parameters[0].value')"
before=$(footprint)
check_refused downgrade_refused serial.downgrade 15 load install "$E2E_TMP/life2.tar"
check_refused reused_serial_refused serial.reused 15 load install "$E2E_TMP/other3.tar"
check_eq refused_upgrade_changes_nothing "$before" "$(footprint)"
check refused_upgrade_keeps_program in_kernel "$new"
check downgrade_allowed load install --allow-downgrade "$E2E_TMP/life2.tar"
check_refused downgrade_keeps_memory serial.reused 15 load install "$E2E_TMP/other3.tar"
check upgrade_again load install "$E2E_TMP/life4.tar"

# ---- what fails on the way leaves the old one ----
new=$(ids)
sed -i.good 's/if (!e)/if (0)/' "$E2E_TMP/trust.bpf.c"
life 8 life8.tar
mv "$E2E_TMP/trust.bpf.c.good" "$E2E_TMP/trust.bpf.c"
before=$(footprint)
check_refused verifier_refusal_told kernel.verifier 17 load install "$E2E_TMP/life8.tar"
shows_verifier_log() { ! load install "$E2E_TMP/life8.tar" >"$E2E_TMP/out" 2>&1 && grep -q 'e2e_trust' "$E2E_TMP/out" && grep -q 'R[0-9]' "$E2E_TMP/out"; }
check verifier_log_shown shows_verifier_log
check_eq verifier_refusal_changes_nothing "$before" "$(footprint)"
check verifier_refusal_keeps_program in_kernel "$new"
daemon_stop
mkdir "$E2E_TMP/small"
cp -a "$E2E_TMP/state" "$E2E_TMP/small.copy"
mount -t tmpfs -o size=256k,mode=700 small "$E2E_TMP/state"
at_exit "umount $E2E_TMP/state 2>/dev/null"
cp -a "$E2E_TMP/small.copy/." "$E2E_TMP/state/"
daemon_start
before=$(footprint)
dd if=/dev/zero of="$E2E_TMP/state/fill" bs=4k count=100 status=none 2>/dev/null || true
life 9 life9.tar
check_refused full_disk_told state.io 18 load install "$E2E_TMP/life9.tar"
check_refused full_disk_no_removal_unaudited state.io 18 load remove test/life
rm "$E2E_TMP/state/fill"
check_eq full_disk_changes_nothing "$before" "$(footprint)"
check full_disk_keeps_program in_kernel "$new"
check full_disk_audit_holds load audit
check remount_upgrade load install "$E2E_TMP/life4.tar"
daemon_stop
umount "$E2E_TMP/state"

# ---- reconciliation ----
daemon_start
check_eq start_again_adopts "$new" "$(ids)"
daemon_stop
mkdir -p "$E2E_TMP/state/bundles/test/left"
cp "$E2E_TMP/life3.tar" "$E2E_TMP/state/bundles/test/left/9.tar"
cp "$E2E_TMP/life3.tar" "$E2E_TMP/state/bundles/test/life/3.tar"
mkdir -p "$E2E_TMP/bpf/obsload/test/ghost/9/links"
daemon_start
check_eq start_drops_unknown_files "$E2E_TMP/state/bundles/test/life/4.tar" "$(find "$E2E_TMP/state/bundles" -type f)"
check_eq start_drops_unknown_pins life "$(ls "$E2E_TMP/bpf/obsload/test")"
check_eq start_keeps_known_program "$new" "$(ids)"
daemon_stop
printf 'x' | dd of="$E2E_TMP/state/bundles/test/life/4.tar" bs=1 seek=600 conv=notrunc status=none
daemon_start
check_eq tampered_store_refused refused "$(state_of test/life)"
check tampered_store_detached wait_for 5 gone "$new"
check status_says_why grep -q '\[' <<<"$(load status --json | jq -r '.bundles[0].reason')"
check install_repairs load install "$E2E_TMP/life4.tar"
check install_repairs_runs runs

# ---- trust taken away ----
signer=$(load trust list --json | jq -r '.signers[0].signer')
daemon_stop
printf '%s # lost\n' "$signer" >"$E2E_TMP/etc/revoked"
daemon_start
check_eq revoked_signer_not_run refused "$(state_of test/life)"
check_refused revoked_signer_refused certificate.revoked 11 load install "$E2E_TMP/life4.tar"
rm "$E2E_TMP/etc/revoked"
check install_after_revocation load install "$E2E_TMP/life4.tar"

# ---- remove ----
id=$(ids)
maps=$(bpftool -j prog show id "$id" | jq -r '.map_ids[]')
check remove load remove test/life
check remove_program_gone wait_for 5 gone "$id"
map_left() { for m in $maps; do bpftool map show id "$m" >/dev/null 2>&1 && return 0; done; return 1; }
no_map_left() { ! map_left; }
check remove_maps_gone wait_for 5 no_map_left
check_eq remove_no_pin "" "$(find "$E2E_TMP/bpf/obsload" -mindepth 1)"
check_eq remove_no_file "audit.json audit.log state.json" "$(find "$E2E_TMP/state" -type f -printf '%f\n' | sort | paste -sd' ')"
check_refused remove_again_refused bundle.unknown 19 load remove test/life
check_refused remove_keeps_memory serial.downgrade 15 load install "$E2E_TMP/life3.tar"
check trust_remove load trust remove "${signer:0:12}"
check_refused trust_removed_refused signature.untrusted 11 load install "$E2E_TMP/life4.tar"
check audit_chain_holds load audit --last 1000
daemon_stop
sed -i '2s/"uid":0/"uid":1/' "$E2E_TMP/state/audit.log"
daemon_start
check_refused audit_change_found audit.broken 22 load audit

# ---- the service manager ----
daemon_stop
socat -u "UNIX-RECV:$E2E_TMP/notify" "OPEN:$E2E_TMP/notified,creat,append" &
at_exit "kill $! 2>/dev/null"
wait_for 5 test -S "$E2E_TMP/notify"
NOTIFY_SOCKET=$E2E_TMP/notify daemon_start
check ready_notified wait_for 5 grep -q READY=1 "$E2E_TMP/notified"
kill "$E2E_DAEMON"
status=0
wait "$E2E_DAEMON" || status=$?
E2E_DAEMON=
check_eq stop_ends_well 0 "$status"
check stop_notified wait_for 5 grep -q STOPPING=1 "$E2E_TMP/notified"
check_eq stop_removes_sockets lock "$(ls "$E2E_TMP/run")"
# Signal 9 is this test's own.
check_eq log_tells_no_crash "" "$(grep -E 'Sanitizer|runtime error|by signal' "$E2E_TMP/daemon.log" | grep -v 'signal 9')"
e2e_done
