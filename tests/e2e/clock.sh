#!/usr/bin/env bash
# A clock that is not to be believed. The host's own clock is left alone: what it has seen before is put beside it, so that
# it is behind or ahead.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/trust_lib.sh
. "$(dirname "$0")/trust_lib.sh"
e2e_init "$@"
trust_init

# brief NAME SECONDS: a signer whose certificate runs out soon.
brief() {
	local d=$E2E_TMP/$1
	mkdir "$d"
	: >"$d/index"
	echo 01 >"$d/serial"
	cat >"$d/ca.conf" <<END
[ca]
default_ca = this
[this]
database = $d/index
serial = $d/serial
new_certs_dir = $d
default_md = sha256
policy = any
x509_extensions = signer
[any]
commonName = supplied
[signer]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = codeSigning
END
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$d/signer.key" -out "$d/csr" 2>/dev/null
	openssl ca -batch -selfsign -notext -config "$d/ca.conf" -in "$d/csr" -keyfile "$d/signer.key" -out "$d/signer.pem" \
		-startdate "$(date -u -d '-1 minute' +%Y%m%d%H%M%SZ)" -enddate "$(date -u -d "+$2 seconds" +%Y%m%d%H%M%SZ)" 2>/dev/null
}

warning() { load status --json | jq -r '.warnings[]' | grep -F "clock says" | grep -F "$1"; }
no_warning() { ! load status --json | jq -r '.warnings[]' | grep -F "clock says"; }
seen() { date -u -d "$1" +%s >"$E2E_TMP/state/clock"; }
start() { daemon_start --control-group nogroup; }
install_says() { ! load install "$E2E_TMP/$1" >"$E2E_TMP/out" 2>&1 && grep -qF "$2" "$E2E_TMP/out"; }

"$OBSPKG" keygen --out "$E2E_TMP/one" --name one --days 400 >/dev/null
"$OBSPKG" keygen --out "$E2E_TMP/day" --name day --days 1 >/dev/null
bundle test/a 1 a.tar one
bundle test/b 1 b.tar day
bundle test/both 1 both.tar one day
bundle test/c 1 c.tar
brief brief 15
sign c.tar brief
expired_at=$(($(date +%s) + 16))

start
for s in one day brief; do load trust add "$E2E_TMP/$s/signer.pem" --names 'test/*' >/dev/null; done
check fresh_host_has_no_doubt no_warning
check_refused accept_without_doubt request.invalid 5 load accept clock
daemon_stop

# ---- behind: the clock was set back by two days, so that the certificate of a day would be valid again ----
seen '+2 days'
day=$(date -u -d "@$(cat "$E2E_TMP/state/clock")" +%Y-%m-%dT%H:%M)
start
check behind_warns warning "has seen $day"
check behind_says_what_to_do warning "obsload accept clock"
check_refused behind_expired_refused certificate.expired 11 load install "$E2E_TMP/b.tar"
check behind_refusal_says_both install_says b.tar "it has seen $day"
check_eq behind_audited "refused certificate.expired $day" \
	"$(load audit --json --last 1 | jq -r '.entries[-1] | [.verdict, .code, .newest_seen[:16]] | join(" ")')"
check behind_valid_installed load install "$E2E_TMP/a.tar"
check behind_other_signer_counts load install "$E2E_TMP/both.tar"
check_eq behind_aside_told certificate.expired "$(load audit --json --last 1 | jq -r '.entries[-1].aside[].code')"
check_refused behind_accept_by_group_refused daemon.denied 4 as_group accept clock
daemon_stop
start
check behind_not_forgotten warning "has seen $day"
check behind_accept load accept clock
check_eq behind_accept_audited '["accept","done",0]' "$(last_audit '[.action, .verdict, .uid]')"
check accepted_warns_no_more no_warning
check accepted_is_on_disk test "$(cat "$E2E_TMP/state/clock")" -le "$(date +%s)"
check accepted_installs load install "$E2E_TMP/b.tar"
check_eq accepted_no_doubt_in_audit null "$(load audit --json --last 1 | jq '.entries[-1].newest_seen')"
daemon_stop

# ---- what runs goes on, whatever the clock says: validity counts when it is installed ----
seen '+500 days'
start
check_eq behind_by_years_all_run "running running running" "$(state_of test/a) $(state_of test/b) $(state_of test/both)"
check_refused behind_by_years_all_expired certificate.expired 11 load install "$E2E_TMP/a.tar"
daemon_stop

# ---- ahead: a month after the newest time ----
expired() { [ "$(date +%s)" -ge "$expired_at" ]; }
check brief_certificate_expired wait_for 60 expired
seen '-30 days'
month=$(date -u -d "@$(cat "$E2E_TMP/state/clock")" +%Y-%m-%dT%H:%M)
start
check ahead_warns warning "newest time seen here, $month"
check_refused ahead_expired_refused certificate.expired 11 load install "$E2E_TMP/c.tar"
check ahead_refusal_says_both install_says c.tar "newest time seen here, $month"
check_eq ahead_audited "$month" "$(load audit --json --last 1 | jq -r '.entries[-1].newest_seen[:16]')"
check ahead_not_remembered_at_once test "$(cat "$E2E_TMP/state/clock")" -lt $(($(date +%s) - 86400))
check ahead_accept load accept clock
check ahead_accepted_warns_no_more no_warning
daemon_stop

# ---- damaged: from when other files were written ----
echo "not a time" >"$E2E_TMP/state/clock"
touch -d '+3 days' "$E2E_TMP/state/audit.log"
start
check damaged_is_told grep -qF 'seconds since the epoch are due' "$E2E_TMP/daemon.log"
check damaged_from_files warning "$(date -u -d '+3 days' +%Y-%m-%dT)"
check audit_holds load audit --verify
e2e_done
