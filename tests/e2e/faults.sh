#!/usr/bin/env bash
# Every allocation, write, fsync, rename, and call into the kernel fails once, on the way of every change: a clear error, and
# the host as it was.
#
# OBS_FAULTS_MOST: so many of a change's allocations (8), 0: all. OBS_CRASH_STEPS: only these changes (all but
# install, whose way an upgrade goes too).
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
e2e_init "$@"

crash_bundles
other_program monitor "$BUILD/tests/bin/faulty_monitor"
read -ra steps <<<"${OBS_CRASH_STEPS:-trust_add trust_remove remove upgrade set revoke}"
python3 "$E2E_ROOT/tests/e2e/tools/crash_faults.py" "${OBS_FAULTS_MOST:-8}" "${steps[@]}" || E2E_FAILED=1
e2e_done
