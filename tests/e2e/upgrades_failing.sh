#!/usr/bin/env bash
# An upgrade that fails while events flow, at whatever call, leaves the old serial running, and each event is told once.
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

make_signer signer
flow_bundles
other_program monitor "$BUILD/tests/bin/faulty_monitor"
reported python3 "$E2E_ROOT/tests/e2e/tools/upgrades_failing.py"
e2e_done
