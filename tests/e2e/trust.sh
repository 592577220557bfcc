#!/usr/bin/env bash
# Trust over time: what the audit log proves, and what is taken back.
# Functions are called by check, and daemon_start takes no words of this script:
# shellcheck disable=SC2317,SC2119
# shellcheck source=tests/e2e/trust_lib.sh
. "$(dirname "$0")/trust_lib.sh"
e2e_init "$@"
trust_init

make_signer one
make_signer two
bundle test/a 2 a2.tar one
bundle test/a 3 a3.tar one
bundle test/b 1 b.tar one two
bundle test/c 1 c.tar two
bundle both/d 1 d.tar one two

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
check audit_truncated_warns grep -qF "obsload audit --verify" <<<"$(load status)"
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
daemon_start --control-group nogroup
check_eq audit_crash_told recover "$(load audit --json --last 3 | jq -r '.entries[].action' | grep recover)"
check audit_crash_is_no_break load audit --verify

# ---- revocation ----
check_eq nothing_revoked "nothing is revoked" "$(load revoke --list)"
check trust_two load trust add "$E2E_TMP/two/signer.pem" --names 'test/*'
check install_b load install "$E2E_TMP/b.tar"
check install_c load install "$E2E_TMP/c.tar"
# Signed once more while it runs.
sign c.tar one
check_eq install_c_again "already installed" "$(load install "$E2E_TMP/c.tar" --json | jq -r .action)"
# One grant that needs both signers.
jq --arg one "$(signer_of one)" --arg two "$(signer_of two)" \
	'.grants += [{"names": ["both/*"], "signers": [$one, $two], "threshold": 2}]' "$E2E_TMP/etc/policy.json" >"$E2E_TMP/policy"
cp "$E2E_TMP/policy" "$E2E_TMP/etc/policy.json"
check install_d load install "$E2E_TMP/d.tar"
a=$(id_of test/a) b=$(id_of test/b) c=$(id_of test/c) d=$(id_of both/d)
check_refused revoke_unknown_prefix_refused trust.unknown 21 load revoke 0123456789
check_refused revoke_nothing_refused usage 2 load revoke
check_refused revoke_list_and_more_refused usage 2 load revoke --list "$(signer_of one)"
check_refused revoke_no_certificate_refused certificate.malformed 11 load revoke "$E2E_TMP/b.tar"
load revoke "$E2E_TMP/one/signer.pem" --json >"$E2E_TMP/revoked" || true
check_eq revoke_signer_tells '["revoked","signer CN=one",["both/d","test/a"],["test/b","test/c"]]' \
	"$(jq -c '[.action, .what, (.detached | sort), (.running | sort)]' "$E2E_TMP/revoked")"
check revoke_detaches wait_for 5 gone "$a"
check_eq revoke_says_why "[certificate.revoked]" "$(reason_code test/a)"
check_eq revoke_other_signer_goes_on "$b $c running" "$(id_of test/b) $(id_of test/c) $(state_of test/b)"
check revoke_threshold_detaches wait_for 5 gone "$d"
check_eq revoke_threshold_says_why "[policy.threshold]" "$(reason_code both/d)"
check_eq revoke_leaves_no_pin "b c" "$(cd "$E2E_TMP/bpf/obsload/test" && echo *)"
check_eq revoke_audited '["detach","certificate.revoked"] ["detach","policy.threshold"] ["keep",null] ["keep",null] ["revoke",0]' \
	"$(load audit --json --last 5 | jq -c '.entries[] | if .action == "revoke" then [.action, .uid] else [.action, .code] end' | sort | xargs -d'\n')"
check_refused revoked_signer_refused certificate.revoked 11 load install "$E2E_TMP/a3.tar"
check_eq revoke_list "$(signer_of one) true" \
	"$(load revoke --list --json | jq -r '.revoked[] | [.identity, (.note | startswith("signer CN=one; 20"))] | join(" ")')"
