#!/usr/bin/env bash
# What the daemon finds and loses of its host: file systems that are full, read-only, missing or wiped, a newer release's state,
# a reboot; two daemons, and requests at the same time.
# shellcheck disable=SC2317,SC2119
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"
crash_bundles

everything() { PYTHONPATH=$E2E_ROOT/tests/e2e/tools python3 -c 'import host, json; print(json.dumps(host.everything(), sort_keys=True))'; }
agrees() { [ "$(everything | jq .agrees)" = true ]; }
is_as() { [ "$(everything)" = "$1" ]; }
# refused_start NAME CODE STATUS [OPTION...]: the daemon does not start, and says why.
refused_start() {
	local name=$1 code=$2 status=$3
	shift 3
	check_refused "$name" "$code" "$status" timeout 30 "$OBSLOAD" run --config-dir "$E2E_TMP/etc" --state-dir "$E2E_TMP/state" \
		--run-dir "$E2E_TMP/run" --bpffs "$E2E_TMP/bpf" "$@"
}
serials() { load list --json | jq -r '.bundles[].serial' | paste -sd' '; }
id() { load status --json | jq -r '[.bundles[].programs[].id] | first'; }

daemon_start
check trust load trust add "$E2E_TMP/signer/signer.pem" --names 'test/*'
check install load install "$E2E_TMP/1.tar"
before=$(everything)

# ---- read-only ----
mount --bind "$E2E_TMP/state" "$E2E_TMP/state"
mount -o remount,bind,ro "$E2E_TMP/state"
# The daemon holds the folder as it was: a file system that turns read-only underneath is what it would see.
daemon_stop
refused_start read_only_state_told state.io 18
umount "$E2E_TMP/state"
daemon_start
check read_only_state_changed_nothing wait_for 10 is_as "$before"

# ---- /run wiped ----
rm -rf "$E2E_TMP/run"
check_refused run_wiped_is_told daemon.absent 4 load list
check run_wiped_programs_stay bpftool prog show name "${OBS_TEST_PREFIX}_link"
daemon_stop
daemon_start
check run_wiped_start_finds_all wait_for 10 is_as "$before"
daemon_stop
rm -rf "$E2E_TMP/run"
daemon_start
check run_wiped_before_a_start_finds_all wait_for 10 is_as "$before"

# ---- bpffs ----
first=$(id)
daemon_stop
mkdir "$E2E_TMP/plain"
daemon_start --bpffs "$E2E_TMP/plain"
check bpffs_missing_is_mounted test bpf_fs = "$(stat -f -c %T "$E2E_TMP/plain")"
check_eq bpffs_of_nobody_attaches_anew 1 "$(serials)"
check "and not what is pinned elsewhere" test "$(id)" != "$first"
daemon_stop
umount "$E2E_TMP/plain"
mkdir -p "$E2E_TMP/bpf/obsload/test/crash/9/links" "$E2E_TMP/bpf/obsload/else"
daemon_start
check bpffs_not_empty_is_cleared wait_for 10 is_as "$before"
check_eq bpffs_not_empty_adopts "$first" "$(id)"
daemon_stop
refused_start bpffs_that_is_a_file_told kernel.no_bpf 17 --bpffs "$E2E_TMP/signer/signer.pem"
umount "$E2E_TMP/bpf"
tc qdisc del dev lo clsact
mount -t bpf bpf "$E2E_TMP/bpf"

# ---- a newer release ----
cp -a "$E2E_TMP/state" "$E2E_TMP/kept"
jq '.schema += 1' "$E2E_TMP/kept/state.json" >"$E2E_TMP/state/state.json"
newer=$(sha256sum <"$E2E_TMP/state/state.json")
refused_start newer_state_told state.version 18
check_eq newer_state_untouched "$newer" "$(sha256sum <"$E2E_TMP/state/state.json")"
cp -a "$E2E_TMP/kept/state.json" "$E2E_TMP/state/state.json"

# ---- a reboot: another boot id, nothing pinned ----
echo 01234567-89ab-4cde-8f01-23456789abcd >"$E2E_TMP/boot_id"
mount --bind "$E2E_TMP/boot_id" /proc/sys/kernel/random/boot_id
daemon_start
attached() { load audit --json --last 20 | jq -r '[.entries[] | select(.action == "start" or .action == "adopt")] | last | "\(.action) \(.verdict)"'; }
check_eq reboot_attaches_again "start done" "$(attached)"
check_eq reboot_is_remembered 01234567-89ab-4cde-8f01-23456789abcd "$(jq -r .boot_id "$E2E_TMP/state/state.json")"
umount /proc/sys/kernel/random/boot_id
daemon_stop
daemon_start
check reboot_and_back_finds_all wait_for 10 is_as "$before"

