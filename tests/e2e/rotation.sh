#!/usr/bin/env bash
# The walk of obs-policy(5), CHANGING KEYS, step by step, while events flow: no program is detached but by the upgrade, and
# no event is missed.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/trust_lib.sh
. "$(dirname "$0")/trust_lib.sh"
e2e_init "$@"

trust_init
build() { bundle obs/rotate "$1" "v$1.tar"; }
without_new() {
	load list --json | jq -r --arg new "$(signer_of new)" '.bundles[] | select(.signers | index($new) | not) | .name'
}
action_of() { load install --json "$E2E_TMP/$1" | jq -r .action; }

make_signer old
build 1
sign v1.tar old
daemon_start
load trust add "$E2E_TMP/old/signer.pem" --names 'obs/*' >/dev/null
check before_install load install "$E2E_TMP/v1.tar"
id=$(id_of obs/rotate)

# ---- processes that exec, each told by its pid, until the file is there ----
cp /bin/true "$E2E_TMP/rotated"
events_start "$E2E_TMP/events" trust.exec --where 'process.executable.name = "rotated"'
first_seen() {
	"$E2E_TMP/rotated"
	grep -q trust.exec "$E2E_TMP/events"
}
check events_flow wait_for 10 first_seen
(
	until [ -e "$E2E_TMP/enough" ]; do
		bash -c 'echo $$; exec "$0"' "$E2E_TMP/rotated"
		sleep 0.01
	done
) >"$E2E_TMP/produced" &
producer=$!

# ---- 1: the new key, trusted beside the old one ----
"$OBSPKG" keygen --out "$E2E_TMP/new" --name ci-2027 >/dev/null
check step_1_trust_new load trust add "$E2E_TMP/new/signer.pem" --names 'obs/*'
check_eq step_1_same_program "$id" "$(id_of obs/rotate)"

# ---- 2: signed by both ----
check_eq step_2_old_alone obs/rotate "$(without_new)"
sign v1.tar new
check_eq step_2_installed_is_signed_by_both "already installed" "$(action_of v1.tar)"
check_eq step_2_same_program "$id" "$(id_of obs/rotate)"
build 2
sign v2.tar old
sign v2.tar new
check_eq step_2_next_version_upgrades upgraded "$(action_of v2.tar)"
id=$(id_of obs/rotate)

# ---- 3: everything has the new signer ----
check_eq step_3_all_have_new "" "$(without_new)"

# ---- 4: the old one goes ----
check_eq step_4_nothing_depends_on_old '[]' "$(load trust remove "$(signer_of old)" --json | jq -c .refused_at_next_start)"
check_eq step_4_same_program "$id running" "$(id_of obs/rotate) $(state_of obs/rotate)"
build 3
cp "$E2E_TMP/v3.tar" "$E2E_TMP/v3-old.tar"
sign v3-old.tar old
check_refused step_4_old_alone_refused signature.untrusted 11 load install "$E2E_TMP/v3-old.tar"
check_eq step_4_same_program_still "$id" "$(id_of obs/rotate)"
sign v3.tar new
check_eq step_4_new_alone_upgrades upgraded "$(action_of v3.tar)"

enough() { [ "$(wc -l <"$E2E_TMP/produced")" -gt 50 ]; }
check enough_was_produced wait_for 20 enough
touch "$E2E_TMP/enough"
wait "$producer"
seen_all() { ! grep -vxFf <(jq -r .process.pid "$E2E_TMP/events") "$E2E_TMP/produced" | grep -q .; }
check no_event_missed wait_for 10 seen_all
events_stop
echo "# $(wc -l <"$E2E_TMP/produced") processes, $(wc -l <"$E2E_TMP/events") events"

# ---- the next start needs the old one for nothing ----
id=$(id_of obs/rotate)
daemon_stop
daemon_start
check_eq start_adopts "$id running" "$(id_of obs/rotate) $(state_of obs/rotate)"

# ---- the order not kept: said at once, not found out at the next start ----
check_eq too_early_is_told '["obs/rotate"]' "$(load trust remove "$(signer_of new)" --json | jq -c .refused_at_next_start)"
check_eq too_early_goes_on running "$(state_of obs/rotate)"
daemon_stop
daemon_start
check_eq too_early_refused_at_start refused "$(state_of obs/rotate)"

# ---- the certificate of a key is renewed: what it signed before goes on, and the next start too ----
renew() {
	openssl req -x509 -new -key "$E2E_TMP/new/signer.key" -subj /CN=ci-2027 -days 400 \
		-addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature \
		-addext extendedKeyUsage=codeSigning -out "$E2E_TMP/renewed.pem" 2>/dev/null
}
files_of_new() { find "$E2E_TMP/etc/trust.d" -name "$(signer_of new)*" | wc -l; }
load trust add "$E2E_TMP/new/signer.pem" --names 'obs/*' >/dev/null
daemon_stop
daemon_start
check_eq signer_is_back running "$(state_of obs/rotate)"
renew
check renewed_is_trusted load trust add "$E2E_TMP/renewed.pem" --names 'obs/*'
id=$(id_of obs/rotate)
daemon_stop
daemon_start
check_eq renewed_changes_nothing "$id running" "$(id_of obs/rotate) $(state_of obs/rotate)"
check_eq both_certificates_are_kept 2 "$(files_of_new)"
load trust remove "$(signer_of new)" >/dev/null || fail renewed_remove "trust remove failed"
check_eq remove_takes_both 0 "$(files_of_new)"
e2e_done