check_refused revoked_not_trusted_anew certificate.revoked 11 load trust add "$E2E_TMP/one/signer.pem" --names 'more/*'
check_eq revoked_in_trust_list "true false" "$(load trust list --json | jq -r '.signers | sort_by(.subject) | map(.revoked) | join(" ")')"
check revoked_shown_in_trust_list grep -qE 'revoked.*CN=one' <<<"$(load trust list)"
check_eq revoke_again_says_so "already revoked" "$(load revoke "$(signer_of one)" --json | jq -r .action)"
daemon_stop
daemon_start --control-group nogroup
check_eq revoked_after_restart "refused refused $b" "$(state_of test/a) $(state_of both/d) $(id_of test/b)"
check_eq revoked_not_attached_by_restart "b c" "$(cd "$E2E_TMP/bpf/obsload/test" && echo *)"
check_refused undo_by_group_refused daemon.denied 4 as_group revoke --undo "$(signer_of one)"
check_eq undo_by_group_audited '["revoke_undo","refused","daemon.denied",65534]' "$(last_audit '[.action, .verdict, .code, .uid]')"
check_refused undo_of_what_is_not_revoked trust.unknown 21 load revoke --undo "$(signer_of two)"
check_eq undo_runs_again '["undone",["both/d","test/a"]]' \
	"$(load revoke --undo "$(signer_of one | cut -c1-12)" --json | jq -c '[.action, (.running | sort)]')"
check_eq undone_running "running running" "$(state_of test/a) $(state_of both/d)"

# A bundle, whoever signed it. A member of the control group may revoke.
digest=$(load list --json | jq -r '.bundles[] | select(.name == "test/b") | .digest')
check revoke_bundle as_group revoke "${digest:0:16}"
check revoke_bundle_detaches wait_for 5 gone "$b"
check_eq revoke_bundle_others_run "running running" "$(state_of test/a) $(state_of test/c)"
check_refused revoked_bundle_refused policy.revoked 14 load install "$E2E_TMP/b.tar"
check_eq revoked_bundle_audited "[\"refused\",\"policy.revoked\",\"$digest\",2]" "$(last_audit '[.verdict, .code, .digest, (.signers | length)]')"
# The file is the operator's too: what he wrote stays.
printf '# of the fleet\n%064d # gone for ever' 7 >>"$E2E_TMP/etc/revoked"
check undo_bundle load revoke --undo "$digest"
check_eq undo_keeps_the_rest "$(printf '# of the fleet\n%064d # gone for ever' 7)" "$(cat "$E2E_TMP/etc/revoked")"
check_eq undone_bundle_running running "$(state_of test/b)"
# What nobody has seen here yet.
check_eq revoke_unknown "not known here" "$(load revoke "$(printf '%064d' 9)" --json | jq -r .what)"
# A crash after the line was written and before anything was detached.
b=$(id_of test/b)
daemon_stop
echo "$digest" >>"$E2E_TMP/etc/revoked"
check crash_program_still_attached bpftool prog show id "$b"
daemon_start
check crash_next_start_detaches wait_for 5 gone "$b"
check_eq crash_next_start_says_why "[policy.revoked]" "$(reason_code test/b)"
echo broken >>"$E2E_TMP/etc/revoked"
check_refused malformed_list_refused policy.malformed 14 load install "$E2E_TMP/c.tar"
sed -i '$d' "$E2E_TMP/etc/revoked"
check audit_of_revocations_holds load audit --verify

# ---- below an authority ----
# A certificate of NAME in $E2E_TMP/NAME that the authority "root" issued.
make_below() {
	mkdir "$E2E_TMP/$1"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_TMP/$1/signer.key" -out "$E2E_TMP/$1/csr" \
		-subj "/CN=$1" 2>/dev/null
	printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n' |
		openssl x509 -req -in "$E2E_TMP/$1/csr" -CA "$E2E_TMP/root/signer.pem" -CAkey "$E2E_TMP/root/key" -CAcreateserial -days 30 \
			-out "$E2E_TMP/$1/signer.pem" -extfile - 2>/dev/null
}
mkdir "$E2E_TMP/root"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$E2E_TMP/root/key" -out "$E2E_TMP/root/signer.pem" \
	-subj /CN=root -days 30 -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
make_below leaf
make_signer three
for name in e f g; do bundle "test/$name" 1 "$name.tar" three; done
check trust_three load trust add "$E2E_TMP/three/signer.pem" --names 'test/*'
# e and g are verified to run by three alone; f too, but it carries a signature that counts only later.
sign f.tar leaf
for name in e f g; do check "install_$name" load install "$E2E_TMP/$name.tar"; done
check trust_root load trust add "$E2E_TMP/root/signer.pem" --names 'test/*'
sign e.tar leaf
sign g.tar leaf
sign g.tar two
for name in e g; do
	check_eq "install_${name}_again" "already installed" "$(load install "$E2E_TMP/$name.tar" --json | jq -r .action)"
