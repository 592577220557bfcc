#!/usr/bin/env bash
# The memory of a host, state.json, damaged, lost, or of a newer obsload: what the host still refuses, and what it tells.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/trust_lib.sh
. "$(dirname "$0")/trust_lib.sh"
e2e_init "$@"
trust_init

make_signer one
make_signer stranger
bundle test/a 2 a2.tar one
bundle test/a 3 a3.tar one
bundle test/b 4 b4.tar one
bundle test/b 5 b5.tar one
bundle test/gone 6 gone6.tar one
bundle test/gone 7 gone7.tar one
# The same serials with other content.
sed -i 's/One of so many/Another/' "$E2E_TMP/trust.bpf.c"
bundle test/b 5 b5-other.tar one
bundle test/a 3 a3-other.tar one
bundle test/a 3 a3-stranger.tar stranger

warning() { load status --json | jq -r '.warnings[]' | grep -F "state.json was $1"; }
no_warning() { ! load status --json | jq -r '.warnings[]' | grep -F state.json; }
start() { daemon_start --control-group nogroup; }

start
check fresh_host_warns_of_nothing no_warning
load trust add "$E2E_TMP/one/signer.pem" --names 'test/*' >/dev/null
check install_a load install "$E2E_TMP/a3.tar"
check install_b load install "$E2E_TMP/b5.tar"
check downgrade_b load install --allow-downgrade "$E2E_TMP/b4.tar"
check install_gone load install "$E2E_TMP/gone7.tar"
check remove_gone load remove test/gone
check set_a load set test/a every=7
check_refused accept_without_reason request.invalid 5 load accept state
check_refused accept_something_else usage 2 load accept everything
a=$(id_of test/a) b=$(id_of test/b)
daemon_stop
cp -a "$E2E_TMP/state" "$E2E_TMP/whole"

# What every recovery must still know: rollback is refused, what ran goes on.
remembers() { # NAME
	check_eq "$1_programs_go_on" "$a $b running running" "$(id_of test/a) $(id_of test/b) $(state_of test/a) $(state_of test/b)"
	check_refused "$1_downgrade_refused" serial.downgrade 15 load install "$E2E_TMP/a2.tar"
	check_refused "$1_reuse_refused" serial.reused 15 load install "$E2E_TMP/a3-other.tar"
	check_eq "$1_same_again" "already installed" "$(load install --json "$E2E_TMP/a3.tar" | jq -r .action)"
}

# ---- damaged ----
head -c 100 "$E2E_TMP/whole/state.json" >"$E2E_TMP/state/state.json"
start
check damaged_warns warning damaged
check damaged_says_what_to_do grep -qF 'obsload accept state' <<<"$(load status)"
check damaged_log_says_what_to_do grep -qF 'obsload accept state' "$E2E_TMP/daemon.log"
check damaged_is_kept cmp <(head -c 100 "$E2E_TMP/whole/state.json") "$E2E_TMP/state/state.json.damaged"
check_eq damaged_audited '["done","state.corrupt"]' \
	"$(load audit --json | jq -c '.entries[] | select(.action == "recover_state") | [.verdict, .code]')"
remembers damaged
# From the audit log: removed ones, and those that were higher once.
check_refused damaged_removed_remembered serial.downgrade 15 load install "$E2E_TMP/gone6.tar"
check_refused damaged_highest_remembered serial.reused 15 load install "$E2E_TMP/b5-other.tar"
check damaged_newer_accepted load install "$E2E_TMP/b5.tar"
check_refused accept_by_group_refused daemon.denied 4 as_group accept state
daemon_stop
start
check damaged_warns_until_accepted warning damaged
check accept load accept state
check accepted_warns_no_more no_warning
check_eq accept_audited '["accept","done","state",0]' "$(last_audit '[.action, .verdict, .detail, .uid]')"
check_eq accept_needed_once request.invalid "$(load accept state --json 2>&1 >/dev/null | jq -r .error.code)"
check downgrade_b_again load install --allow-downgrade "$E2E_TMP/b4.tar"
b=$(id_of test/b)
daemon_stop