# ---- a configuration of OpenSSL under which it finds no algorithm ----
printf 'openssl_conf = all\n[all]\nalg_section = algorithms\n[algorithms]\ndefault_properties = fips=yes\n' >"$E2E_TMP/odd.cnf"
configuration=$(readlink -f "$(openssl version -d | cut -d'"' -f2)/openssl.cnf")
daemon_stop
mount --bind "$E2E_TMP/odd.cnf" "$configuration"
check_eq openssl_obeys_its_configuration refused "$(openssl dgst -sha256 "$E2E_TMP/1.tar" >/dev/null 2>&1 || echo refused)"
daemon_start
check openssl_configuration_not_read load verify "$E2E_TMP/1.tar"
umount "$configuration"
check openssl_configuration_changed_nothing wait_for 10 is_as "$before"

# ---- a log that nobody reads any more, as of `obsload run --foreground 2>&1 | tee log` ----
daemon_stop
mkfifo "$E2E_TMP/log"
cat "$E2E_TMP/log" >/dev/null &
reader=$!
"$OBSLOAD" run --foreground --config-dir "$E2E_TMP/etc" --state-dir "$E2E_TMP/state" --run-dir "$E2E_TMP/run" \
	--bpffs "$E2E_TMP/bpf" >"$E2E_TMP/log" 2>&1 &
E2E_DAEMON=$!
wait_for 20 load list || fail unread_log "the daemon does not answer"
kill "$reader"
wait "$reader" || true
monitor=$(load status --json | jq .daemon.pid)
worker() { load status --json | jq .daemon.worker_pid; }
first_worker=$(worker)
kill -KILL "$first_worker"
next_worker() { [ "$(worker)" != "$first_worker" ] && [ "$(worker)" != 0 ]; }
check unread_log_takes_lines wait_for 10 next_worker
check_eq unread_log_ends_nothing "$monitor" "$(load status --json | jq .daemon.pid)"
check unread_log_supervisor_lives kill -0 "$E2E_DAEMON"
daemon_stop
daemon_start

# ---- a disk that is full when the daemon starts ----
running=$(id)
daemon_stop
cp -a "$E2E_TMP/state" "$E2E_TMP/state.kept"
fill_disk() {
	mount -t tmpfs -o size=8m,mode=700 full "$E2E_TMP/state"
	cp -a "$E2E_TMP/state.kept/." "$E2E_TMP/state/"
	dd if=/dev/zero of="$E2E_TMP/state/fill" bs=4k 2>/dev/null || true
}
fill_disk
daemon_start
check_eq full_disk_takes_nothing_away "$running" "$(id)"
check full_disk_warns grep -qF 'the audit log cannot be written' <<<"$(load status)"
check_refused full_disk_changes_nothing state.io 18 load remove test/crash
daemon_stop
mount --bind "$E2E_TMP/boot_id" /proc/sys/kernel/random/boot_id
daemon_start
check_eq full_disk_of_another_boot_starts "$running" "$(id)"
umount /proc/sys/kernel/random/boot_id
adopted() { load audit --json --last 1 | jq -e '.entries[-1] | .action == "adopt" and .detail != null'; }
rm "$E2E_TMP/state/fill"
check full_disk_line_comes_later wait_for 15 adopted
check full_disk_log_holds load audit --verify
check_eq full_disk_warns_no_more 0 "$(load status --json | jq '.warnings | length')"
daemon_stop
umount "$E2E_TMP/state"
daemon_start
check_eq full_disk_still_the_same_program "$running" "$(id)"

# ---- what was taken over then, and is revoked before its line is written ----
daemon_stop
fill_disk
daemon_start
rm "$E2E_TMP/state/fill"
load revoke "$E2E_TMP/signer/signer.pem" >/dev/null || fail full_disk_revoke "revoke failed"
owes_nothing() { load status >"$E2E_TMP/status" && ! grep -qF 'the audit log cannot be written' "$E2E_TMP/status"; }
check full_disk_revoked_owes_nothing wait_for 15 owes_nothing
check_eq full_disk_revoked_is_the_last_word "detach done" "$(load audit --json --last 1 | jq -r '.entries[-1] | "\(.action) \(.verdict)"')"
load revoke --undo "$E2E_TMP/signer/signer.pem" >/dev/null
daemon_stop
umount "$E2E_TMP/state"
daemon_start
running=$(id)

# ---- what is installed already cannot be stored once more ----
mount --bind "$E2E_TMP/state/bundles" "$E2E_TMP/state/bundles"
mount -o remount,bind,ro "$E2E_TMP/state/bundles"
check_refused same_again_unstored_told state.io 18 load install "$E2E_TMP/1.tar"
check_eq same_again_unstored_audited "install failed state.io" \
	"$(load audit --json --last 1 | jq -r '.entries[-1] | "\(.action) \(.verdict) \(.code)"')"
check_eq same_again_unstored_goes_on "$running" "$(id)"
umount "$E2E_TMP/state/bundles"

# ---- two at once ----
refused_start second_daemon_told daemon.running 4
# ended FILE COMMAND...: "done", or the error's code.
ended() {
	local file=$1
	shift
	if load "$@" >"$file.out" 2>&1; then echo "done" >"$file"; else grep -oE '\[[a-z.]+\]' "$file.out" >"$file"; fi
}
# at_once NAME EXPECTED "WORDS" "WORDS": both requests at the same time; what they end with, sorted.
at_once() {
	local one two words
	read -ra words <<<"$3"
	ended "$E2E_TMP/one" "${words[@]}" &
	one=$!
	read -ra words <<<"$4"
	ended "$E2E_TMP/two" "${words[@]}" &
	two=$!
	wait "$one" "$two"
	check_eq "$1" "$2" "$(sort "$E2E_TMP/one" "$E2E_TMP/two" | paste -sd' ')"
}
load remove test/crash >/dev/null
for round in 1 2 3 4 5; do
	at_once "two_installs_of_one_serial_$round" "done done" "install --allow-downgrade $E2E_TMP/1.tar" "install --allow-downgrade $E2E_TMP/1.tar"
	check_eq "one_runs_$round" "1 1" "$(serials) $(load audit --json --last 2 | jq '[.entries[] | select(.detail == "already installed")] | length')"
	at_once "an_upgrade_and_a_remove_$round" "done done" "install $E2E_TMP/2.tar" "remove test/crash"
	# Whoever came last: the new serial, or nothing; never the old one.
	check "the_last_one_wins_$round" grep -qxE '2|' <<<"$(serials)"
	check "programs_agree_$round" wait_for 10 agrees
	load remove test/crash >/dev/null 2>&1 || true
	[ -z "$(serials)" ] || fail "removed_$round" "$(serials)"
done
daemon_stop

# ---- an unpacker that does not work: nobody was refused ----
copied_daemon
# Into the same file, which the supervisor holds open; not while that one is running.
unpacker_is() { wait_for 10 cp "$1" "$E2E_TMP/daemon/libexec/obsload/unpacker"; }
daemon_start
load install --allow-downgrade "$E2E_TMP/1.tar" >/dev/null
running=$(id)
before=$(everything)
daemon_stop
unpacker_is /bin/false
daemon_start
attached_id() { bpftool prog show id "$running"; }
gone() { ! attached_id; }
check broken_unpacker_detaches_nothing attached_id
check_eq broken_unpacker_waits "waiting archive.unpacker" \
	"$(load list --json | jq -r '.bundles[0] | "\(.state) \(.reason | match("\\[(.*)\\]").captures[0].string)"')"
check broken_unpacker_warns grep -qF 'test/crash is not read' <<<"$(load status)"
check_eq broken_unpacker_start_audited "start failed archive.unpacker" \
	"$(load audit --json --last 1 | jq -r '.entries[-1] | "\(.action) \(.verdict) \(.code)"')"
unpacker_is "$BUILD/libexec/obsload/unpacker"
runs() { [ "$(load list --json | jq -r '.bundles[0].state')" = running ]; }
check mended_unpacker_brings_it_up wait_for 30 runs
check_eq mended_unpacker_adopts "$running adopt done" \
	"$(id) $(load audit --json --last 1 | jq -r '.entries[-1] | "\(.action) \(.verdict)"')"
check mended_unpacker_finds_all wait_for 10 is_as "$before"
daemon_stop
unpacker_is /bin/false
daemon_start
load revoke "$E2E_TMP/signer/signer.pem" >/dev/null || fail revoke_of_what_waits "revoke failed"
check_eq revoked_while_it_waits "refused" "$(load list --json | jq -r '.bundles[0].state')"
check "and it is detached" wait_for 10 gone
unpacker_is "$BUILD/libexec/obsload/unpacker"
load revoke --undo "$E2E_TMP/signer/signer.pem" >/dev/null
running=$(id)
daemon_stop
unpacker_is /bin/false
daemon_start
check broken_unpacker_lets_remove load remove test/crash
check "and nothing of it is left" wait_for 10 gone
check_refused broken_unpacker_told archive.unpacker 10 load install "$E2E_TMP/1.tar"
check_eq broken_unpacker_audited "install failed archive.unpacker" \
	"$(load audit --json --last 1 | jq -r '.entries[-1] | "\(.action) \(.verdict) \(.code)"')"
daemon_stop
e2e_done
