#!/usr/bin/env bash
# The stock network bundle upgraded again and again while connections come and go: what happens to each is told once.
#
# OBS_UPGRADES: how many (20).
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

ip link set lo up
make_signer signer
for serial in 1 2; do
	cp -r "$E2E_ROOT/bpf/network" "$E2E_TMP/network$serial"
	sed -i "s/\"serial\": [0-9]*/\"serial\": $serial/" "$E2E_TMP/network$serial/bundle.json"
	"$OBSPKG" build "$E2E_TMP/network$serial" -o "$E2E_TMP/network$serial.tar" \
		--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
done
reported python3 "$E2E_ROOT/tests/e2e/tools/upgrades_network.py" "${OBS_UPGRADES:-20}"
e2e_done
