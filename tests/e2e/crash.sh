#!/usr/bin/env bash
# kill -9 of worker, monitor and both, at random times while events flow: programs stay attached, the daemon comes back,
# and each event is delivered where the ring had room, else counted.
#
# OBS_CRASH_KILLS: how many (20). OBS_CRASH_SEED: of the random times.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
e2e_init "$@"

make_signer signer
"$OBSPKG" build "$E2E_ROOT/tests/e2e/bundles/flow" -o "$E2E_TMP/flow.tar" \
	--key "$E2E_TMP/signer/signer.key" --cert "$E2E_TMP/signer/signer.pem" >/dev/null
reported python3 "$E2E_ROOT/tests/e2e/tools/crash_random.py" "${OBS_CRASH_KILLS:-20}" "${OBS_CRASH_SEED:-1}"
e2e_done
