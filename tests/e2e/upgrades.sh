#!/usr/bin/env bash
# Upgrades in a row leave no program, map, pin, descriptor or memory behind, tell each event once, and when one fails the old
# one goes on.
#
# OBS_UPGRADES: how many (20).
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

crash_bundles
for serial in 1 2 3; do
	cp -r "$E2E_ROOT/tests/e2e/bundles/flow" "$E2E_TMP/flow$serial"
	sed -i "s/\"serial\": 1/\"serial\": $serial/" "$E2E_TMP/flow$serial/bundle.json"
	# The third writes through a pointer that may be NULL.
	[ "$serial" != 3 ] || sed -i 's/if (!e)/if (0)/' "$E2E_TMP/flow$serial/flow.bpf.c"
	"$OBSPKG" build "$E2E_TMP/flow$serial" -o "$E2E_TMP/flow$serial.tar" \
		--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
done
mv "$E2E_TMP/flow3.tar" "$E2E_TMP/broken.tar"
python3 "$E2E_ROOT/tests/e2e/tools/upgrades.py" "${OBS_UPGRADES:-20}" | tee "$E2E_TMP/out" || E2E_FAILED=1
! grep -q '^FAIL ' "$E2E_TMP/out" || E2E_FAILED=1
e2e_done
