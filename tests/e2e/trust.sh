#!/usr/bin/env bash
# Trust over time: what the audit log proves.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

cat >"$E2E_TMP/trust.bpf.c" <<'END'
#include <obs/obs.h>

OBS_PARAM(__u32, every, 1, 1, 1000, "One of so many.");

struct exec {
	struct obs_header header;
	struct obs_process process;
} OBS_EVENT(exec, 1, "trust.exec");
OBS_RING(events, 256 * 1024);

SEC("tp_btf/sched_process_exec")
int e2e_trust(void *ctx)
{
	struct exec *e;

	if (every > 1)
		return 0;
	e = obs_reserve(&events, struct exec, 1);
	if (!e)
		return 0;
	obs_process_fill(&e->process);
	obs_submit(&events, e);
	return 0;
}
OBS_LICENSE("GPL");
END

sign() { "$OBSPKG" sign "$E2E_TMP/$1" --key "$E2E_TMP/$2/signer.key" --cert "$E2E_TMP/$2/signer.pem" >/dev/null 2>&1; }
# bundle NAME SERIAL FILE SIGNER...
bundle() {
	rm -rf "$E2E_TMP/def"
	mkdir "$E2E_TMP/def"
	cp "$E2E_TMP/trust.bpf.c" "$E2E_TMP/def/"
	printf '{"schema": 1, "name": "%s", "version": "%s.0", "serial": %s, "description": "Trust.", "licence": "GPL-2.0-only"}' \
		"$1" "$2" "$2" >"$E2E_TMP/def/bundle.json"
	"$OBSPKG" build "$E2E_TMP/def" -o "$E2E_TMP/$3" >/dev/null 2>&1
	local file=$3 signer
	shift 3
	for signer; do sign "$file" "$signer"; done
}
signer_of() {
	openssl x509 -in "$E2E_TMP/$1/signer.pem" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1
}
state_of() { load list --json | jq -r --arg n "$1" '.bundles[] | select(.name == $n) | .state'; }
last_audit() { load audit --json --last 1 | jq -c ".entries[-1] | $1"; }

make_signer one
make_signer two
bundle test/a 2 a2.tar one
bundle test/a 3 a3.tar one

# ---- audit ----
# A member of the control group may do everything but what is root's.
daemon_start --control-group nogroup
check trust_one load trust add "$E2E_TMP/one/signer.pem" --names 'test/*'
check install_a load install "$E2E_TMP/a3.tar"
check audit_verify_holds load audit --verify
check_eq audit_verify_json "true true" \
	"$(load audit --verify --json | jq -r '[(.lines >= 3 and .files == 1 and .removed == 0 and .recovered == 0), (.last | test("^[0-9a-f]{64}$"))] | join(" ")')"
check_refused audit_verify_and_last_refused usage 2 load audit --verify --last 3
evil=$(printf 'e\033[31m')
cp "$OBSLOAD" "$E2E_TMP/$evil"
check audit_hostile_name "$E2E_TMP/$evil" verify --run-dir "$E2E_TMP/run" "$E2E_TMP/a3.tar"
check_eq audit_hostile_name_kept '["verify","done","e\u001b[31m",0]' "$(load audit --json --last 1 | jq -ac '.entries[-1] | [.action, .verdict, .comm, .uid]')"
check_eq audit_digest_and_signers "[\"$(load list --json | jq -r '.bundles[0].digest')\",[\"$(signer_of one)\"]]" "$(last_audit '[.digest, .signers]')"
as_group() { setpriv --reuid=65534 --regid="$(getent group nogroup | cut -d: -f3)" --clear-groups "$OBSLOAD" "$@" --run-dir "$E2E_TMP/run"; }
chmod 644 "$E2E_TMP"/*.tar
check_refused downgrade_by_group_refused daemon.denied 4 as_group install --allow-downgrade "$E2E_TMP/a2.tar"
check_eq downgrade_by_group_audited '["install","refused","daemon.denied",65534]' "$(last_audit '[.action, .verdict, .code, .uid]')"
check_refused set_refused parameter.value 20 load set test/a every=0
check_eq set_refused_audited '["set","refused","parameter.value","test/a"]' "$(last_audit '[.action, .verdict, .code, .bundle]')"
check_refused remove_unknown_refused bundle.unknown 19 load remove test/none
check_eq remove_unknown_audited '["remove","refused","bundle.unknown","test/none"]' "$(last_audit '[.action, .verdict, .code, .bundle]')"
# A digest that was seen earlier stands in the line that follows it.
seen=$(load audit --verify --json | jq -r .last)
check set_every load set test/a every=2
check audit_digest_seen_later grep -q "\"prev\":\"$seen\"" "$E2E_TMP/state/audit.log"
daemon_stop
# The newest line cut off while nobody looked: the chain alone would not tell.
cp -a "$E2E_TMP/state" "$E2E_TMP/state.whole"
sed -i '$d' "$E2E_TMP/state/audit.log"
daemon_start
check_refused audit_truncated_found audit.broken 22 load audit --verify
check_eq audit_truncated_json audit.broken "$(load audit --verify --json 2>&1 >/dev/null | jq -r .error.code)"
check_eq audit_truncated_program_runs running "$(state_of test/a)"
check audit_goes_on load set test/a every=1
daemon_stop
daemon_start
check_refused audit_truncated_not_forgotten audit.broken 22 load audit --verify
daemon_stop
# Put away, as the manual page says: a new chain begins.
rm "$E2E_TMP/state/audit.log" "$E2E_TMP/state/audit.json"
daemon_start
check audit_new_chain_holds load audit --verify
check_eq audit_new_chain_begins begin "$(load audit --json | jq -r '.entries[0].action')"
daemon_stop
# A crash behind the line and before its mark, and one within a line.
prev=$(jq -r .last "$E2E_TMP/state/audit.json")
printf '{"time":"2026-11-22T10:00:00.000000Z","action":"set","verdict":"done","prev":"%s"}\n' "$prev" >>"$E2E_TMP/state/audit.log"
daemon_start
check_eq audit_crash_told recover "$(load audit --json --last 3 | jq -r '.entries[].action' | grep recover)"
check audit_crash_is_no_break load audit --verify
daemon_stop
e2e_done