done
check_eq remove_three_leaves_none_alone '[]' "$(load trust remove "$(signer_of three)" --json | jq -c .refused_at_next_start)"
check_eq remove_root_names_what_it_leaves_alone '["test/e","test/f"]' \
	"$(load trust remove "$(signer_of root)" --json | jq -c '.refused_at_next_start | sort')"
check trust_root_again load trust add "$E2E_TMP/root/signer.pem" --names 'test/*'
e=$(id_of test/e) f=$(id_of test/f) g=$(id_of test/g) c=$(id_of test/c)
check_eq revoke_authority_takes_all_below '[["test/e","test/f"],["test/g"]]' \
	"$(load revoke "$E2E_TMP/root/signer.pem" --json | jq -c '[(.detached | sort), .running]')"
check revoke_authority_detaches wait_for 5 gone "$e"
check revoke_authority_detaches_what_counted_later wait_for 5 gone "$f"
check_eq revoke_authority_leaves_the_others "$g $c" "$(id_of test/g) $(id_of test/c)"
daemon_stop
daemon_start
check_eq revoke_authority_as_the_next_start_would "refused refused running" "$(state_of test/e) $(state_of test/f) $(state_of test/g)"

# ---- more names than a line shows ----
long=$(printf 'test/%050d' 0)
jq --arg two "$(signer_of two)" --arg long "$long" \
	'.grants |= map(if .signers == [$two] then .names += [range(20) | "\($long)\(.)"] else . end)' "$E2E_TMP/etc/policy.json" >"$E2E_TMP/policy"
cp "$E2E_TMP/policy" "$E2E_TMP/etc/policy.json"
check trust_one_more_than_is_shown load trust add "$E2E_TMP/two/signer.pem" --names 'more/*'
check_eq trust_one_more_is_granted true \
	"$(jq --arg two "$(signer_of two)" '[.grants[] | select(.signers == [$two]) | .names[]] | index("more/*") != null' "$E2E_TMP/etc/policy.json")"
check_refused trust_the_same_again trust.exists 21 load trust add "$E2E_TMP/two/signer.pem" --names 'more/*'

# ---- what the next decision could not read any more is not written ----
make_signer four
cp "$E2E_TMP/etc/policy.json" "$E2E_TMP/policy"
python3 - "$E2E_TMP/etc/policy.json" <<'END'
import json, sys
policy = json.load(open(sys.argv[1]))
line = lambda: json.dumps(policy, separators=(",", ":"))
many = [{"names": [f"fill/g{grant}n{n:04}" for n in range(1024)],
         "signers": policy["grants"][0]["signers"]} for grant in range(10)]
policy["grants"] += many
room = (1 << 20) - 1024 - len(line())
for grant in many:
    grant["names"] = [name + "x" * (room // 10240) for name in grant["names"]]
open(sys.argv[1], "w").write(line())
END
large=$(sha256sum <"$E2E_TMP/etc/policy.json")
check_refused policy_too_large_refused system.limit 3 load trust add "$E2E_TMP/four/signer.pem" --names 'four/*'
check_eq policy_too_large_audited '["trust_add","failed","system.limit"]' "$(last_audit '[.action, .verdict, .code]')"
check_eq policy_too_large_not_written "$large" "$(sha256sum <"$E2E_TMP/etc/policy.json")"
check policy_still_read load trust list
cp "$E2E_TMP/policy" "$E2E_TMP/etc/policy.json"
# Of one certificate with other serial numbers: trust is in bytes.
python3 - "$E2E_TMP/one/signer.pem" "$E2E_TMP/etc/trust.d" <<'END'
import os, ssl, subprocess, sys
pem, folder = sys.argv[1:]
serial = subprocess.run(["openssl", "x509", "-in", pem, "-noout", "-serial"], capture_output=True, text=True, check=True)
serial = bytes.fromhex(serial.stdout.strip().split("=")[1])
der = ssl.PEM_cert_to_DER_cert(open(pem).read())
for n in range(1024 - len(os.listdir(folder))):
    other = der.replace(serial, serial[:-2] + n.to_bytes(2, "big"), 1)
    open(f"{folder}/many{n}.pem", "w").write(ssl.DER_cert_to_PEM_cert(other))
END
check_refused certificates_too_many_refused system.limit 3 load trust add "$E2E_TMP/four/signer.pem" --names 'four/*'
check certificates_still_read load trust list
rm "$E2E_TMP/etc/trust.d"/many*.pem
check trust_four load trust add "$E2E_TMP/four/signer.pem" --names 'four/*'
daemon_stop
e2e_done