# ---- lost ----
rm "$E2E_TMP/state/state.json" "$E2E_TMP/state/state.json.damaged"
start
check lost_warns warning missing
remembers lost
check_refused lost_removed_remembered serial.downgrade 15 load install "$E2E_TMP/gone6.tar"
check_refused lost_highest_remembered serial.reused 15 load install "$E2E_TMP/b5-other.tar"
daemon_stop

# ---- lost, and the stored file is a stranger's: it does not say what the serial stands for ----
rm "$E2E_TMP/state/state.json"
cp "$E2E_TMP/a3-stranger.tar" "$E2E_TMP/state/bundles/test/a/3.tar"
start
check_eq stranger_refused "refused [signature.untrusted]" "$(state_of test/a) $(reason_code test/a)"
check_refused stranger_others_still_refused serial.reused 15 load install "$E2E_TMP/a3-other.tar"
check stranger_genuine_accepted load install "$E2E_TMP/a3.tar"
a=$(id_of test/a)
daemon_stop

# ---- lost with the audit log: stored bundles and pins are left ----
rm "$E2E_TMP/state/state.json" "$E2E_TMP/state/audit."*
start
check lost_audit_warns warning missing
remembers lost_audit
daemon_stop

# ---- the same while the signer is revoked: of what nobody remembers, his word counts once he is trusted again ----
rm "$E2E_TMP/state/state.json" "$E2E_TMP/state/audit."*
signer_of one >"$E2E_TMP/etc/revoked"
start
check_eq lost_revoked_refused "refused refused" "$(state_of test/a) $(state_of test/b)"
check lost_revoked_undo load revoke --undo "$E2E_TMP/one/signer.pem"
check_eq lost_revoked_runs_again "running running" "$(state_of test/a) $(state_of test/b)"
a=$(id_of test/a) b=$(id_of test/b)
remembers lost_revoked
daemon_stop

# ---- lost with all but the pins: nothing that cannot be verified runs on, and nothing older gets in ----
rm -r "$E2E_TMP/state"
mkdir -m 700 "$E2E_TMP/state"
start
check lost_all_warns warning missing
check_eq lost_all_installed '[]' "$(load list --json | jq -c .bundles)"
check lost_all_detached wait_for 5 gone "$a"
check_refused lost_all_downgrade_refused serial.downgrade 15 load install "$E2E_TMP/a2.tar"
check lost_all_same_again load install "$E2E_TMP/a3.tar"
check lost_all_audit_holds load audit --verify
check lost_all_accept load accept state
a=$(id_of test/a)
daemon_stop

# ---- of a newer obsload ----
footprint() {
	find "$E2E_TMP/state" -type f -exec sha256sum {} + | sort
	find "$E2E_TMP/bpf" "$E2E_TMP/state" | sort
}
cp "$E2E_TMP/state/state.json" "$E2E_TMP/state.good"
echo '{"schema": 99, "bundles": {"how": "knows"}, "clock": 1}' >"$E2E_TMP/state/state.json"
before=$(footprint)
: >"$E2E_TMP/newer.log"
timeout 5 "$OBSLOAD" run --config-dir "$E2E_TMP/etc" --state-dir "$E2E_TMP/state" --run-dir "$E2E_TMP/run" \
	--bpffs "$E2E_TMP/bpf" >"$E2E_TMP/newer.log" 2>&1 || true
check newer_says_so grep -qF '[state.version]' "$E2E_TMP/newer.log"
check_eq newer_changes_nothing "$before" "$(footprint)"
check newer_programs_go_on bpftool prog show id "$a"
cp "$E2E_TMP/state.good" "$E2E_TMP/state/state.json"
start
check_eq newer_gone_adopts "$a" "$(id_of test/a)"
check newer_gone_warns_of_nothing no_warning
e2e_done
