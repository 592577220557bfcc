# shellcheck shell=bash
# For tests of what a host trusts and remembers: small bundles of one program, under any name and serial.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

trust_init() {
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
}

sign() { "$OBSPKG" sign "$E2E_TMP/$1" --key "$E2E_TMP/$2/signer.key" --cert "$E2E_TMP/$2/signer.pem" >/dev/null 2>&1; }
# bundle NAME SERIAL FILE SIGNER...: DESCRIPTION makes it another one of the same serial.
bundle() {
	rm -rf "$E2E_TMP/def"
	mkdir "$E2E_TMP/def"
	cp "$E2E_TMP/trust.bpf.c" "$E2E_TMP/def/"
	printf '{"schema": 1, "name": "%s", "version": "%s.0", "serial": %s, "description": "%s", "licence": "GPL-2.0-only"}' \
		"$1" "$2" "$2" "${DESCRIPTION:-Trust.}" >"$E2E_TMP/def/bundle.json"
	"$OBSPKG" build "$E2E_TMP/def" -o "$E2E_TMP/$3" >"$E2E_TMP/build.log" 2>&1 || { cat "$E2E_TMP/build.log"; exit 1; }
	local file=$3 signer
	shift 3
	for signer; do sign "$file" "$signer"; done
}
signer_of() {
	openssl x509 -in "$E2E_TMP/$1/signer.pem" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1
}
state_of() { load list --json | jq -r --arg n "$1" '.bundles[] | select(.name == $n) | .state'; }
last_audit() { load audit --json --last 1 | jq -c ".entries[-1] | $1"; }

id_of() { load status "$1" --json | jq -r '.bundles[].programs[].id'; }
gone() { ! bpftool prog show id "$1" >/dev/null 2>&1; }
reason_code() { load status "$1" --json | jq -r '.bundles[0].reason' | grep -o '\[[a-z._]*\]$'; }
# A member of nogroup, for a daemon with that as its control group.
as_group() { setpriv --reuid=65534 --regid="$(getent group nogroup | cut -d: -f3)" --clear-groups "$OBSLOAD" "$@" --run-dir "$E2E_TMP/run"; }
