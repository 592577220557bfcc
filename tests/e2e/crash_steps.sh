#!/usr/bin/env bash
# The monitor killed at every system call of an install, an upgrade, a remove, a revocation, a parameter's and a trust change: the next
# start finds the old state or the new one, on the disk, on bpffs, in the kernel, on the interface.
#
# OBS_CRASH_ALL=1: at all calls, also those that change nothing, which takes an hour. OBS_CRASH_STEPS: only these changes.
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

ip link set lo up
export OBS_TEST_PREFIX=c$$
make_signer signer
make_signer other
for serial in 1 2; do
	cp -r "$E2E_ROOT/tests/e2e/bundles/crash" "$E2E_TMP/$serial"
	sed -i "s/\"serial\": 1/\"serial\": $serial/" "$E2E_TMP/$serial/bundle.json"
	sed -i "1i #define OBS_TEST_PREFIX $OBS_TEST_PREFIX" "$E2E_TMP/$serial/crash.bpf.c"
	"$OBSPKG" build "$E2E_TMP/$serial" -o "$E2E_TMP/$serial.tar" \
		--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
done
read -ra steps <<<"${OBS_CRASH_STEPS:-install trust_add trust_remove remove upgrade set revoke}"
python3 "$E2E_ROOT/tests/e2e/tools/crash_steps.py" "$([ -n "${OBS_CRASH_ALL:-}" ] && echo all || echo changes)" "${steps[@]}" || E2E_FAILED=1
e2e_done
