#!/usr/bin/env bash
# Every allocation, write, fsync, rename, and call into the kernel fails once, on the way of every change: a clear error, and
# the host as it was.
#
# OBS_FAULTS_MOST: so many of a change's allocations, and as many of those inside libraries, 0: all of them (all, and a hundred
# inside libraries). OBS_CRASH_STEPS: only these changes.
[ -n "${CRASH_INSIDE:-}" ] || CRASH_INSIDE=1 exec unshare -n bash "$0" "$@"
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/crash_lib.sh
. "$(dirname "$0")/crash_lib.sh"
crash_lanes "$0" install upgrade "trust_add trust_remove remove set revoke"
e2e_init "$@"

crash_bundles
crash_in_memory
other_program monitor "$BUILD/tests/bin/faulty_monitor"
read -ra steps <<<"$OBS_CRASH_STEPS"
python3 "$E2E_ROOT/tests/e2e/tools/crash_faults.py" "${OBS_FAULTS_MOST:--}" "${steps[@]}" || E2E_FAILED=1
e2e_done
